//! Cost of a schema: whether compiling it and checking a document against it stays cheap.
//!
//! The crate remembers results for containers, but not for scalars: a chain of schemas that each refer twice to the next
//! one takes 2^n steps for one number.

use std::collections::HashMap;

use serde_json::Value;

/// Limit on the schemas that apply to one place of a document, references followed. A document has up to 10,000 places.
const AT_ONE_PLACE: u64 = 1_000;

/// Limit on the length of a chain of schemas for one place. It bounds the recursion over them.
const CHAIN: usize = 100;

/// Limit on the patterns of one schema.
const PATTERNS: usize = 32;

/// Keywords whose value is a schema for the same place.
const ONE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords whose value is a list or an object of schemas for the same place.
const MANY: [&str; 5] = ["allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies"];
/// Keywords that look at the results of all schemas for the same place once more.
const AGAIN: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
/// Keywords that name or follow a place otherwise than by a path in the schema.
const NAMES: [&str; 6] = ["$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"];

/// Returns the number of patterns; `None` if the schema costs too much, or refers to schemas by anything but a path.
pub(super) fn patterns(schema: &Value) -> Option<usize> {
    let mut weights = Weights { root: schema, known: HashMap::new(), depth: 0 };
    let mut patterns = 0;
    let mut rest = vec![schema];
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(items) => rest.extend(items),
            Value::Object(members) => {
                let is_root = std::ptr::eq(value, schema);
                let mut names = NAMES.iter().filter(|name| !(is_root && name.ends_with("id")));
                if names.any(|name| members.get(*name).is_some_and(Value::is_string))
                    || weights.of(value) > AT_ONE_PLACE
                {
                    return None;
                }
                patterns += usize::from(members.get("pattern").is_some_and(Value::is_string));
                patterns += members.get("patternProperties").and_then(Value::as_object).map_or(0, serde_json::Map::len);
                rest.extend(members.values());
            }
            _ => {}
        }
    }
    (patterns <= PATTERNS).then_some(patterns)
}

/// Numbers of schemas that apply where a given one does.
struct Weights<'a> {
    root: &'a Value,
    /// Known numbers by the address of the schema; the largest while one is counted, since a schema that comes back to
    /// itself at one place means nothing.
    known: HashMap<*const Value, u64>,
    /// Length of the chain that is followed.
    depth: usize,
}

impl Weights<'_> {
    fn of(&mut self, schema: &Value) -> u64 {
        let Some(members) = schema.as_object() else { return 1 };
        let address = std::ptr::from_ref(schema);
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        if self.depth >= CHAIN {
            return u64::MAX;
        }
        self.known.insert(address, u64::MAX);
        self.depth += 1;
        let mut weight = 1_u64;
        for name in ONE {
            weight = weight.saturating_add(members.get(name).map_or(0, |schema| self.of(schema)));
        }
        for name in MANY {
            let schemas: Vec<&Value> = match members.get(name) {
                Some(Value::Array(items)) => items.iter().collect(),
                Some(Value::Object(members)) => members.values().collect(),
                _ => Vec::new(),
            };
            weight = schemas.into_iter().fold(weight, |sum, schema| sum.saturating_add(self.of(schema)));
        }
        let path = members.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        if let Some(target) = path.and_then(|path| self.root.pointer(path)) {
            weight = weight.saturating_add(self.of(target));
        }
        for name in AGAIN {
            weight = weight.saturating_mul(if members.contains_key(name) { 2 } else { 1 });
        }
        self.depth -= 1;
        self.known.insert(address, weight);
        weight
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usual_schemas_are_cheap() {
        for (schema, expected) in [
            (json!(true), 0),
            (json!({"$id": "https://example.com/s", "type": "object", "properties": {"a": {"pattern": "x"}}}), 1),
            (json!({"properties": {"$id": {"type": "string"}, "pattern": {"type": "string"}}}), 0),
            (json!({"patternProperties": {"a": {}, "b": {}}}), 2),
            (json!({"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}), 0),
        ] {
            assert_eq!(patterns(&schema), Some(expected), "{schema}");
        }
    }

    #[test]
    fn schemas_that_multiply_are_not() {
        let mut definitions = serde_json::Map::new();
        for step in 0..20 {
            let next = json!({"$ref": format!("#/$defs/{}", step + 1)});
            definitions.insert(step.to_string(), json!({"oneOf": [next, {"not": next}]}));
        }
        assert_eq!(patterns(&json!({"$defs": definitions})), None);
        let mut again = json!({});
        for _ in 0..12 {
            again = json!({"allOf": [again], "unevaluatedProperties": false});
        }
        assert_eq!(patterns(&again), None);
        assert_eq!(patterns(&json!({"anyOf": vec![json!({}); 1_000]})), None);
        assert_eq!(patterns(&json!({"$ref": "#"})), None);
        assert_eq!(patterns(&json!({"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}})), None);
        assert_eq!(patterns(&json!({"items": {"$anchor": "a"}})), None);
        let many: Vec<_> = (0..PATTERNS + 1).map(|_| json!({"pattern": "x"})).collect();
        assert_eq!(patterns(&json!({"prefixItems": many})), None);
    }
}
