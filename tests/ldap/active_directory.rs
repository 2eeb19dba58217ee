//! Active Directory, as far as its ways are its own: a server of ours that speaks them on the wire.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::json;
use vestibule::config::Settings;
use vestibule::directory::{self, Actor, AuditQuery};

use crate::house::{House, plain};
use crate::protocol::{self, BIND, BOUND, DONE, Request, entry_of, message, reference, result};

const DOMAIN: &str = "DC=corp,DC=example";
const CAROL: &str = "CN=Carol,OU=People,DC=corp,DC=example";
/// The domain's part of each SID.
const SID: &[u8] = b"\x01\x05\0\0\0\0\0\x05\x15\0\0\0AAAABBBBCCCC";
const DOMAIN_USERS: &str = "CN=Domain Users,CN=Users,DC=corp,DC=example";
/// Whom a group above holds, and its name. What `memberOf` tells is the first only.
const GROUPS: [(&str, &str); 4] = [
    (CAROL, "CN=Direct,OU=Groups,DC=corp,DC=example"),
    (CAROL, "CN=Nested\\, deep,OU=Groups,DC=corp,DC=example"),
    (CAROL, "CN=Near,OU=People,DC=corp,DC=example"),
    (DOMAIN_USERS, "CN=Everyone,OU=Groups,DC=corp,DC=example"),
];

/// What it was asked about groups: under which base, and by which filter's tag.
type Asked = Arc<Mutex<Vec<(String, u8)>>>;

fn is_under(dn: &str, base: &str) -> bool {
    dn.to_ascii_lowercase().ends_with(&base.to_ascii_lowercase())
}

fn answer(request: &Request, asked: &Asked) -> Vec<u8> {
    let id = request.id;
    if request.operation == BIND {
        // The password is the sub-code that it is answered with.
        let code = request.body.rsplit(|byte| *byte == 0x80).next().unwrap();
        let code = String::from_utf8_lossy(code.get(1..4).unwrap_or_default()).into_owned();
        let is_person = request.holds(b"CN=Carol") && code != "yes";
        let text =
            format!("80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {code}, v3839");
        let (code, text) = if is_person { (49, text.as_str()) } else { (0, "") };
        return message(id, &result(BOUND, code, text));
    }
    let base = request.base();
    let mut found = Vec::new();
    if base.is_empty() && request.has_text("supportedCapabilities") {
        found = message(
            id,
            &entry_of(
                "",
                &[(
                    "supportedCapabilities",
                    &[b"1.2.840.113556.1.4.800", b"1.2.840.113556.1.4.1670"],
                )],
            ),
        );
    } else if request.has_text("objectGUID") {
        let known = ["carol", "carol@corp.example"]
            .iter()
            .any(|name| request.has_text(name));
        if known && is_under(CAROL, &base) {
            let sid = [SID, &1105_u32.to_le_bytes()].concat();
            let attributes: [(&str, &[&[u8]]); 8] = [
                ("cn", &[b"Carol"]),
                ("sAMAccountName", &[b"carol"]),
                ("userPrincipalName", &[b"carol@corp.example"]),
                ("mail", &[b"carol@corp.example"]),
                ("objectGUID", &[b"\x00\xff0123456789abcd"]),
                ("memberOf", &[GROUPS[0].1.as_bytes()]),
                ("primaryGroupID", &[b"513"]),
                ("objectSid", &[&sid]),
            ];
            found = message(id, &entry_of(CAROL, &attributes));
        }
        // Comes with every search from the domain's root.
        found.extend(message(
            id,
            &reference("ldap://DomainDnsZones.corp.example/DC=DomainDnsZones,DC=corp,DC=example"),
        ));
    } else if request.holds(b"1.2.840.113556.1.4.1941") {
        asked.lock().unwrap().push((base.clone(), 0xa9));
        for (member, group) in GROUPS {
            // The extensible match's value.
            let length = u8::try_from(member.len()).unwrap();
            if request.holds(&[&[0x83, length], member.as_bytes()].concat()) && is_under(group, &base) {
                found.extend(message(id, &entry_of(group, &[])));
            }
        }
    } else if request.has_text("objectSid") && request.holds(&[SID, &513_u32.to_le_bytes()].concat()) {
        asked.lock().unwrap().push((base.clone(), 0xa3));
        if is_under(DOMAIN_USERS, &base) {
            found = message(id, &entry_of(DOMAIN_USERS, &[]));
        }
    }
    [found, message(id, &result(DONE, 0, ""))].concat()
}

async fn house(change: impl FnOnce(&mut Settings)) -> (House, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let port = protocol::serve(move |request| Some(answer(request, &seen))).await;
    let house = House::at(vec![plain("127.0.0.1", port)], None, |settings| {
        settings.ldap.as_mut().unwrap().base_dn = DOMAIN.into();
        change(settings);
    })
    .await;
    (house, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_groups_and_the_primary_group_are_found_by_its_own_rule() {
    let (house, asked) = house(|_| {}).await;
    for login in ["carol", "CORP\\carol", "carol@corp.example"] {
        let carol = house.lets_in(login, "yes").await;
        assert_eq!(carol["email"], "carol@corp.example");
        assert_eq!(carol["preferred_username"], "carol");
        assert_eq!(
            carol["groups"],
            json!(["Direct", "Domain Users", "Everyone", "Near", "Nested, deep"])
        );
    }
    assert_eq!(house.users().await.len(), 1);
    assert!(asked.lock().unwrap().iter().all(|(base, _)| base == DOMAIN));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allow_list_knows_nested_groups_and_the_primary_group() {
    for (list, status) in [
        ("Nested, deep", StatusCode::SEE_OTHER),
        ("cn=everyone,ou=groups,dc=corp,dc=example", StatusCode::SEE_OTHER),
        ("domain users", StatusCode::SEE_OTHER),
        ("Domain Admins", StatusCode::FORBIDDEN),
        ("CN=Nested,OU=Groups,DC=corp,DC=example", StatusCode::FORBIDDEN),
    ] {
        let (house, _) = house(|settings| {
            settings.ldap.as_mut().unwrap().allow_list = Some(vec![list.into()]);
        })
        .await;
        assert_eq!(house.sign_in("carol", "yes").await.1.status, status, "{list}");
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_groups_lie_outside_of_the_base_they_are_asked_about_there() {
    let people = format!("OU=People,{DOMAIN}");
    let (house, asked) = house(|settings| {
        let ldap = settings.ldap.as_mut().unwrap();
        ldap.base_dn.clone_from(&people);
        ldap.group_base_dn = Some(format!("ou=Groups,{DOMAIN}"));
    })
    .await;
    let carol = house.lets_in("carol", "yes").await;
    assert_eq!(carol["groups"], json!(["Direct", "Nested, deep"]));
    assert!(
        asked
            .lock()
            .unwrap()
            .iter()
            .all(|(base, _)| base == "ou=Groups,DC=corp,DC=example")
    );
    assert!(
        [0xa3, 0xa9]
            .iter()
            .all(|tag| asked.lock().unwrap().iter().any(|(_, asked)| asked == tag))
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_sub_codes_are_told_after_the_right_password_and_a_lock_to_nobody() {
    let (house, _) = house(|settings| settings.ldap.as_mut().unwrap().failures = 20).await;
    for (code, told) in [
        ("532", "has expired"),
        ("773", "must be changed"),
        ("533", "is disabled"),
        ("530", "at this time or from here"),
        ("531", "at this time or from here"),
        ("701", "account in the company&#39;s directory has expired"),
        ("52e", "That did not work"),
        ("775", "That did not work"),
        ("525", "That did not work"),
        ("999", "That did not work"),
    ] {
        let answer = house.turns_away("carol", code, StatusCode::UNAUTHORIZED).await;
        assert!(answer.body.contains(told), "{code}: {}", answer.body);
    }
    // The truth stands in the audit log.
    let query = AuditQuery {
        limit: 100,
        ..AuditQuery::default()
    };
    let refusals = directory::audit(&house.store, &Actor::shell(), &query).await;
    let refusals = format!("{:?}", refusals.unwrap());
    assert!(
        refusals.contains("the account is locked in the directory"),
        "{refusals}"
    );
    house.lets_in("carol", "yes").await;
    house.close().await;
}
