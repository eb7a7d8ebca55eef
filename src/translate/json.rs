//! JSON text: taken apart without reading values, and put together.
//!
//! Owns: the walk over JSON that `wire::scan` has checked, or that was written here. Refuses: checking it again; text
//! that is not JSON gives `None` or a wrong part, and never a panic.

use std::borrow::Cow;

use memchr::memchr2;

use crate::wire::scan;

/// Limit on the fields of one object, which are compared with each other. A larger object counts as none.
const MAX_FIELDS: usize = 256;
/// Bytes that are compared at once.
const BLOCK: usize = 16;

/// Names and values of an object.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// Returns the values of an array as text; `None` if the text is not an array.
pub(super) fn items(json: &str) -> Option<Vec<&str>> {
    let mut at = opened(json, 0, b'[')?;
    let mut items = Vec::with_capacity(8);
    while byte(json, at)? != b']' {
        let end = value_end(json, at)?;
        items.push(json.get(at..end)?);
        at = next(json, end)?;
    }
    Some(items)
}

/// Reads the objects of an array one by one, with their fields. An item that is not an object is `None` and the last.
/// Returns `None` if the text is not an array.
pub(super) fn objects(json: &str) -> Option<impl Iterator<Item = Option<(&str, Fields<'_>)>>> {
    let mut at = opened(json, 0, b'[')?;
    Some(std::iter::from_fn(move || {
        byte(json, at).filter(|byte| *byte != b']')?;
        let object = fields_at(json, at).and_then(|(fields, end)| Some((json.get(at..end)?, fields, next(json, end)?)));
        at = object.as_ref().map_or(json.len(), |(_, _, next)| *next);
        Some(object.map(|(text, fields, _)| (text, fields)))
    }))
}

/// Returns the fields of an object as names and text; `None` if the text is not an object.
pub(super) fn fields(json: &str) -> Option<Fields<'_>> {
    fields_at(json, 0).map(|(fields, _)| fields)
}

/// Returns the fields of the object that begins at `start`, and the place after it.
fn fields_at(json: &str, start: usize) -> Option<(Fields<'_>, usize)> {
    let mut at = opened(json, start, b'{')?;
    let mut fields = Vec::with_capacity(8);
    while byte(json, at)? != b'}' {
        let name_end = value_end(json, at)?;
        let name = string(json.get(at..name_end)?)?;
        let colon = blanks_end(json, name_end);
        at = blanks_end(json, colon + 1);
        let end = value_end(json, at)?;
        if fields.len() == MAX_FIELDS {
            return None;
        }
        fields.push((name, json.get(at..end)?));
        at = next(json, end)?;
    }
    Some((fields, at + 1))
}

/// Returns the text that a JSON string stands for; `None` if it is not a string, or holds half a character.
pub(super) fn string(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    scan::string(json)
}

fn byte(json: &str, at: usize) -> Option<u8> {
    json.as_bytes().get(at).copied()
}

/// Returns the place of the first value in a list or object.
fn opened(json: &str, start: usize, bracket: u8) -> Option<usize> {
    let start = blanks_end(json, start);
    (byte(json, start)? == bracket).then(|| blanks_end(json, start + 1))
}

/// Returns the place after the comma that follows a value, or of the bracket.
fn next(json: &str, end: usize) -> Option<usize> {
    let at = blanks_end(json, end);
    Some(if byte(json, at)? == b',' { blanks_end(json, at + 1) } else { at })
}

fn blanks_end(json: &str, mut at: usize) -> usize {
    while matches!(byte(json, at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

fn value_end(json: &str, start: usize) -> Option<usize> {
    match byte(json, start)? {
        b'"' => string_end(json, start),
        b'{' | b'[' => bracket_end(json, start),
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r');
            let rest = json.as_bytes().get(start..)?;
            Some(start + rest.iter().position(is_over).unwrap_or(rest.len()))
        }
    }
}

fn string_end(json: &str, start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', json.as_bytes().get(at..)?)?;
        if byte(json, at)? == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn bracket_end(json: &str, start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match byte(json, at)? {
            b'"' => {
                at = string_end(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// Returns the place of the first byte that a JSON string has to escape.
pub(super) fn first_escaped(text: &[u8]) -> Option<usize> {
    let is_escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    // Without a branch for each byte the compiler compares all bytes of a block at once.
    let is_plain = |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, byte| any | is_escaped(byte));
    let plain = BLOCK * text.as_chunks().0.iter().take_while(is_plain).count();
    let at = text.get(plain..)?.iter().position(is_escaped)?;
    Some(plain + at)
}

/// Appends a text as a JSON string.
pub(super) fn push_quoted(json: &mut String, text: &str) {
    if first_escaped(text.as_bytes()).is_none() {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// Returns a text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_quoted(&mut json, text);
    json
}

/// Joins JSON strings in the bytes they came in: a JavaScript client cuts characters in half, and the text of such a
/// string cannot be read.
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

/// Returns a JSON array of items that are JSON already.
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
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn values_keep_their_bytes() {
        assert_eq!(
            items(r#" [ 1e2 , "a\"]" ,[1, [2]], {"b":"}"} ]"#).unwrap(),
            ["1e2", r#""a\"]""#, "[1, [2]]", r#"{"b":"}"}"#]
        );
        assert_eq!(fields(r#"{ "a\n" : null,"b":{}} "#).unwrap(), [("a\n".into(), "null"), ("b".into(), "{}")]);
        assert_eq!((items("[]"), fields(" {} ")), (Some(vec![]), Some(vec![])));
        for text in ["", "{", "[", "[1", "{\"a\"", "{\"a\":", "{\"a\":}", "\"a\"", "null", "[,]", "[\"\\", "{1:2}"] {
            assert_eq!((items(text), fields(text)), (None, None), "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn parts_are_those_of_a_reader(value in any_value(), pretty: bool) {
            let json = if pretty { format!("{value:#}") } else { value.to_string() };
            let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
            let list = items(&json).map(|items| items.into_iter().map(read).collect::<Vec<_>>());
            prop_assert_eq!(list.as_ref(), value.as_array());
            let all_objects = value.as_array().filter(|all| all.iter().all(Value::is_object));
            let texts = objects(&json).and_then(|all| all.map(|one| Some(read(one?.0))).collect::<Option<Vec<_>>>());
            prop_assert_eq!(texts.as_ref(), all_objects);
            let pair = |(name, text): (Cow<'_, str>, &str)| (name.into_owned(), read(text));
            let object = fields(&json).map(|all| all.into_iter().map(pair).collect());
            prop_assert_eq!(object.as_ref(), value.as_object());
            let text = string(&json);
            prop_assert_eq!(text.as_deref(), value.as_str());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\",:\\\\ 1é]{0,24}") {
            drop((items(&text), fields(&text), string(&text)));
        }

        #[test]
        fn texts_are_read_back_as_they_were(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).unwrap(), text);
        }
    }
}
