//! JSON Schemas: for TGI, which compiles no lists of types, no references in tools, and no recursion; and the keywords
//! that the grammars of other engines refuse.

use serde_json::{Map, Value};

use crate::model::EngineFacts;

/// Keywords whose value is an object of schemas by name.
const NAMED: [&str; 6] =
    ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas", "dependencies"];
/// Keywords whose value is a list of schemas.
const LISTS: [&str; 5] = ["anyOf", "oneOf", "allOf", "prefixItems", "items"];
/// Keywords whose value is a schema.
const SINGLE: [&str; 11] = [
    "items",
    "additionalItems",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
];

/// Limit on the nodes of a schema after references are replaced, which can double at each level. A larger one is
/// pinned.
const MAX_NODES: usize = 10_000;
/// Limit on references that are followed within each other; a deeper schema is pinned.
const MAX_DEPTH: usize = 64;

const SELF: &str = "the schema refers to itself, which the backend does not survive";
const LARGE: &str = "the schema is too large for the backend";

struct SchemaWalk<'s> {
    root: &'s Value,
    inline: bool,
    nodes: usize,
    changed: bool,
    /// References being followed.
    open: Vec<String>,
}

/// Returns the schema as text if it had to change, or the reason for which the backend cannot take it. References are
/// replaced in tools; elsewhere the backend follows them, but needs `properties`.
pub(super) fn for_tgi(schema: &str, is_tool: bool) -> Result<Option<String>, &'static str> {
    let root: Value = serde_json::from_str(schema).map_err(|_| "the schema is nested too deeply")?;
    if !is_tool && root.get("properties").is_none() {
        return Err("the backend needs an object with properties");
    }
    let mut walk = SchemaWalk { root: &root, inline: is_tool, nodes: 0, changed: false, open: Vec::new() };
    let mut rewritten = walk.schema(&root)?;
    if !is_tool && rewritten.get("properties").is_none() {
        return Err("the backend needs an object with properties");
    }
    if is_tool && let Some(object) = rewritten.as_object_mut() {
        for unused in ["$defs", "definitions"] {
            walk.changed |= object.shift_remove(unused).is_some();
        }
    }
    Ok(walk.changed.then(|| rewritten.to_string()))
}

impl SchemaWalk<'_> {
    fn schema(&mut self, schema: &Value) -> Result<Value, &'static str> {
        self.nodes += 1;
        if self.nodes > MAX_NODES || self.open.len() > MAX_DEPTH {
            return Err(LARGE);
        }
        let Some(object) = schema.as_object() else { return Ok(schema.clone()) };
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            return self.reference(schema, reference);
        }
        if object.contains_key("not") {
            return Err("the backend does not know `not` in a schema");
        }
        if object.contains_key("format") {
            return Err("the backend does not know `format` in a schema");
        }
        let mut rewritten = Map::with_capacity(object.len());
        for (name, value) in object {
            let value = match (name.as_str(), value) {
                (name, Value::Object(named)) if NAMED.contains(&name) => {
                    let mut all = Map::with_capacity(named.len());
                    for (name, value) in named {
                        all.insert(name.clone(), self.schema(value)?);
                    }
                    Value::Object(all)
                }
                (name, Value::Array(list)) if LISTS.contains(&name) => {
                    Value::Array(list.iter().map(|value| self.schema(value)).collect::<Result<_, _>>()?)
                }
                (name, value) if SINGLE.contains(&name) => self.schema(value)?,
                (_, value) => value.clone(),
            };
            rewritten.insert(name.clone(), value);
        }
        Ok(self.one_type(rewritten))
    }

    fn reference(&mut self, schema: &Value, reference: &str) -> Result<Value, &'static str> {
        if self.open.iter().any(|open| open == reference) || reference == "#" {
            return Err(SELF);
        }
        let root = self.root;
        let found = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        let target = found.ok_or("the schema has a reference that leads nowhere")?;
        self.open.push(reference.to_owned());
        let resolved = self.schema(target);
        self.open.pop();
        let resolved = resolved?;
        if !self.inline {
            return Ok(schema.clone());
        }
        self.changed = true;
        Ok(resolved)
    }

    /// Rewrites `type: [a, b]` as `anyOf` with a schema for each.
    fn one_type(&mut self, mut schema: Map<String, Value>) -> Value {
        let Some(types) = schema.get("type").and_then(Value::as_array).cloned() else { return Value::Object(schema) };
        self.changed = true;
        schema.shift_remove("type");
        let of = |kind: &Value| {
            let mut one = Map::new();
            one.insert("type".to_owned(), kind.clone());
            if kind != "null" {
                one.extend(schema.clone().into_iter().filter(|(name, _)| name != "description"));
            }
            Value::Object(one)
        };
        if let [only] = types.as_slice() {
            return of(only);
        }
        let mut any = Map::new();
        if let Some(description) = schema.get("description") {
            any.insert("description".to_owned(), description.clone());
        }
        any.insert("anyOf".to_owned(), types.iter().map(of).collect());
        Value::Object(any)
    }
}

/// True if a keyword stands in the schema of a format that the engine's grammar refuses. Names of properties and
/// values that are data do not count.
pub(super) fn has_refused_keyword(schema: &str, facts: &EngineFacts) -> bool {
    let sized = if facts.refuses_sized_pattern { &["pattern"][..] } else { &[] };
    let mut words = facts.refused_keywords.iter().chain(sized);
    // A name can be spelt with escapes.
    let may_have = words.any(|word| schema.contains(word) || schema.contains("\\u"));
    // A schema that is nested too deeply to be read is left to the server.
    may_have && serde_json::from_str(schema).is_ok_and(|schema: Value| refuses(&schema, facts))
}

fn refuses(schema: &Value, facts: &EngineFacts) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let is_sized = || ["minLength", "maxLength"].iter().any(|name| object.contains_key(*name));
    if facts.refuses_sized_pattern && object.contains_key("pattern") && is_sized() {
        return true;
    }
    object.iter().any(|(name, value)| {
        let name = name.as_str();
        let asks_nothing = name == "uniqueItems" && *value == Value::Bool(false);
        if facts.refused_keywords.contains(&name) && !asks_nothing {
            return true;
        }
        match value {
            Value::Object(named) if NAMED.contains(&name) => named.values().any(|schema| refuses(schema, facts)),
            Value::Array(list) if LISTS.contains(&name) => list.iter().any(|schema| refuses(schema, facts)),
            schema => SINGLE.contains(&name) && refuses(schema, facts),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Engine;

    #[test]
    fn keywords_count_where_they_are_keywords() {
        let [vllm, sglang, trtllm] = [Engine::Vllm, Engine::Sglang, Engine::Trtllm].map(Engine::facts);
        for (schema, at_vllm, at_sglang) in [
            (r#"{"type":"array","uniqueItems":true}"#, true, true),
            (r#"{"uniqueItems":false}"#, false, false),
            (r#"{"properties":{"a":{"anyOf":[{"items":{"uniqueItems":true}}]}}}"#, true, true),
            (r#"{"$defs":{"a":{"prefixItems":[{"unique\u0049tems":true}]}}}"#, true, true),
            (r#"{"additionalProperties":{"multipleOf":5}}"#, false, true),
            (r#"{"properties":{"a":{"not":{}}}}"#, false, true),
            (r#"{"properties":{"not":{},"if":{},"then":{},"else":{},"uniqueItems":{},"multipleOf":{}}}"#, false, false),
            (r#"{"if":{},"then":{}}"#, false, true),
            (r#"{"else":{}}"#, false, true),
            (r#"{"pattern":"a","minLength":1}"#, false, true),
            (r#"{"pattern":"a","maxLength":1}"#, false, true),
            (r#"{"properties":{"a":{"pattern":"a"},"b":{"minLength":1}}}"#, false, false),
            (r#"{"properties":{"pattern":{},"minLength":{}}}"#, false, false),
            (r#"{"enum":[{"not":1,"uniqueItems":true}],"const":{"if":1},"default":{"not":1}}"#, false, false),
            ("[]", false, false),
        ] {
            assert_eq!((has_refused_keyword(schema, vllm), has_refused_keyword(schema, sglang)), (at_vllm, at_sglang));
            assert!(!has_refused_keyword(schema, trtllm), "{schema}");
        }
        let deep = format!("{}{{\"not\":1}}{}", r#"{"items":"#.repeat(200), "}".repeat(200));
        assert!(!has_refused_keyword(&deep, sglang), "left to the server");
    }

    #[test]
    fn lists_of_types_and_references() {
        let nullable = r#"{"type":"object","properties":{"format":{"type":["string","null"],"minLength":1}}}"#;
        assert_eq!(
            for_tgi(nullable, false).unwrap().unwrap(),
            r#"{"type":"object","properties":{"format":{"anyOf":[{"type":"string","minLength":1},{"type":"null"}]}}}"#
        );
        let referring =
            r##"{"type":"object","$defs":{"P":{"type":"string"}},"properties":{"p":{"$ref":"#/$defs/P"}}}"##;
        assert_eq!(
            for_tgi(referring, true).unwrap().unwrap(),
            r#"{"type":"object","properties":{"p":{"type":"string"}}}"#
        );
        assert_eq!(for_tgi(referring, false), Ok(None), "understood there");
    }

    #[test]
    fn what_the_server_does_not_survive_is_never_sent() {
        for schema in [
            r##"{"properties":{"a":{"$ref":"#"}}}"##,
            r##"{"properties":{"a":{"$ref":"#/$defs/T"}},"$defs":{"T":{"items":{"$ref":"#/$defs/T"}}}}"##,
            r##"{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"anyOf":[{"$ref":"#/$defs/B"}]},"B":{"items":{"$ref":"#/$defs/A"}}}}"##,
            r##"{"properties":{"a":{"items":[{"$ref":"#"}]}}}"##,
            r##"{"properties":{"a":{"contains":{"$ref":"#"}}}}"##,
            r##"{"properties":{"a":{"dependentSchemas":{"b":{"$ref":"#"}}}}}"##,
            r##"{"properties":{"a":{"if":{"$ref":"#/properties/a"}}}}"##,
            r#"{"properties":{"a":{"not":{"type":"string"}}}}"#,
            r#"{"properties":{"a":{"format":"email"}}}"#,
            r##"{"properties":{"a":{"$ref":"#/nothing"}}}"##,
            r#"{"type":"array","items":{}}"#,
        ] {
            assert!(for_tgi(schema, false).is_err(), "{schema}");
        }
        let doubling: Vec<String> = (0..40)
            .map(|n| {
                format!(r##""D{n}":{{"anyOf":[{{"$ref":"#/$defs/D{m}"}},{{"$ref":"#/$defs/D{m}"}}]}}"##, m = n + 1)
            })
            .collect();
        let bomb = format!(
            r##"{{"properties":{{"a":{{"$ref":"#/$defs/D0"}}}},"$defs":{{{},"D40":{{}}}}}}"##,
            doubling.join(",")
        );
        assert_eq!(for_tgi(&bomb, true), Err(LARGE));
    }
}
