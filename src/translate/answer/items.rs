//! Objects of `/v1/responses`, the response and its items, with OpenAI's fields and no others.

use serde_json::{Map, Value, json};

use super::calls::shown_id;
use super::filter::{Filter, settle};
use super::ids::{Ids, is_plain_id};
use super::notes::{Note, Notes};
use super::repair;
use super::usage::TokenCounts;
use crate::config::ReasoningPolicy;
use crate::translate::answer_spec::AnswerSpec;
use crate::translate::ids::{owner_of_response, response_id};

/// Limit on the items of one answer; later items are dropped.
pub(super) const MAX_ITEMS: usize = 128;

/// Fields of the tools that a response repeats.
const FUNCTION: [&str; 5] = ["type", "name", "description", "parameters", "strict"];
const OTHER_TOOL: [&str; 3] = ["type", "name", "description"];

/// Fields that are passed on as the server echoes them.
const ECHOED: [&str; 9] = [
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Rewriter for the objects of one answer.
pub(super) struct ItemShaper<'a> {
    pub(super) spec: &'a AnswerSpec,
    pub(super) ids: &'a Ids,
    /// True in a stream, where text is sent before it is complete, so that repairs of the whole text are not possible.
    pub(super) streamed: bool,
}

impl ItemShaper<'_> {
    pub(super) fn hides_thoughts(&self) -> bool {
        self.spec.reasoning == ReasoningPolicy::Strip
    }

    /// Returns the response's id, which contains the backend's own.
    fn response_id(&self, own: &str) -> String {
        if owner_of_response(own).is_some_and(|(owner, _)| owner == self.spec.owner) {
            return own.to_owned();
        }
        if is_plain_id(own) {
            response_id(self.spec.owner, own)
        } else {
            response_id(self.spec.owner, &format!("{:032x}", self.ids.seed))
        }
    }

    /// Returns an item's id: the server's, if it looks like OpenAI's.
    pub(super) fn item_id(&self, own: Option<&str>, prefix: &str, index: u64) -> String {
        match own {
            Some(own) if own.starts_with(prefix) && is_plain_id(own) => own.to_owned(),
            _ => format!("{prefix}{:032x}{index:02x}", self.ids.seed),
        }
    }

    pub(super) fn call_id(&self, item: &Value, place: u64) -> String {
        shown_id(item.get("call_id").and_then(Value::as_str), self.spec, self.ids, 0, place)
    }

    pub(super) fn response(&self, original: &Value, output: Vec<Value>) -> Value {
        let text = |name: &str| original.get(name).and_then(Value::as_str);
        let known = |name: &str| original.get(name).filter(|value| !value.is_null());
        let created = original.get("created_at").and_then(Value::as_f64).filter(|seconds| *seconds >= 1e9);
        let tools = self.tools(original);
        let choice = known("tool_choice").filter(|_| !tools.is_empty()).cloned().unwrap_or_else(|| json!("auto"));
        let mut response = Map::new();
        response.insert("id".into(), self.response_id(text("id").unwrap_or_default()).into());
        response.insert("object".into(), "response".into());
        let created = created.map_or_else(|| json!(self.ids.created), |_| original["created_at"].clone());
        response.insert("created_at".into(), created);
        response.insert("status".into(), text("status").unwrap_or("completed").into());
        response.insert("background".into(), false.into());
        response.insert("error".into(), Value::Null);
        for name in ECHOED {
            response.insert(name.into(), original.get(name).cloned().unwrap_or_default());
        }
        response.insert("model".into(), self.spec.model.clone().into());
        response.insert("output".into(), output.into());
        let parallel = original.get("parallel_tool_calls").and_then(Value::as_bool);
        response.insert("parallel_tool_calls".into(), parallel.unwrap_or(true).into());
        response.insert("previous_response_id".into(), Value::Null);
        let reasoning =
            known("reasoning").map_or(Value::Null, |original| original.get("effort").cloned().unwrap_or_default());
        response.insert("reasoning".into(), json!({"effort": reasoning, "summary": null}));
        response.insert("service_tier".into(), Value::Null);
        response.insert("store".into(), false.into());
        let format = known("text").cloned().unwrap_or_else(|| json!({"format": {"type": "text"}}));
        response.insert("text".into(), format);
        response.insert("tool_choice".into(), choice);
        response.insert("tools".into(), tools.into());
        let counts = known("usage").and_then(counts_of);
        response.insert("usage".into(), counts.map_or(Value::Null, TokenCounts::to_responses));
        response.insert("metadata".into(), known("metadata").cloned().unwrap_or_else(|| json!({})));
        Value::Object(response)
    }

    fn tools(&self, original: &Value) -> Vec<Value> {
        let list = original.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let fields = |tool: &Value| if tool["type"] == "function" { &FUNCTION[..] } else { &OTHER_TOOL };
        list.iter().map(|tool| Value::Object(kept(tool, fields(tool)))).collect()
    }

    /// Returns the items that are shown, in order.
    pub(super) fn output(&self, original: &Value, notes: &mut Notes) -> Vec<Value> {
        let list = original.get("output").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut shown = Vec::new();
        let (mut after_thought, mut calls) = (false, 0);
        for (index, item) in (0_u64..).zip(list.iter().take(MAX_ITEMS)) {
            match item.get("type").and_then(Value::as_str) {
                Some("reasoning") => {
                    after_thought = true;
                    if !self.hides_thoughts() {
                        shown.push(self.reasoning(item, index));
                    }
                }
                Some("message") => {
                    let (message, written) = self.message(item, index, after_thought, notes);
                    shown.extend(message);
                    for written in written {
                        let item =
                            json!({"name": written.name, "arguments": written.arguments, "type": "function_call"});
                        shown.extend(self.call(&item, index, &mut calls, notes));
                    }
                }
                Some("function_call") => shown.extend(self.call(item, index, &mut calls, notes)),
                _ => {}
            }
        }
        if shown.is_empty() && self.spec.thinking_off {
            shown.extend(list.iter().take(MAX_ITEMS).find_map(|item| self.moved(item, notes)));
        }
        shown
    }

    /// Returns the answer of a server that was told not to think and reported its answer as a thought.
    fn moved(&self, item: &Value, notes: &mut Notes) -> Option<Value> {
        let parts = item.get("content")?.as_array()?;
        let text: String = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
        if item.get("type")? != "reasoning" || text.is_empty() {
            return None;
        }
        notes.add(Note::ReasoningMoved);
        let item = json!({"type": "message", "content": [{"type": "output_text", "text": text}]});
        self.message(&item, 0, true, notes).0
    }

    pub(super) fn reasoning(&self, item: &Value, index: u64) -> Value {
        let own = item.get("id").and_then(Value::as_str);
        let mut reasoning = Map::new();
        reasoning.insert("id".into(), self.item_id(own, "rs_", index).into());
        reasoning.insert("type".into(), "reasoning".into());
        reasoning.insert("summary".into(), item.get("summary").cloned().unwrap_or_else(|| json!([])));
        let content = item.get("content").filter(|content| content.is_array()).cloned();
        reasoning.insert("content".into(), content.unwrap_or_else(|| json!([])));
        reasoning.insert("status".into(), status_of(item));
        Value::Object(reasoning)
    }

    /// Returns a message, unless nothing of it is shown, and the calls that a server without a parser left in its text.
    fn message(
        &self,
        item: &Value,
        index: u64,
        after_thought: bool,
        notes: &mut Notes,
    ) -> (Option<Value>, Vec<repair::TextCall>) {
        let list = item.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (mut parts, mut calls) = (Vec::new(), Vec::new());
        for part in list {
            if part.get("type").and_then(Value::as_str) == Some("refusal") {
                parts.push(Value::Object(kept(part, &["type", "refusal"])));
                continue;
            }
            let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
            let mut shown = self.text(text, after_thought, notes);
            if self.spec.tools && repair::has_calls(&shown) {
                notes.add(Note::ToolCallText);
                if let Some((before, written)) = repair::repair(&shown).filter(|_| !self.streamed) {
                    notes.add(Note::ToolCallRepaired);
                    (shown, calls) = (before, written);
                }
            }
            if !shown.is_empty() {
                parts.push(text_part(&shown, part.get("logprobs")));
            }
        }
        let own = item.get("id").and_then(Value::as_str);
        let id = self.item_id(own, "msg_", index);
        let message = (!parts.is_empty()).then(|| message(&id, status_of(item), parts));
        (message, calls)
    }

    /// Returns a message of which a part was sent before.
    pub(super) fn shown_message(&self, item: &Value, index: u64, after_thought: bool, notes: &mut Notes) -> Value {
        let shown = self.message(item, index, after_thought, notes).0;
        let own = item.get("id").and_then(Value::as_str);
        shown.unwrap_or_else(|| message(&self.item_id(own, "msg_", index), status_of(item), Vec::new()))
    }

    pub(super) fn text(&self, text: &str, after_thought: bool, notes: &mut Notes) -> String {
        if !self.streamed {
            let settled = settle(text, after_thought, &[]);
            for (is_so, note) in [(settled.orphan, Note::OrphanThink), (settled.in_text, Note::ThinkText)] {
                if is_so {
                    notes.add(note);
                }
            }
            return settled.shown;
        }
        let mut filter = Filter::default();
        if after_thought {
            filter.thought_passed();
        }
        let mut shown = filter.push(text, &[]).shown.into_owned();
        shown.push_str(&filter.flush());
        shown
    }

    /// Returns a call, unless only one was asked for and sent before.
    fn call(&self, item: &Value, index: u64, calls: &mut u64, notes: &mut Notes) -> Option<Value> {
        if *calls > 0 && self.spec.one_call {
            notes.add(Note::FirstCallOnly);
            return None;
        }
        *calls += 1;
        let arguments = item.get("arguments").and_then(Value::as_str).unwrap_or_default();
        Some(self.call_item(item, index, *calls - 1, if arguments.is_empty() { "{}" } else { arguments }))
    }

    pub(super) fn call_item(&self, item: &Value, index: u64, place: u64, arguments: &str) -> Value {
        let own = item.get("id").and_then(Value::as_str);
        json!({
            "id": self.item_id(own, "fc_", index),
            "type": "function_call",
            "status": status_of(item),
            "arguments": arguments,
            "call_id": self.call_id(item, place),
            "name": item.get("name").and_then(Value::as_str).unwrap_or_default(),
        })
    }
}

pub(super) fn counts_of(usage: &Value) -> Option<TokenCounts> {
    TokenCounts::read(&usage.to_string())
}

pub(super) fn message(id: &str, status: Value, parts: Vec<Value>) -> Value {
    json!({"id": id, "type": "message", "status": status, "content": parts, "role": "assistant"})
}

pub(super) fn text_part(text: &str, logprobs: Option<&Value>) -> Value {
    let logprobs = logprobs.filter(|list| list.is_array()).cloned().unwrap_or_else(|| json!([]));
    json!({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text})
}

fn status_of(item: &Value) -> Value {
    let known = |status: &&Value| *status == "in_progress" || *status == "incomplete";
    item.get("status").filter(known).cloned().unwrap_or_else(|| json!("completed"))
}

fn kept(object: &Value, names: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| Some(((*name).to_owned(), object.get(*name)?.clone()));
    names.iter().filter_map(field).filter(|(_, value)| !value.is_null()).collect()
}
