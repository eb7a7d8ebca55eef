//! JSON object being rewritten: untouched values keep their bytes.

use std::borrow::Cow;

use super::json::{self, push_quoted};

/// Fields in their order, each value as JSON text.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    changed: bool,
}

impl<'a> Draft<'a> {
    /// Makes a draft of an object's fields. The last value of a repeated name counts, as in other readers.
    pub(super) fn of(fields: impl IntoIterator<Item = (Cow<'a, str>, &'a str)>) -> Self {
        let mut draft = Self { fields: Vec::with_capacity(8), changed: false };
        for (name, value) in fields {
            let value = Cow::Borrowed(value);
            match draft.fields.iter_mut().find(|(known, _)| *known == name) {
                Some(entry) => {
                    entry.1 = value;
                    draft.changed = true;
                }
                None => draft.fields.push((name, value)),
            }
        }
        draft
    }

    /// Makes a draft without fields.
    pub(super) const fn empty() -> Self {
        Self { fields: Vec::new(), changed: false }
    }

    /// Reads the text of an object; `None` if it is something else.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        json::fields(json).map(Self::of)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// Returns the value with the lifetime of the text it was read from; `None` if it was replaced.
    pub(super) fn borrowed(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| known == name).and_then(|(_, value)| match value {
            Cow::Borrowed(text) => Some(*text),
            Cow::Owned(_) => None,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get(name).and_then(json::string)
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.parse().ok()
    }

    pub(super) fn whole_number(&self, name: &str) -> Option<i64> {
        let text = self.get(name)?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and far below 2^63")]
        let of_float = |value: f64| (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
        text.parse().ok().or_else(|| text.parse().ok().and_then(of_float))
    }

    /// Replaces the value, or adds the field at the end. An equal value is not a change.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some(entry) if entry.1 == value => return,
            Some(entry) => entry.1 = value,
            None => self.fields.push((Cow::Borrowed(name), value)),
        }
        self.changed = true;
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.fields.iter().position(|(known, _)| known == name)?;
        self.changed = true;
        Some(self.fields.remove(at).1)
    }

    /// Keeps the fields for which `wanted` returns true.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&str, &str) -> bool) {
        let before = self.fields.len();
        self.fields.retain(|(name, value)| wanted(name, value));
        self.changed |= self.fields.len() != before;
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    pub(super) const fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn to_json(&self) -> String {
        let length: usize = self.fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut json = String::with_capacity(length + 2);
        json.push('{');
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            push_quoted(&mut json, name);
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::json::quoted;

    #[test]
    fn what_is_not_touched_keeps_its_bytes() {
        let mut draft = Draft::parse(r#"{ "a" : 1e2, "b\n":[1, 2] ,"c":null}"#).unwrap();
        assert!(!draft.is_changed());
        draft.set("a", "1e2");
        assert!(!draft.is_changed(), "the same value is no change");
        draft.remove("c");
        draft.set("d", quoted("x\"y"));
        assert!(draft.is_changed());
        assert_eq!(draft.to_json(), r#"{"a":1e2,"b\n":[1, 2],"d":"x\"y"}"#);
        assert_eq!(draft.whole_number("a"), Some(100));
        assert_eq!(Draft::parse(r#"{"a":1,"a":2}"#).unwrap().to_json(), r#"{"a":2}"#);
        assert!(Draft::parse("[]").is_none());
    }
}
