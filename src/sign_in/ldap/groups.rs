//! The groups that somebody is in, and whether one of them is allowed. What could not be read allows nobody.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap3::Scope;

use super::Unusable;
use super::connection::Connection;
use super::dn::{Dn, first_value, folded};
use super::entry::Entry;
use super::search::escaped;
use crate::config::Ldap;

/// Active Directory, as its rootDSE says (MS-ADTS, section 3.1.1.3.4.3).
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// LDAP_MATCHING_RULE_IN_CHAIN: groups of groups in one search; elsewhere an error.
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";
/// Groups that one search may find; where there are more, it was cut short.
const MOST: usize = 2_000;
/// Searches upwards from a person's groups.
const STEPS: usize = 50;
/// Groups that one such search asks about.
const AT_ONCE: usize = 20;
/// Asks for no attributes (RFC 4511, section 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";

/// Groups, by what they are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// Names of entries, each in its comparable form with what was written.
    entries: BTreeMap<Dn, String>,
    /// Values that are no names of entries.
    values: Vec<String>,
    /// There may be more.
    pub(super) cut: bool,
}

impl Groups {
    /// Takes a value of a group attribute, or a group's name.
    fn take(&mut self, value: &str) {
        if let Some(dn) = Dn::parse(value) {
            self.entries.entry(dn).or_insert_with(|| value.to_owned());
        } else if !self.values.iter().any(|other| other == value) {
            self.values.push(value.to_owned());
        }
    }

    /// What apps are told: the first value of a name, else the value. With `base` of entries only those below it (below
    /// nothing, where it cannot be read): a name is not given away elsewhere in the tree.
    #[expect(clippy::option_option, reason = "no base is set, or one that cannot be read")]
    pub(super) fn names(&self, base: Option<Option<&Dn>>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let told = |dn: &Dn| base.is_none_or(|base| base.is_some_and(|base| dn.is_under(base)));
        let of_entries = self
            .entries
            .iter()
            .filter(|(dn, _)| told(dn))
            .filter_map(|(_, written)| first_value(written));
        for name in of_entries.chain(self.values.iter().cloned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether one of them is on the list. A bare name means a group under `base` only: a name is not given away elsewhere
    /// in the tree.
    pub(super) fn are_allowed(&self, list: &[String], base: Option<&Dn>) -> bool {
        list.iter().any(|allowed| {
            if let Some(dn) = Dn::parse(allowed) {
                return self.entries.contains_key(&dn);
            }
            let wanted = folded(allowed);
            let named = |written: &str| first_value(written).is_some_and(|name| folded(&name) == wanted);
            let counts = |dn: &Dn| base.is_some_and(|base| dn.is_under(base));
            !wanted.is_empty()
                && (self.values.iter().any(|value| folded(value) == wanted)
                    || self.entries.iter().any(|(dn, written)| counts(dn) && named(written)))
        })
    }
}

/// Groups above a group, as one round of looking at many people found them: they are in the same few.
#[derive(Debug, Default)]
pub(super) struct Memory {
    above: HashMap<String, Vec<String>>,
}

/// What is remembered, where it is.
pub(super) type Remembered = Option<Arc<Mutex<Memory>>>;

/// Reads the groups of `person`. `username` is what `memberUid` holds.
pub(super) async fn of(
    connection: &mut Connection,
    person: &Entry,
    username: Option<&str>,
    settings: &Ldap,
    remembered: &Remembered,
) -> Result<Groups, Unusable> {
    let mut groups = Groups::default();
    let attribute = settings.attributes.group.as_str();
    for value in person.texts(attribute) {
        groups.take(value);
    }
    let attribute_cut = person.is_cut(attribute);
    let base = settings.group_base_dn.as_deref().unwrap_or(&settings.base_dn);

    if let Some(filter) = &settings.group_filter {
        let filter = filter
            .replace("{dn}", &escaped(person.dn.as_bytes()))
            .replace("{username}", &escaped(username.unwrap_or_default().as_bytes()));
        look(connection, base, &filter, &mut groups).await?;
    }
    let active_directory = match connection.active_directory {
        Some(known) => known,
        None => is_active_directory(connection).await?,
    };
    connection.active_directory = Some(active_directory);
    if active_directory {
        // The search by the rule finds what is missing in `memberOf`; what else is missing stays so.
        groups.cut |= attribute_cut && !attribute.eq_ignore_ascii_case("memberOf");
        let whole = whole(settings);
        if let Some(filter) = primary_group(person) {
            look(connection, whole, &filter, &mut groups).await?;
        }
        // The person's own and, from the primary group upwards, the rest.
        let mut whose = vec![person.dn.clone()];
        whose.extend(groups.entries.values().cloned());
        let above = |dn: &str| format!("(member:{IN_CHAIN}:={})", escaped(dn.as_bytes()));
        look_above(connection, whole, &whose, above, remembered, &mut groups).await?;
    } else {
        groups.cut |= attribute_cut;
        climb(connection, base, remembered, &mut groups).await?;
    }
    Ok(groups)
}

/// Where Active Directory is asked about groups: under the base, where groups of groups may be anywhere, unless the place for
/// groups lies outside of it.
fn whole(settings: &Ldap) -> &str {
    let base = Dn::parse(&settings.base_dn);
    let outside = |place: &&str| {
        let place = Dn::parse(place);
        place
            .zip(base.as_ref())
            .is_some_and(|(place, base)| !place.is_under(base))
    };
    let place = settings.group_base_dn.as_deref();
    place.filter(outside).unwrap_or(&settings.base_dn)
}

/// Groups of groups, from those known upwards; each is asked about once.
async fn climb(
    connection: &mut Connection,
    base: &str,
    remembered: &Remembered,
    groups: &mut Groups,
) -> Result<(), Unusable> {
    let mut waiting: VecDeque<String> = groups.entries.values().cloned().collect();
    let mut asked: HashSet<Dn> = groups.entries.keys().cloned().collect();
    for _ in 0..STEPS {
        if waiting.is_empty() {
            return Ok(());
        }
        let some: Vec<String> = waiting.drain(..waiting.len().min(AT_ONCE)).collect();
        let above = |dn: &str| {
            let dn = escaped(dn.as_bytes());
            format!("(|(member={dn})(uniqueMember={dn}))")
        };
        let known = groups.entries.len();
        look_above(connection, base, &some, above, remembered, groups).await?;
        if groups.entries.len() > known {
            let new = groups.entries.iter().filter(|(dn, _)| !asked.contains(dn));
            let new: Vec<(Dn, String)> = new.map(|(dn, written)| (dn.clone(), written.clone())).collect();
            for (dn, written) in new {
                asked.insert(dn);
                waiting.push_back(written);
            }
        }
    }
    groups.cut |= !waiting.is_empty();
    Ok(())
}

/// Adds what is above these: all at once, or, where it is remembered, each by itself and once.
async fn look_above(
    connection: &mut Connection,
    base: &str,
    whose: &[String],
    above: impl Fn(&str) -> String + Send,
    remembered: &Remembered,
    groups: &mut Groups,
) -> Result<(), Unusable> {
    let Some(memory) = remembered else {
        for some in whose.chunks(AT_ONCE) {
            let parts: Vec<String> = some.iter().map(|dn| above(dn)).collect();
            look(connection, base, &format!("(|{})", parts.concat()), groups).await?;
        }
        return Ok(());
    };
    for dn in whose {
        let known = lock(memory).above.get(dn).cloned();
        let names = if let Some(names) = known {
            names
        } else {
            let mut found = Groups::default();
            look(connection, base, &above(dn), &mut found).await?;
            let names: Vec<String> = found.entries.into_values().collect();
            if found.cut {
                groups.cut = true;
            } else {
                lock(memory).above.insert(dn.clone(), names.clone());
            }
            names
        };
        for name in names {
            groups.take(&name);
        }
    }
    Ok(())
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the groups that a filter finds.
async fn look(connection: &mut Connection, base: &str, filter: &str, groups: &mut Groups) -> Result<(), Unusable> {
    let no_attributes = [NO_ATTRIBUTES.to_owned()];
    let answer = connection
        .search(base, Scope::Subtree, filter, &no_attributes, MOST)
        .await?;
    groups.cut |= answer.cut;
    for entry in &answer.entries {
        groups.take(&entry.dn);
    }
    Ok(())
}

async fn is_active_directory(connection: &mut Connection) -> Result<bool, Unusable> {
    const CAPABILITIES: &str = "supportedCapabilities";
    let searched = connection
        .search("", Scope::Base, "(objectClass=*)", &[CAPABILITIES.to_owned()], 1)
        .await;
    let answer = match searched {
        Ok(answer) => answer,
        // Who may not read the rootDSE is not at Active Directory: there everybody may.
        Err(Unusable::Search { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(answer.entries.iter().any(|root| {
        root.texts(CAPABILITIES)
            .any(|capability| capability == ACTIVE_DIRECTORY)
    }))
}

/// The filter of Active Directory's primary group, which is never in `memberOf`: the domain's part of the person's own SID
/// with the group's number (MS-DTYP, section 2.4.2.2).
fn primary_group(person: &Entry) -> Option<String> {
    let number: u32 = person.texts("primaryGroupID").next()?.parse().ok()?;
    let sid = person.values("objectSid").next()?;
    let (domain, _own) = sid.split_at_checked(sid.len().checked_sub(4)?)?;
    let sid = [domain, &number.to_le_bytes()].concat();
    Some(format!("(objectSid={})", escaped(&sid)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dn::{Dn, folded};
    use super::super::entry::Entry;
    use super::super::testing::settings;
    use super::{Groups, primary_group, whole};

    fn groups(values: &[&str]) -> Groups {
        let mut groups = Groups::default();
        for value in values {
            groups.take(value);
        }
        groups
    }

    #[test]
    fn a_group_is_called_by_its_first_value_or_by_what_it_is() {
        let groups = groups(&[
            "cn=Staff,ou=g,dc=x",
            "CN=staff, ou=g,dc=x",
            "1000",
            "cn=Ops\\, R,ou=g,dc=x",
        ]);
        assert_eq!(groups.names(None), ["Ops, R", "Staff", "1000"]);
    }

    #[test]
    fn where_a_place_for_groups_is_set_a_name_from_elsewhere_is_not_told() {
        let groups = groups(&["cn=Staff,ou=g,dc=x", "cn=Admins,ou=elsewhere,dc=x", "1000"]);
        let base = Dn::parse("ou=g,dc=x");
        assert_eq!(groups.names(Some(base.as_ref())), ["Staff", "1000"]);
        assert_eq!(groups.names(Some(None)), ["1000"]);
    }

    #[test]
    fn the_list_is_compared_as_names_are_and_a_bare_name_only_below_the_base() {
        let base = Dn::parse("ou=g,dc=x");
        let groups = groups(&["cn=Staff,ou=g,dc=x", "cn=Admins,ou=elsewhere,dc=x", "1000"]);
        let allowed = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|item| (*item).to_owned()).collect();
            groups.are_allowed(&list, base.as_ref())
        };
        for yes in ["cn=staff, OU=G, dc=X", "STAFF", "1000", "cn=admins,ou=elsewhere,dc=x"] {
            assert!(allowed(&[yes]), "{yes}");
            assert!(allowed(&["nobody", yes]), "{yes}");
        }
        for no in ["admins", "cn=staff,dc=x", "staf", "", " ", "cn=staff", "100"] {
            assert!(!allowed(&[no]), "{no}");
        }
        assert!(!allowed(&[]));
    }

    #[test]
    fn groups_are_looked_for_under_the_base_and_where_they_are_said_to_be() {
        let mut settings = settings();
        assert_eq!(whole(&settings), "dc=example,dc=com");
        for (base, place, expected) in [
            ("dc=x", "OU=Groups,DC=x", "dc=x"),
            ("dc=x", "dc=X", "dc=x"),
            ("ou=people,dc=x", "ou=groups,dc=x", "ou=groups,dc=x"),
            ("ou=people,dc=x", "dc=x", "dc=x"),
        ] {
            settings.base_dn = base.to_owned();
            settings.group_base_dn = Some(place.to_owned());
            assert_eq!(whole(&settings), expected, "{base} {place}");
        }
    }

    #[test]
    fn the_primary_group_is_in_the_persons_own_domain() {
        let sid = b"\x01\x05\x00\x00\x00\x00\x00\x05\x15\x00\x00\x00AAAABBBBCCCC\x51\x04\x00\x00";
        let person = Entry::of("cn=a", &[("objectSid", &[sid]), ("primaryGroupID", &[b"513"])]);
        let filter = primary_group(&person).unwrap();
        assert!(filter.ends_with("AAAABBBBCCCC\\01\\02\\00\\00)"), "{filter}");
        assert_eq!(
            primary_group(&Entry::of(
                "cn=a",
                &[("objectSid", &[b"x"]), ("primaryGroupID", &[b"513"])]
            )),
            None
        );
    }

    /// A value as it may stand in a name, whatever it is (RFC 4514, section 2.4).
    fn written(value: &str) -> String {
        value
            .bytes()
            .map(|byte| format!("\\{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    }

    /// Short words, so that two are the same now and then, and what is special in names, filters and lists.
    const NAME: &str = "[ab]{1,2}|[aA ,+\"\\\\*();=#äß🦀]{1,4}|\\PC{1,6}";

    proptest! {
        #[test]
        fn no_values_make_reading_groups_panic(
            values in proptest::collection::vec("[a-b=,;+\"\\\\# *()é🦀]{0,20}", 0..6),
            list in proptest::collection::vec("[a-b=,;+\"\\\\# *()é🦀]{0,20}", 0..3),
            base in "[a-b=,;+\"\\\\# ]{0,10}",
        ) {
            let groups = groups(&values.iter().map(String::as_str).collect::<Vec<_>>());
            let base = Dn::parse(&base);
            let _ = groups.are_allowed(&list, base.as_ref());
            prop_assert!(groups.names(None).len() <= values.len());
            prop_assert!(!groups.are_allowed(&[], base.as_ref()));
        }

        #[test]
        fn a_bare_name_allows_groups_of_that_name_below_the_base_and_no_others(
            name in NAME, wanted in NAME, inside in any::<bool>(), base in any::<bool>(),
        ) {
            let place = if inside { "ou=g,dc=x" } else { "ou=elsewhere,dc=x" };
            let groups = groups(&[&format!("cn={},{place}", written(&name))]);
            prop_assert_eq!(groups.names(None), [name.clone()]);
            let below = Dn::parse("ou=g,dc=x").filter(|_| base);
            // What is written like a name of an entry is one.
            prop_assume!(Dn::parse(&wanted).is_none());
            let same = folded(&name) == folded(&wanted) && !folded(&wanted).is_empty();
            prop_assert_eq!(groups.are_allowed(&[wanted], below.as_ref()), same && inside && base);
        }

        #[test]
        fn a_name_in_full_allows_exactly_that_group(name in NAME, wanted in NAME) {
            let groups = groups(&[&format!("cn={},ou=g,dc=x", written(&name))]);
            let allowed = |name: &str, place: &str| groups.are_allowed(&[format!("CN={},{place}", written(name))], None);
            prop_assert!(allowed(&name, " OU=G,DC=X"));
            prop_assert_eq!(allowed(&wanted, "ou=g,dc=x"), folded(&name) == folded(&wanted));
            for other in ["dc=x", "ou=g", "ou=g,dc=x,dc=y"] {
                prop_assert!(!allowed(&name, other));
            }
        }
    }
}
