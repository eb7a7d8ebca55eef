//! Whole answers of `/v1/responses`.

use serde_json::Value;

use super::backend_error::of_event;
use super::ids::Ids;
use super::items::{ItemShaper, counts_of};
use super::notes::{Note, Notes};
use super::usage::TokenCounts;
use super::whole_answer::{Unusable, Whole};
use crate::translate::answer_spec::AnswerSpec;
use crate::wire::answer_facts::{AnswerFacts, AnswerIds};

pub(super) fn whole(spec: &AnswerSpec, ids: &Ids, body: &[u8]) -> Result<Whole, Unusable> {
    let original: Value =
        serde_json::from_slice(body).map_err(|_| Unusable::Garbled("the body is not a response in OpenAI's format"))?;
    let failed = original.get("status").and_then(Value::as_str) == Some("failed");
    let is_error = original.get("object").and_then(Value::as_str) == Some("error");
    if failed || is_error || original.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Unusable::Error(of_event(spec.engine, body)));
    }
    if !original.get("output").is_some_and(Value::is_array) {
        return Err(Unusable::Garbled("the answer has no output"));
    }
    let mut notes = Notes::default();
    let shaper = ItemShaper { spec, ids, streamed: false };
    let output = shaper.output(&original, &mut notes);
    let counts = original.get("usage").and_then(counts_of);
    if counts.is_none() {
        notes.add(Note::UsageUnsure);
    }
    let mut seen = AnswerFacts { usage: counts.map(TokenCounts::seen), has_reason: true, ..AnswerFacts::default() };
    know(&original, &mut seen.told);
    let body = shaper.response(&original, output).to_string().into_bytes();
    Ok(Whole { body, seen, notes })
}

/// Reads id, model and status of a response.
pub(super) fn know(response: &Value, ids: &mut AnswerIds) {
    let text = |name: &str| response.get(name).and_then(Value::as_str);
    ids.name(text("id"), text("model"));
    if let Some(status) = text("status").filter(|status| matches!(*status, "completed" | "incomplete")) {
        ids.reason(status);
    }
}
