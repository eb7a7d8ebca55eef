//! Fields of an answer's JSON.

use serde_json::Value;

/// Returns a string field; the inner `None` stands for a missing one and `null`, the outer one for another type.
pub(super) fn text<'a>(object: &'a Value, name: &str) -> Option<Option<&'a str>> {
    match object.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

/// Returns the items of a list field; none for a missing one and `null`, `None` for another type.
pub(super) fn list<'a>(object: &'a Value, name: &str) -> Option<&'a [Value]> {
    match object.get(name) {
        None | Some(Value::Null) => Some(&[]),
        Some(Value::Array(items)) => Some(items),
        Some(_) => None,
    }
}

/// Returns an object field; `None` for a missing one and another type.
pub(super) fn object<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| value.is_object())
}

/// True if the field is there and not `null`.
pub(super) fn has(object: &Value, name: &str) -> bool {
    object.get(name).is_some_and(|value| !value.is_null())
}
