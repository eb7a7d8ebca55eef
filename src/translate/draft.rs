//! A JSON object being rewritten: what is not touched keeps its bytes.

use std::borrow::Cow;

use serde_json::Value;

use crate::wire::scan;

/// Fields in their order, each value as JSON text.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    changed: bool,
}

impl<'a> Draft<'a> {
    /// Of fields as they were scanned. Of a name that stands there twice the last counts, as in other readers.
    pub(super) fn of(scanned: &[(Cow<'a, str>, &'a serde_json::value::RawValue)]) -> Self {
        let mut draft = Self { fields: Vec::with_capacity(scanned.len() + 4), changed: false };
        for (name, value) in scanned {
            let value = Cow::Borrowed(value.get());
            match draft.fields.iter_mut().find(|(known, _)| known == name) {
                Some(entry) => {
                    entry.1 = value;
                    draft.changed = true;
                }
                None => draft.fields.push((name.clone(), value)),
            }
        }
        draft
    }

    /// Of the text of an object.
    pub(super) fn parse(json: &'a str) -> Option<Self> {
        scan::object(json).map(|fields| Self::of(&fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// The same with the life of the text it was read from, where the value is still that.
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
        self.get(name).and_then(scan::string)
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

    /// Replaces the value, or adds the field at the end. Nothing happens where it is the same already.
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

    /// Keeps the fields that `wanted` names.
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

fn push_quoted(json: &mut String, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&quoted(text));
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON strings put together, in the bytes they came in: a JavaScript client cuts characters in half, and the text of
/// such a string cannot be read.
pub(super) fn joined<'t>(strings: impl Iterator<Item = &'t str>, between: &str) -> String {
    let mut all = String::from("\"");
    for (at, string) in strings.enumerate() {
        if at > 0 {
            all.push_str(between);
        }
        all.push_str(string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default());
    }
    all.push('"');
    all
}

/// A JSON array of items that are JSON already.
pub(super) fn array<T: AsRef<str>>(items: &[T]) -> String {
    let length: usize = items.iter().map(|item| item.as_ref().len() + 1).sum();
    let mut json = String::with_capacity(length + 2);
    json.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(item.as_ref());
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

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
