//! Compiled JSON schemas.
//!
//! A schema comes from a request, so it must neither reach the network nor cost much: see [`Schemas`].

use std::collections::HashMap;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Map, Number, Value};

use super::json::Json;
use super::schema_cost::patterns;
use super::vocabulary::NullReason;

/// Limit on the compiled schemas that are kept; the one used longest ago is dropped. An application has a schema for
/// each of its prompts, which are few.
const KEPT: usize = 64;

/// Limit, in bytes, on the estimated size of all compiled schemas that are kept. The largest single one is 8.5 MiB.
const KEPT_SIZE: usize = 12 * 1024 * 1024;

/// Limit, in bytes, on the compiled form of one pattern, and again on its cache of states. With a larger one, such as
/// `(\p{L}|-){100}`, a schema is unusable.
const PATTERN: usize = 128 * 1024;

/// Estimated size of a compiled schema without its patterns, in bytes for each byte of its text.
const GROWTH: usize = 8;

/// Cache of compiled schemas, by their text.
///
/// A schema is unusable if it does not compile, refers to another document, costs too much (`schema_cost`), or has a
/// pattern that cannot be matched in linear time. Formats are not checked.
#[derive(Debug, Default)]
pub struct Schemas {
    /// At most [`KEPT`], of [`KEPT_SIZE`] together.
    kept: HashMap<Box<str>, Kept>,
    /// Number of uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    /// `None` if the schema is unusable.
    validator: Option<Validator>,
    /// Estimated size in bytes.
    size: usize,
    last_use: u64,
}

impl Schemas {
    /// True if `document` keeps the schema with this text.
    pub(super) fn is_valid(&mut self, schema: &str, document: &Json) -> Result<bool, NullReason> {
        self.uses += 1;
        if !self.kept.contains_key(schema) {
            let kept = compile(schema);
            self.make_room(kept.size);
            self.kept.insert(schema.into(), kept);
        }
        let kept = self.kept.get_mut(schema).ok_or(NullReason::SchemaUnusable)?;
        kept.last_use = self.uses;
        let validator = kept.validator.as_ref().ok_or(NullReason::SchemaUnusable)?;
        Ok(validator.is_valid(&value(document)))
    }

    fn make_room(&mut self, size: usize) {
        while self.kept.len() >= KEPT || self.kept.values().map(|kept| kept.size).sum::<usize>() + size > KEPT_SIZE {
            let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.last_use).map(|(schema, _)| schema.clone())
            else {
                return;
            };
            self.kept.remove(&oldest);
        }
    }
}

/// Refuses to fetch other documents.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a schema may not refer to another document".into())
    }
}

fn compile(text: &str) -> Kept {
    let schema: Option<Value> = serde_json::from_str(text).ok();
    let patterns = schema.as_ref().and_then(patterns);
    let validator = schema.filter(|_| patterns.is_some()).and_then(|schema| {
        let linear = PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN);
        let options = jsonschema::options().with_retriever(Nothing).with_pattern_options(linear);
        options.should_validate_formats(false).build(&schema).ok()
    });
    let size = validator.as_ref().map_or(1, |_| GROWTH) * text.len() + patterns.unwrap_or(0) * 2 * PATTERN;
    Kept { validator, size, last_use: 0 }
}

/// Returns the document for the validator.
fn value(document: &Json) -> Value {
    match document {
        Json::Null | Json::HalfPair => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => self::number(*number),
        Json::Text(text) => Value::String(text.raw().to_owned()),
        Json::List(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), value(member))).collect::<Map<_, _>>())
        }
    }
}

/// Limit below which every whole number is a 64-bit float.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Returns a whole number as an integer: old drafts take a float for one only if it is written so.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < WHOLE {
        Value::from(number as i64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::json::parse;
    use super::*;

    fn check(schemas: &mut Schemas, schema: &str, document: &str) -> Result<bool, NullReason> {
        schemas.is_valid(schema, &parse(document).unwrap())
    }

    #[test]
    fn documents_keep_a_schema_or_not() {
        for (schema, document, expected) in [
            (r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}"#, r#"{"a":1.0}"#, true),
            (r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"integer"}"#, "1", true),
            (r#"{"type":"integer"}"#, "1.5", false),
            (r#"{"pattern":"^\\d{4}-\\d{2}$"}"#, r#""2026-11""#, true),
            (r#"{"pattern":"^\\d{4}-\\d{2}$"}"#, r#""2026""#, false),
            (r##"{"$defs":{"n":{"type":"null"}},"$ref":"#/$defs/n"}"##, "null", true),
            (r##"{"properties":{"next":{"$ref":"#"}},"additionalProperties":false}"##, r#"{"next":{"x":1}}"#, false),
            ("false", "1", false),
        ] {
            assert_eq!(check(&mut Schemas::default(), schema, document), Ok(expected), "{schema} {document}");
        }
    }

    #[test]
    fn unusable_schemas() {
        for schema in [
            "",
            "1",
            r#"{"type":"thing"}"#,
            r#"{"pattern":"(?=a)b"}"#,
            r#"{"pattern":"(a)\\1"}"#,
            r#"{"pattern":"(\\p{L}|-){100}x"}"#,
            r#"{"$schema":"https://example.com/own"}"#,
            r##"{"$ref":"#/$defs/none"}"##,
            r##"{"$ref":"#"}"##,
        ] {
            assert_eq!(check(&mut Schemas::default(), schema, "\"b\""), Err(NullReason::SchemaUnusable), "{schema}");
        }
    }

    #[test]
    fn long_chains_of_schemas_do_not_exhaust_the_stack() {
        for (keyword, expected) in [("items", Ok(true)), ("not", Err(NullReason::SchemaUnusable))] {
            let next = |step: usize| format!(r##""{step}":{{"{keyword}":{{"$ref":"#/$defs/{}"}}}}"##, step + 1);
            let steps: Vec<String> = (0..1_500).map(next).collect();
            let schema = format!(r##"{{"$ref":"#/$defs/0","$defs":{{{},"1500":{{}}}}}}"##, steps.join(","));
            assert_eq!(check(&mut Schemas::default(), &schema, "[[[]]]"), expected, "{keyword}");
        }
        let nested = format!("{}{{}}{}", r#"{"items":"#.repeat(100), "}".repeat(100));
        assert_eq!(check(&mut Schemas::default(), &nested, "[]"), Ok(true));
    }

    #[test]
    fn nothing_is_fetched() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let address = server.local_addr().unwrap();
        for schema in [
            format!(r#"{{"$ref":"http://{address}/schema.json"}}"#),
            format!(r#"{{"$schema":"http://{address}/meta.json"}}"#),
            format!(r##"{{"$id":"http://{address}/base/","properties":{{"a":{{"$ref":"other.json"}}}}}}"##),
            r#"{"$ref":"file:///etc/hostname"}"#.to_owned(),
        ] {
            let unusable = check(&mut Schemas::default(), &schema, r#"{"a":1}"#);
            assert_eq!(unusable, Err(NullReason::SchemaUnusable), "{schema}");
        }
        assert_eq!(server.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_schema_used_longest_ago_is_dropped() {
        let mut schemas = Schemas::default();
        let schema = |index: usize| format!(r#"{{"const":{index}}}"#);
        for index in 0..KEPT {
            assert_eq!(check(&mut schemas, &schema(index), "0"), Ok(index == 0));
        }
        assert_eq!(check(&mut schemas, &schema(0), "0"), Ok(true));
        assert_eq!(check(&mut schemas, &schema(KEPT), "0"), Ok(false));
        let is_kept = |index: usize| schemas.kept.contains_key(schema(index).as_str());
        assert_eq!((schemas.kept.len(), is_kept(0), is_kept(1), is_kept(KEPT)), (KEPT, true, false, true));
    }

    #[test]
    fn kept_schemas_have_a_size_together() {
        let mut schemas = Schemas::default();
        for index in 0..KEPT {
            let schema = format!(r#"{{"const":{index},"title":"{}"}}"#, "x".repeat(60 * 1024));
            assert_eq!(check(&mut schemas, &schema, "0"), Ok(index == 0));
        }
        let size: usize = schemas.kept.values().map(|kept| kept.size).sum();
        assert!(size <= KEPT_SIZE && size > KEPT_SIZE / 2, "{size}");
    }
}
