//! Grammars and schemas that TGI cannot compile to a regular expression.

use serde_json::Value;

use crate::sim::simulator::ApiRequest;

/// Levels of a schema that are followed; a deeper one is refused as one that refers to itself.
const MAX_DEPTH: u8 = 24;
const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
const FORMATS: [&str; 4] = ["date-time", "time", "date", "uuid"];

/// Returns the problem with a grammar, or with the schema of a tool's parameters.
pub(super) fn refuse(request: &ApiRequest<'_>) -> Option<String> {
    if let Some(format) = request.field("response_format") {
        let value = format.get("value")?;
        return match format.get("type").and_then(Value::as_str) {
            Some("regex") => value.as_str().is_none().then(|| "grammar is not valid: a regex is a string".to_owned()),
            Some("json_schema") => schema(value.get("schema")?),
            _ => schema(value),
        };
    }
    if request.field("tool_choice").is_some_and(|choice| choice == "none") {
        return None;
    }
    request.list("tools").into_iter().flatten().find_map(|tool| {
        let parameters = tool.pointer("/function/parameters").or_else(|| tool.pointer("/function/arguments"))?;
        // TGI puts the parameters into a larger schema, whose root has no definitions.
        compile(parameters, None, 0).map(|problem| format!("cannot compile regex from schema: {problem}"))
    })
}

fn schema(schema: &Value) -> Option<String> {
    if let Some(kind) = bad_kind(schema, 0) {
        let problem = format!("\"{kind}\" is not valid under any of the schemas listed in the 'anyOf' keyword");
        return Some(format!("grammar is not valid: {problem}"));
    }
    if schema.get("properties").is_none() {
        return Some("grammar is not valid: Grammar must have a 'properties' field".to_owned());
    }
    compile(schema, Some(schema), 0).map(|problem| format!("cannot compile regex from schema: {problem}"))
}

/// Returns a type that JSON Schema does not have.
fn bad_kind(value: &Value, depth: u8) -> Option<String> {
    let deeper = |value: &Value| if depth < MAX_DEPTH { bad_kind(value, depth + 1) } else { None };
    match value {
        Value::Object(fields) => fields.iter().find_map(|(name, field)| match field {
            Value::String(kind) if name == "type" && !KINDS.contains(&kind.as_str()) => Some(kind.clone()),
            field => deeper(field),
        }),
        Value::Array(items) => items.iter().find_map(deeper),
        _ => None,
    }
}

/// Returns the problem that the compiler reports.
fn compile(schema: &Value, root: Option<&Value>, depth: u8) -> Option<String> {
    // The real router overflows its stack here and crashes.
    if depth > MAX_DEPTH {
        return Some("a schema that refers to itself".to_owned());
    }
    let deeper = |schema: &Value| compile(schema, root, depth + 1);
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let Some(root) = root else { return Some("Invalid reference path: $defs".to_owned()) };
        let found = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or_else(|| Some(format!("Invalid reference path: {reference}")), deeper);
    }
    if schema.get("type").is_some_and(Value::is_array) {
        return Some("'type' must be a string".to_owned());
    }
    if let Some(format) = schema.get("format").and_then(Value::as_str).filter(|format| !FORMATS.contains(format)) {
        return Some(format!("Format {format} is not supported by Outlines"));
    }
    if schema.get("not").is_some() {
        return Some(format!("Unsupported JSON Schema structure {schema}"));
    }
    let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema.get(name)?.as_array()).flatten();
    let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(_, field)| field);
    lists.chain(fields).chain(schema.get("items")).find_map(deeper)
}
