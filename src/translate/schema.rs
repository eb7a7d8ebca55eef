//! JSON Schemas for TGI, which compiles no lists of types, no references in tools, and no recursion.

use serde_json::{Map, Value};

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
                (
                    "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas",
                    Value::Object(named),
                ) => {
                    let mut all = Map::with_capacity(named.len());
                    for (name, value) in named {
                        all.insert(name.clone(), self.schema(value)?);
                    }
                    Value::Object(all)
                }
                ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "items", Value::Array(list)) => {
                    Value::Array(list.iter().map(|value| self.schema(value)).collect::<Result<_, _>>()?)
                }
                (
                    "items"
                    | "additionalItems"
                    | "unevaluatedItems"
                    | "additionalProperties"
                    | "unevaluatedProperties"
                    | "propertyNames"
                    | "contains"
                    | "if"
                    | "then"
                    | "else",
                    value,
                ) => self.schema(value)?,
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

#[cfg(test)]
mod tests {
    use super::*;

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
