//! Calls that a server without a tool parser left in the text, as Hermes' JSON or Qwen's tags.

use serde_json::{Map, Value};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// Limit on the calls in one text; a text with more is left as it is.
const MAX_CALLS: usize = 128;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct TextCall {
    pub(super) name: String,
    pub(super) arguments: String,
}

pub(super) fn has_calls(text: &str) -> bool {
    text.contains(OPEN)
}

/// Returns the text before the calls and the calls; `None` unless all that follows is calls that can be read.
pub(super) fn repair(text: &str) -> Option<(String, Vec<TextCall>)> {
    let (before, mut rest) = text.split_once(OPEN)?;
    let mut calls = Vec::new();
    loop {
        let (inside, after) = rest.split_once(CLOSE)?;
        calls.push(json_call(inside).or_else(|| tagged_call(inside))?);
        let after = after.trim_start();
        if after.is_empty() {
            return Some((before.trim_end().to_owned(), calls));
        }
        rest = after.strip_prefix(OPEN).filter(|_| calls.len() < MAX_CALLS)?;
    }
}

/// Reads `{"name": …, "arguments": {…}}`.
fn json_call(inside: &str) -> Option<TextCall> {
    let call: Map<String, Value> = serde_json::from_str(inside).ok()?;
    let name = call.get("name")?.as_str().filter(|name| !name.is_empty())?.to_owned();
    let arguments = match call.get("arguments") {
        Some(Value::String(text)) => serde_json::from_str::<Map<String, Value>>(text).ok().map(|_| text.clone())?,
        Some(Value::Object(object)) => serde_json::to_string(object).ok()?,
        Some(_) => return None,
        None => "{}".to_owned(),
    };
    Some(TextCall { name, arguments })
}

/// Reads `<function=name><parameter=key>value</parameter></function>`.
fn tagged_call(inside: &str) -> Option<TextCall> {
    let body = inside.trim().strip_prefix("<function=")?.strip_suffix("</function>")?;
    let (name, mut rest) = body.split_once('>')?;
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let (key, after) = rest.strip_prefix("<parameter=")?.split_once('>')?;
        let (value, after) = after.split_once("</parameter>")?;
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        arguments.insert(key.trim().to_owned(), read_value(value));
        rest = after;
    }
    let name = Some(name.trim()).filter(|name| !name.is_empty())?.to_owned();
    Some(TextCall { name, arguments: serde_json::to_string(&arguments).ok()? })
}

/// Reads a parameter: text without quotes, or any other JSON value.
fn read_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::String(_)) | Err(_) => Value::String(text.to_owned()),
        Ok(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_or_left_as_text() {
        let city = |city: &str| TextCall { name: "get_weather".into(), arguments: format!(r#"{{"city":"{city}"}}"#) };
        let json = r#"{"name": "get_weather", "arguments": {"city": "Paris"}}"#;
        let tags = "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>";
        for (text, expected) in [
            (format!("<tool_call>\n{json}\n</tool_call>"), Some((String::new(), vec![city("Paris")]))),
            (
                format!("I look.\n\n<tool_call>{json}</tool_call>\n<tool_call>\n{tags}\n</tool_call>\n"),
                Some(("I look.".to_owned(), vec![city("Paris"), city("Oslo")])),
            ),
            (format!("<tool_call>{json}"), None),
            (format!("<tool_call>{json}</tool_call> and more"), None),
            ("<tool_call>{\"name\":7}</tool_call>".to_owned(), None),
            ("<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>".to_owned(), None),
            ("<tool_call><function=f><parameter=a>1</function></tool_call>".to_owned(), None),
            ("no call".to_owned(), None),
        ] {
            assert_eq!(repair(&text), expected, "{text}");
        }
        let numbers =
            "<tool_call><function=f><parameter=a>1</parameter><parameter=b>\"x\"</parameter></function></tool_call>";
        assert_eq!(repair(numbers).unwrap().1[0].arguments, r#"{"a":1,"b":"\"x\""}"#);
    }
}
