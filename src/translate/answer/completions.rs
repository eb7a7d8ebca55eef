//! Answers of `/v1/completions`: text without roles, calls or thoughts.

use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use serde_json::{Map, Value, json};

use super::backend_error;
use super::event::put_done;
use super::filter::Filter;
use super::finish::{FinishReason, finish};
use super::ids::{Ids, is_plain_id};
use super::notes::{Note, Notes};
use super::progress::Progress;
use super::usage::TokenCounts;
use super::whole_answer::{Unusable, Whole};
use crate::translate::answer_spec::AnswerSpec;
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::observe::told_by;

/// Limit on the choices of one answer, which are prompts times `n`; further choices are dropped and noted.
const MAX_CHOICES: usize = 1024;
/// End-of-turn tokens that some servers leave in the text.
const END_OF_TURN: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

struct CompletionChoice {
    index: u64,
    filter: Filter,
    finished: bool,
}

pub(super) struct Completions {
    spec: Arc<AnswerSpec>,
    ids: Ids,
    stops: Vec<String>,
    /// Fields that begin every chunk, taken from the first.
    head: Option<Map<String, Value>>,
    choices: Vec<CompletionChoice>,
    counts: Option<TokenCounts>,
}

fn stops_of(spec: &AnswerSpec) -> Vec<String> {
    spec.stop.iter().cloned().chain(END_OF_TURN.map(str::to_owned)).collect()
}

/// Returns the fields of an answer other than choices and usage.
fn head_of(answer: &Value, spec: &AnswerSpec, ids: &Ids) -> Map<String, Value> {
    let own = answer.get("id").and_then(Value::as_str).filter(|own| is_plain_id(own));
    let id = match own {
        Some(own) if own.starts_with("cmpl-") => own.to_owned(),
        Some(own) => format!("cmpl-{own}"),
        None => format!("cmpl-{:032x}", ids.seed),
    };
    let created = answer.get("created").and_then(Value::as_i64).filter(|created| *created > 1_000_000_000);
    let head = json!({"id": id, "object": "text_completion", "created": created.unwrap_or(ids.created),
        "model": spec.model, "system_fingerprint": null});
    if let Value::Object(head) = head { head } else { Map::new() }
}

fn choice(index: u64, text: &str, logprobs: Option<&Value>, reason: Option<&str>) -> Value {
    json!({"text": text, "index": index, "logprobs": logprobs.cloned().unwrap_or(Value::Null), "finish_reason": reason})
}

fn counts_of(answer: &Value) -> Option<TokenCounts> {
    answer.get("usage").filter(|usage| usage.is_object()).and_then(|usage| TokenCounts::read(&usage.to_string()))
}

fn usage_json(counts: TokenCounts) -> Value {
    let mut json = BytesMut::new();
    counts.put_chat(&mut json);
    serde_json::from_slice(&json).unwrap_or(Value::Null)
}

/// Rewrites an unstreamed answer.
pub(super) fn whole(spec: &AnswerSpec, ids: &Ids, body: &[u8]) -> Result<Whole, Unusable> {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Err(Unusable::Garbled("the body is not a JSON object"));
    };
    if answer.get("error").is_some_and(|error| !error.is_null()) || answer.get("object") == Some(&json!("error")) {
        return Err(Unusable::Error(backend_error::of_event(spec.engine, body)));
    }
    let Some(given) = answer.get("choices").and_then(Value::as_array).filter(|given| !given.is_empty()) else {
        return Err(Unusable::Garbled("the answer has no choices"));
    };
    let (mut notes, stops) = (Notes::default(), stops_of(spec));
    let mut choices = Vec::with_capacity(given.len());
    for (at, one) in given.iter().enumerate() {
        let mut filter = Filter::default();
        let text = one.get("text").and_then(Value::as_str).unwrap_or_default();
        let mut shown = filter.push(text, &stops).shown.into_owned();
        let cut = filter.is_cut();
        shown.push_str(&filter.flush());
        let reason = match finish(one.get("finish_reason").and_then(Value::as_str), false, spec, &mut notes) {
            Some(FinishReason::Failed) => {
                return Err(Unusable::Error(backend_error::failed("the backend gave the answer up")));
            }
            Some(FinishReason::Reason(reason)) if !cut => reason,
            _ => "stop",
        };
        let index = one.get("index").and_then(Value::as_u64).unwrap_or(at as u64);
        choices.push((index, choice(index, &shown, one.get("logprobs"), Some(reason))));
    }
    // Choices of several prompts come in the order in which they ended.
    choices.sort_by_key(|(index, _)| *index);
    let counts = counts_of(&answer);
    if counts.is_none() {
        notes.add(Note::UsageUnsure);
    }
    let mut shown = head_of(&answer, spec, ids);
    shown.insert("choices".to_owned(), choices.into_iter().map(|(_, choice)| choice).collect());
    if let Some(counts) = counts {
        shown.insert("usage".to_owned(), usage_json(counts));
    }
    let seen = AnswerFacts { usage: counts.map(TokenCounts::seen), told: told_by(body), ..AnswerFacts::default() };
    Ok(Whole { body: Value::Object(shown).to_string().into_bytes(), seen, notes })
}

impl Completions {
    pub(super) fn new(spec: Arc<AnswerSpec>, ids: Ids) -> Self {
        let stops = stops_of(&spec);
        Self { spec, ids, stops, head: None, choices: Vec::new(), counts: None }
    }

    pub(super) fn has_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|state| state.finished)
    }

    pub(super) fn event(&mut self, data: &[u8], now: Instant, progress: &mut Progress, out: &mut BytesMut) {
        if data.trim_ascii() == b"[DONE]" {
            progress.seen.done = true;
            self.complete(progress, out);
            return;
        }
        let Ok(answer) = serde_json::from_slice::<Value>(data) else {
            progress.fail(backend_error::failed("the backend sent an event that is no JSON"), out);
            return;
        };
        if answer.get("error").is_some_and(|error| !error.is_null()) || answer.get("object") == Some(&json!("error")) {
            progress.fail(backend_error::of_event(self.spec.engine, data), out);
            return;
        }
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        progress.seen.told.name(text("id"), text("model"));
        if let Some(counts) = counts_of(&answer) {
            progress.seen.usage = Some(counts.seen());
            self.counts = Some(counts);
        }
        for one in answer.get("choices").and_then(Value::as_array).into_iter().flatten() {
            self.take(&answer, one, now, progress, out);
            if progress.ended {
                return;
            }
        }
    }

    fn take(&mut self, answer: &Value, one: &Value, now: Instant, progress: &mut Progress, out: &mut BytesMut) {
        let index = one.get("index").and_then(Value::as_u64).unwrap_or(0);
        if !self.choices.iter().any(|state| state.index == index) {
            if self.choices.len() == MAX_CHOICES {
                progress.notes.add(Note::OverBound);
                return;
            }
            self.choices.push(CompletionChoice { index, filter: Filter::default(), finished: false });
        }
        let head = self.head.get_or_insert_with(|| head_of(answer, &self.spec, &self.ids));
        let Some(state) = self.choices.iter_mut().find(|state| state.index == index) else { return };
        if state.finished {
            return;
        }
        let text = one.get("text").and_then(Value::as_str).unwrap_or_default();
        if !text.is_empty() {
            progress.generated(now);
        }
        let mut shown = state.filter.push(text, &self.stops).shown.into_owned();
        let cut = state.filter.is_cut();
        let given = one.get("finish_reason").and_then(Value::as_str);
        if let Some(reason) = given {
            progress.seen.told.reason(reason);
        }
        let reason = match finish(given, false, &self.spec, &mut progress.notes) {
            Some(FinishReason::Failed) => {
                progress.fail(backend_error::failed("the backend gave the answer up"), out);
                return;
            }
            Some(FinishReason::Reason(reason)) => {
                progress.seen.has_reason = true;
                Some(if cut { "stop" } else { reason })
            }
            None => cut.then_some("stop"),
        };
        if cut {
            progress.notes.add(Note::StopCut);
        }
        if reason.is_some() {
            state.finished = true;
            shown.push_str(&state.filter.flush());
        }
        if shown.is_empty() && reason.is_none() {
            return;
        }
        progress.shown |= !shown.is_empty();
        let mut chunk = head.clone();
        chunk.insert("choices".to_owned(), json!([choice(index, &shown, one.get("logprobs"), reason)]));
        if self.spec.usage_chunk {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        put_event(out, chunk);
    }

    /// Completes the stream after its last event, adding what the server left out.
    pub(super) fn complete(&mut self, progress: &mut Progress, out: &mut BytesMut) {
        if progress.ended {
            return;
        }
        let Some(head) = &self.head else {
            progress.fail(backend_error::failed("the backend ended the answer without having begun it"), out);
            return;
        };
        for state in self.choices.iter_mut().filter(|state| !state.finished) {
            state.finished = true;
            let rest = state.filter.flush();
            progress.shown |= !rest.is_empty();
            let mut chunk = head.clone();
            chunk.insert("choices".to_owned(), json!([choice(state.index, &rest, None, Some("stop"))]));
            put_event(out, chunk);
        }
        match self.counts {
            Some(counts) if self.spec.usage_chunk => {
                let mut chunk = head.clone();
                chunk.insert("choices".to_owned(), json!([]));
                chunk.insert("usage".to_owned(), usage_json(counts));
                put_event(out, chunk);
            }
            None if self.spec.usage_chunk => progress.notes.add(Note::UsageUnsure),
            Some(_) | None => {}
        }
        put_done(out);
        progress.ended = true;
    }
}

fn put_event(out: &mut BytesMut, chunk: Map<String, Value>) {
    out.put_slice(b"data: ");
    out.put_slice(Value::Object(chunk).to_string().as_bytes());
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Engine;
    use crate::translate::answer_spec::Kind;
    use crate::translate::ids::Owner;

    #[test]
    fn counts_that_were_not_told_are_not_made_up() {
        let spec = AnswerSpec {
            streamed: true,
            usage_chunk: true,
            ..AnswerSpec::new(Engine::Vllm, Owner::of("qwen"), Kind::Completions, "gpt-4o".to_owned())
        };
        let ids = Ids { seed: 7, created: 1_795_000_000 };
        let body = br#"{"choices":[{"index":0,"text":"a","finish_reason":"stop"}]}"#;
        let state = whole(&spec, &ids, body).unwrap();
        assert!(state.notes.has(Note::UsageUnsure) && !String::from_utf8(state.body).unwrap().contains("usage"));
        let (mut stream, mut progress) = (Completions::new(Arc::new(spec), ids), Progress::default());
        let mut out = BytesMut::new();
        for event in [&body[..], b"[DONE]"] {
            stream.event(event, Instant::now(), &mut progress, &mut out);
        }
        let text = String::from_utf8(out.to_vec()).unwrap();
        assert!(progress.notes.has(Note::UsageUnsure) && text.ends_with("data: [DONE]\n\n"));
        assert!(!text.contains("prompt_tokens"), "{text}");
    }
}
