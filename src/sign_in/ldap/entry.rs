//! One entry of a directory, as it came: values are bytes, text is what can be read as such.

use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};

/// A name and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// Reads a SearchResultEntry (RFC 4511, section 4.5.2). The library's own reading panics at odd shapes, and takes
    /// sixteen bytes that happen to be text for text.
    pub(super) fn read(entry: ResultEntry) -> Option<Self> {
        let [dn, attributes] = <[StructureTag; 2]>::try_from(inner(entry.0)?).ok()?;
        let attributes = inner(attributes)?
            .into_iter()
            .map(|attribute| {
                let [kind, values] = <[StructureTag; 2]>::try_from(inner(attribute)?).ok()?;
                let values: Option<_> = inner(values)?.into_iter().map(StructureTag::expect_primitive).collect();
                Some((text(kind)?, values?))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            dn: text(dn)?,
            attributes,
        })
    }

    #[cfg(test)]
    pub(super) fn of(dn: &str, attributes: &[(&str, &[&[u8]])]) -> Self {
        let attributes = attributes
            .iter()
            .map(|(kind, values)| ((*kind).to_owned(), values.iter().map(|value| value.to_vec()).collect()))
            .collect();
        Self {
            dn: dn.to_owned(),
            attributes,
        }
    }

    /// Names of the attributes that came.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(kind, _)| kind.as_str())
    }

    /// The values of an attribute: names are compared without case (RFC 4512, section 2.5).
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.attributes
            .iter()
            .filter(move |(kind, _)| kind.eq_ignore_ascii_case(name))
            .flat_map(|(_, values)| values.iter().map(Vec::as_slice))
    }

    /// Those that are text, and not empty.
    pub(super) fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .filter(|text| !text.trim().is_empty())
    }

    /// Whether the server sent only a part of the values (Active Directory's `member;range=0-1499`).
    pub(super) fn is_cut(&self, name: &str) -> bool {
        self.attributes.iter().any(|(kind, _)| {
            kind.split_once(';').is_some_and(|(kind, option)| {
                kind.eq_ignore_ascii_case(name) && option.to_ascii_lowercase().starts_with("range=")
            })
        })
    }
}

fn inner(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(tags) => Some(tags),
        PL::P(_) => None,
    }
}

fn text(tag: StructureTag) -> Option<String> {
    String::from_utf8(tag.expect_primitive()?).ok()
}
