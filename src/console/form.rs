//! What was typed into a form, or stands in a query.

use super::refusal::Refusal;
use crate::directory::{Cursor, Version};
use crate::person::Role;

/// Names and values, each name at most once.
#[derive(Debug, Default)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads a body; None if a name stands twice or a value is no text.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        // What is no UTF-8, as it stands or behind its `%`, is read as U+FFFD.
        let odd = |text: &str| text.contains(['\0', '\u{FFFD}']);
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(body) {
            if odd(&name) || odd(&value) || fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Some(Self { fields })
    }

    /// Reads a query; what is odd in it is as if it were not there, for anybody may have written the link.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self::read(query.unwrap_or_default().as_bytes()).unwrap_or_default()
    }

    /// Reads a query that chooses what is shown or saved: what is odd in it must not be left away.
    pub(super) fn of_filters(query: Option<&str>) -> Result<Self, Refusal> {
        Self::read(query.unwrap_or_default().as_bytes()).ok_or(Refusal::NoSuchFilter("query"))
    }

    /// A field's text without white space around it; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.as_typed(name).trim()
    }

    /// A field's text as it was typed.
    pub(super) fn as_typed(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The role in a field.
    pub(super) fn role(&self, name: &str) -> Result<Role, Refusal> {
        self.text(name).parse().map_err(|_| Refusal::Malformed)
    }

    /// The state that the form was drawn from.
    pub(super) fn version(&self) -> Result<Version, Refusal> {
        self.text("version")
            .parse()
            .map(Version)
            .map_err(|_| Refusal::Malformed)
    }

    /// The role that was chosen in a field, or the one that stands there otherwise.
    pub(super) fn chosen(&self, name: &str, otherwise: Role) -> &'static str {
        self.text(name).parse().unwrap_or(otherwise).as_str()
    }

    /// The same, with a field under another name.
    pub(super) fn renamed(&self, from: &str, to: &str) -> Self {
        let renamed = |(name, value): &(String, String)| {
            let name = if name == from { to } else { name };
            (name.to_owned(), value.clone())
        };
        Self {
            fields: self.fields.iter().map(renamed).collect(),
        }
    }

    /// What a filter names; None where it is left open.
    pub(super) fn filter<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text => read(text).map(Some).ok_or(Refusal::NoSuchFilter(name)),
        }
    }

    /// Which page of a list is asked for; None for the first.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let after = self.text("after");
        (!after.is_empty()).then(|| Cursor::new(after))
    }

    /// A field that stands for itself by being there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn a_form_is_read_whole_or_not_at_all() {
        let form = Form::read(b"a=+x+y+&b=&token=t%26").unwrap();
        assert_eq!(
            (form.text("a"), form.as_typed("a"), form.text("token")),
            ("x y", " x y ", "t&")
        );
        assert!(form.has("b") && !form.has("c") && form.text("c").is_empty());
        for odd in [&b"a=1&a=2"[..], b"a=%00", b"a=%ff", b"\xff=1", b"a=\xc3"] {
            assert!(Form::read(odd).is_none(), "{odd:?}");
        }
    }
}
