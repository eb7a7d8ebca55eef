//! Compiled JSON schemas.
//!
//! A schema comes from a request, so it must neither reach the network nor cost much: see [`Schemas`].

use std::collections::HashMap;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Map, Number, Value};

use super::json::Json;
use super::vocabulary::NullReason;

/// Limit on the compiled schemas that are kept; the one used longest ago is dropped. An application has a schema for
/// each of its prompts, which are few.
const KEPT: usize = 64;

/// Limit, in bytes, on the compiled form of one pattern. With a larger one, such as `^.{10000}$`, a schema is unusable.
const PATTERN: usize = 256 * 1024;

/// Cache of compiled schemas, by their text. A remote `$ref` makes a schema unusable, as does a pattern that cannot be
/// matched in linear time.
#[derive(Debug, Default)]
pub struct Schemas {
    /// At most [`KEPT`].
    kept: HashMap<Box<str>, Kept>,
    /// Number of uses so far.
    uses: u64,
}

#[derive(Debug)]
struct Kept {
    /// `None` if the schema is unusable.
    validator: Option<Validator>,
    used: u64,
}

impl Schemas {
    /// True if `document` keeps the schema with this text.
    pub(super) fn is_valid(&mut self, schema: &str, document: &Json) -> Result<bool, NullReason> {
        self.uses += 1;
        if !self.kept.contains_key(schema) {
            self.make_room();
            let kept = Kept { validator: compile(schema), used: 0 };
            self.kept.insert(schema.into(), kept);
        }
        let kept = self.kept.get_mut(schema).ok_or(NullReason::SchemaUnusable)?;
        kept.used = self.uses;
        let validator = kept.validator.as_ref().ok_or(NullReason::SchemaUnusable)?;
        Ok(validator.is_valid(&value(document)))
    }

    fn make_room(&mut self) {
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(schema, _)| schema.clone())
        {
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

fn compile(schema: &str) -> Option<Validator> {
    let schema = serde_json::from_str(schema).ok()?;
    let patterns = PatternOptions::regex().size_limit(PATTERN).dfa_size_limit(PATTERN);
    jsonschema::options().with_retriever(Nothing).with_pattern_options(patterns).build(&schema).ok()
}

/// Returns the document for the validator.
fn value(document: &Json) -> Value {
    match document {
        Json::Null | Json::HalfPair => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => self::number(*number),
        Json::Text(text) => Value::String(text.clone()),
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
