//! The form that a request prescribes for its answer, and the simplest value of that form.

use serde_json::{Deserializer, Map, Value, json};

use super::prompt;
use super::quirks::FormatStyle;

/// Levels of a schema that are followed; below them stands null, so that a schema that refers to itself ends.
const MAX_DEPTH: u8 = 12;
/// Braces of a prompt that are tried as the begin of a schema; a schema behind more of them is not found.
const MAX_BRACES: usize = 32;

/// Returns the answer's text, if its form is prescribed.
pub(super) fn formed(body: &Map<String, Value>, style: FormatStyle) -> Option<String> {
    let format = body.get("response_format").or_else(|| body.get("text")?.get("format"))?;
    let any = || json!({"answer": "Paris"}).to_string();
    let written = |schema: &Value, sparing| instance(schema, schema, 0, sparing).to_string();
    match (style, format.get("type")?.as_str()?) {
        (FormatStyle::Grammar, "regex") => {
            let pattern = format.get("value")?.as_str()?;
            Some(if pattern.contains('{') && pattern.starts_with('\\') { any() } else { "000".to_owned() })
        }
        (FormatStyle::Grammar, "json" | "json_object") => Some(written(format.get("value")?, true)),
        (FormatStyle::Grammar, "json_schema") => Some(written(format.get("value")?.get("schema")?, true)),
        (FormatStyle::BareSchema, "json_schema") => {
            let schema = format.get("json_schema").or_else(|| format.get("schema"))?;
            Some(match schema.get("schema") {
                Some(_) => json!("unconstrained").to_string(),
                None => written(schema, false),
            })
        }
        (_, "json_schema") => {
            let schema = format.get("json_schema").unwrap_or(format).get("schema")?;
            Some(written(schema, false))
        }
        // A model obeys the schema that its prompt shows.
        (_, "json_object") => {
            Some(shown(&prompt::system_text(body)).map_or_else(any, |schema| written(&schema, false)))
        }
        _ => None,
    }
}

/// Returns a value without the first field that the schema of the request's format requires; `None` if it has none.
pub(super) fn without_required(body: &Map<String, Value>, style: FormatStyle, value: &Value) -> Option<Value> {
    let format = body.get("response_format").or_else(|| body.get("text")?.get("format"))?;
    let bare = format.get("json_schema").or_else(|| format.get("schema"));
    let schema = match style {
        FormatStyle::Grammar => format.get("value")?.get("schema"),
        FormatStyle::BareSchema => bare,
        FormatStyle::OpenAi => prescribed(body),
    };
    let required = schema?.get("required")?.as_array()?.iter().filter_map(Value::as_str);
    let mut fields = value.as_object()?.clone();
    let first = required.into_iter().find(|name| fields.contains_key(*name))?.to_owned();
    fields.shift_remove(&first);
    Some(Value::Object(fields))
}

/// Returns the schema that a request's format prescribes.
pub(super) fn prescribed(body: &Map<String, Value>) -> Option<&Value> {
    let format = body.get("response_format").or_else(|| body.get("text")?.get("format"))?;
    let named = format.get("json_schema").unwrap_or(format);
    named.get("schema").filter(|_| format["type"] == "json_schema")
}

/// Returns the first of these keywords that a schema has, and that says more than `false`.
pub(super) fn keyword<'k>(schema: &Value, words: &[&'k str]) -> Option<&'k str> {
    let fields = schema.as_object()?;
    let has = |word: &&str| fields.get(*word).is_some_and(|value| *value != false);
    if let Some(found) = words.iter().copied().find(has) {
        return Some(found);
    }
    fields.iter().find_map(|(name, value)| match (name.as_str(), value) {
        ("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(named)) => {
            named.values().find_map(|schema| keyword(schema, words))
        }
        ("enum" | "const" | "default" | "examples" | "required", _) => None,
        (_, Value::Array(list)) => list.iter().find_map(|schema| keyword(schema, words)),
        (_, schema) => keyword(schema, words),
    })
}

/// Returns the first JSON Schema in a text.
fn shown(text: &str) -> Option<Value> {
    text.match_indices('{').take(MAX_BRACES).find_map(|(at, _)| {
        let found = Deserializer::from_str(text.get(at..)?).into_iter::<Value>().next()?.ok()?;
        found.get("properties").is_some().then_some(found)
    })
}

/// Returns the arguments of a call, in the form that the schema of its parameters has.
pub(super) fn arguments(function: &Value) -> String {
    let schema = function.get("parameters").or_else(|| function.get("arguments"));
    schema
        .filter(|schema| !schema.is_null())
        .map_or_else(|| "{}".to_owned(), |schema| instance(schema, schema, 0, false).to_string())
}

/// Returns the simplest value that a schema of the usual kind allows; a `sparing` one has the required fields only.
fn instance(schema: &Value, root: &Value, depth: u8, sparing: bool) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let deeper = |schema: &Value| instance(schema, root, depth + 1, sparing);
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let found = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, deeper);
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(Value::as_array).and_then(|schemas| schemas.first()) {
            return deeper(first);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!("Paris"),
        Some("integer" | "number") => json!(7),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => Value::Array(schema.get("items").map(deeper).into_iter().collect()),
        _ => {
            let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let required = schema.get("required").and_then(Value::as_array);
            let wanted = |name: &String| !sparing || required.is_some_and(|names| names.iter().any(|one| one == name));
            Value::Object(
                fields.filter(|(name, _)| wanted(name)).map(|(name, field)| (name.clone(), deeper(field))).collect(),
            )
        }
    }
}
