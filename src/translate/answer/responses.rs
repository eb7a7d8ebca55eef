//! Streamed answers of `/v1/responses`: which items the application has received, and the events that it gets.

use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::backend_error::{self, of_event};
use super::filter::{Filter, WordWatch};
use super::ids::Ids;
use super::items::{ItemShaper, MAX_ITEMS, counts_of, message, text_part};
use super::json::{put_number, put_text};
use super::notes::Note;
use super::progress::Progress;
use super::read::parse;
use super::responses_event::{ResponsesEvent, parsed};
use super::responses_whole::know;
use super::responses_writer::EventWriter;
use crate::translate::answer_spec::AnswerSpec;

pub(super) struct Responses {
    spec: Arc<AnswerSpec>,
    ids: Ids,
    items: Vec<ShownItem>,
    writer: EventWriter,
    /// Index of the next item that is shown.
    place: u64,
    calls: u64,
    after_thought: bool,
}

/// State of one item as the application has received it.
struct ShownItem {
    /// The server's index of the item.
    index: u64,
    id: String,
    /// Index that the application receives; `None` while nothing of the item was shown.
    place: Option<u64>,
    kind: ItemKind,
}

enum ItemKind {
    Message {
        filter: Box<Filter>,
        after_thought: bool,
        call_text: WordWatch,
    },
    Call {
        call: u64,
        has_arguments: bool,
    },
    Reasoning,
    /// Not shown.
    Hidden,
}

impl Responses {
    pub(super) fn new(spec: Arc<AnswerSpec>, ids: Ids) -> Self {
        Self { spec, ids, items: Vec::new(), writer: EventWriter::default(), place: 0, calls: 0, after_thought: false }
    }

    fn shaper(&self) -> ItemShaper<'_> {
        ItemShaper { spec: &self.spec, ids: &self.ids, streamed: true }
    }

    pub(super) fn event(&mut self, data: &[u8], now: Instant, progress: &mut Progress, out: &mut BytesMut) {
        if data.trim_ascii() == b"[DONE]" {
            progress.seen.done = true;
            return;
        }
        let Ok(event) = parse::<ResponsesEvent<'_>>(data) else {
            let says_error =
                serde_json::from_slice::<Value>(data).is_ok_and(|original| original.get("error").is_some());
            let error = backend_error::failed("the backend sent an event that is none");
            progress.fail(if says_error { of_event(self.spec.engine, data) } else { error }, out);
            return;
        };
        match event.kind.0.as_ref() {
            "response.failed" | "error" => progress.fail(of_event(self.spec.engine, data), out),
            "response.created" | "response.in_progress" | "response.queued" => {
                let original = parsed(event.response);
                self.know(&original, progress);
                self.put_response(out, &event.kind.0, &original, Vec::new());
            }
            "response.completed" | "response.incomplete" => {
                let original = parsed(event.response);
                self.know(&original, progress);
                if self.spec.thinking_off && !progress.shown && progress.seen.first_content.is_some() {
                    // The answer came as a thought and was not shown, so another backend may still give one.
                    progress.fail(backend_error::failed("the backend took its answer for a thought"), out);
                    return;
                }
                let output = self.shaper().output(&original, &mut progress.notes);
                self.put_response(out, &event.kind.0, &original, output);
                progress.seen.has_reason = true;
                progress.ended = true;
            }
            "response.output_item.added" => self.added(&event, progress, out),
            "response.output_item.done" => self.done(&event, progress, out),
            "response.output_text.delta" => {
                progress.generated(now);
                self.text(&event, progress, out);
            }
            "response.output_text.done" | "response.content_part.done" => self.text_done(&event, progress, out),
            "response.function_call_arguments.delta" => {
                progress.generated(now);
                self.arguments(&event, out);
            }
            "response.function_call_arguments.done" => self.arguments_done(&event, out),
            "response.reasoning_text.delta" => {
                progress.generated(now);
                self.thought(&event, progress, out);
            }
            "response.reasoning_text.done" | "response.content_part.added" => self.thought(&event, progress, out),
            _ => {}
        }
    }

    fn know(&self, original: &Value, progress: &mut Progress) {
        know(original, &mut progress.seen.told);
        if let Some(counts) = original.get("usage").and_then(counts_of) {
            progress.seen.usage = Some(counts.seen());
        }
    }

    fn put_response(&mut self, out: &mut BytesMut, kind: &str, original: &Value, output: Vec<Value>) {
        let response = self.shaper().response(original, output);
        self.writer.response(out, kind, &response);
    }

    /// Appends an event inside the item at `at`, if that is shown.
    fn put_inside(&mut self, out: &mut BytesMut, kind: &str, at: usize, fields: impl FnOnce(&mut BytesMut)) {
        let Some((id, place)) = self.items.get(at).and_then(|item| Some((item.id.clone(), item.place?))) else {
            return;
        };
        self.writer.inside(out, kind, (&id, place), fields);
    }

    fn next_place(&mut self) -> u64 {
        self.place += 1;
        self.place - 1
    }

    /// Returns the place of the event's item. An item that was not announced is a message.
    fn at(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress) -> Option<usize> {
        let index = event.index();
        if let Some(at) = self.items.iter().position(|item| item.index == index) {
            return Some(at);
        }
        let own = event.item_id.as_ref().map(|id| id.0.as_ref());
        let id = self.shaper().item_id(own, "msg_", index);
        let kind = self.new_message();
        self.remember(ShownItem { index, id, place: None, kind }, progress)
    }

    fn new_message(&self) -> ItemKind {
        let mut filter = Box::new(Filter::default());
        if self.after_thought {
            filter.thought_passed();
        }
        ItemKind::Message { filter, after_thought: self.after_thought, call_text: WordWatch::tool_call() }
    }

    fn remember(&mut self, item: ShownItem, progress: &mut Progress) -> Option<usize> {
        if self.items.len() >= MAX_ITEMS {
            progress.notes.add(Note::OverBound);
            return None;
        }
        self.items.push(item);
        Some(self.items.len() - 1)
    }

    fn added(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress, out: &mut BytesMut) {
        let (item, index) = (event.item(), event.index());
        let own = item.get("id").and_then(Value::as_str);
        let (kind, id, place, shown) = match item.get("type").and_then(Value::as_str) {
            Some("message") => (self.new_message(), self.shaper().item_id(own, "msg_", index), None, Value::Null),
            Some("reasoning") => {
                self.after_thought = true;
                let id = self.shaper().item_id(own, "rs_", index);
                let shown = self.shaper().reasoning(&item, index);
                let is_hidden = self.shaper().hides_thoughts();
                let place = (!is_hidden).then(|| self.next_place());
                (if is_hidden { ItemKind::Hidden } else { ItemKind::Reasoning }, id, place, shown)
            }
            Some("function_call") if self.calls == 0 || !self.spec.one_call => {
                let call = self.calls;
                self.calls += 1;
                let id = self.shaper().item_id(own, "fc_", index);
                let shown = self.shaper().call_item(&item, index, call, "");
                (ItemKind::Call { call, has_arguments: false }, id, Some(self.next_place()), shown)
            }
            kind => {
                if kind == Some("function_call") {
                    progress.notes.add(Note::FirstCallOnly);
                }
                (ItemKind::Hidden, String::new(), None, Value::Null)
            }
        };
        if self.remember(ShownItem { index, id, place, kind }, progress).is_some()
            && let Some(place) = place
        {
            progress.shown = true;
            self.writer.item(out, "response.output_item.added", place, &shown);
        }
    }

    fn text(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress, out: &mut BytesMut) {
        let Some(at) = self.at(event, progress) else { return };
        let delta = event.delta();
        let Some(ShownItem { kind: ItemKind::Message { filter, .. }, .. }) = self.items.get_mut(at) else { return };
        let shown = filter.push(&delta, &[]).shown.into_owned();
        if filter.found_thought() {
            progress.notes.add(Note::ThinkText);
        }
        self.show(at, &shown, (event.content_index.unwrap_or(0), event.logprobs), progress, out);
    }

    fn show(
        &mut self,
        at: usize,
        shown: &str,
        (part, logprobs): (u64, Option<&RawValue>),
        progress: &mut Progress,
        out: &mut BytesMut,
    ) {
        if shown.is_empty() {
            return;
        }
        let is_new = self.items.get(at).is_some_and(|item| item.place.is_none());
        if is_new {
            let place = self.next_place();
            let Some(item) = self.items.get_mut(at) else { return };
            item.place = Some(place);
            let begun = message(&item.id, json!("in_progress"), Vec::new());
            self.writer.item(out, "response.output_item.added", place, &begun);
            self.put_inside(out, "response.content_part.added", at, |out| {
                out.put_slice(b",\"content_index\":");
                put_number(out, part);
                out.put_slice(b",\"part\":");
                out.put_slice(text_part("", None).to_string().as_bytes());
            });
        }
        if let Some(ShownItem { kind: ItemKind::Message { call_text, .. }, .. }) = self.items.get_mut(at)
            && self.spec.tools
        {
            call_text.push(shown);
            if call_text.found {
                progress.notes.add(Note::ToolCallText);
            }
        }
        progress.shown = true;
        self.put_inside(out, "response.output_text.delta", at, |out| {
            out.put_slice(b",\"content_index\":");
            put_number(out, part);
            out.put_slice(b",\"delta\":");
            put_text(out, shown);
            out.put_slice(b",\"logprobs\":");
            let list = logprobs.map(RawValue::get).filter(|list| list.starts_with('['));
            out.put_slice(list.unwrap_or("[]").as_bytes());
        });
    }

    /// Takes the end of a text, or of the part around it.
    fn text_done(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress, out: &mut BytesMut) {
        let Some(at) = self.at(event, progress) else { return };
        let Some(item) = self.items.get_mut(at) else { return };
        let ItemKind::Message { filter, after_thought, .. } = &mut item.kind else {
            self.thought(event, progress, out);
            return;
        };
        let after_thought = *after_thought;
        let held = filter.flush();
        let content = event.content_index.unwrap_or(0);
        self.show(at, &held, (content, None), progress, out);
        let part = parsed(event.part);
        let text = event.text.as_ref().map(|text| text.0.as_ref()).or_else(|| part.get("text")?.as_str());
        let text = self.shaper().text(text.unwrap_or_default(), after_thought, &mut progress.notes);
        let is_part = event.kind.0 == "response.content_part.done";
        self.put_inside(out, &event.kind.0, at, |out| {
            out.put_slice(b",\"content_index\":");
            put_number(out, content);
            if is_part {
                out.put_slice(b",\"part\":");
                out.put_slice(text_part(&text, part.get("logprobs")).to_string().as_bytes());
            } else {
                out.put_slice(b",\"text\":");
                put_text(out, &text);
                out.put_slice(b",\"logprobs\":");
                let list = event.logprobs.map(RawValue::get).filter(|list| list.starts_with('['));
                out.put_slice(list.unwrap_or("[]").as_bytes());
            }
        });
    }

    fn arguments(&mut self, event: &ResponsesEvent<'_>, out: &mut BytesMut) {
        let index = event.index();
        let Some(at) = self.items.iter().position(|item| item.index == index) else { return };
        let delta = event.delta();
        let Some(ShownItem { kind: ItemKind::Call { has_arguments, .. }, .. }) = self.items.get_mut(at) else { return };
        if delta.is_empty() {
            return;
        }
        *has_arguments = true;
        self.put_arguments(at, &delta, out);
    }

    fn put_arguments(&mut self, at: usize, delta: &str, out: &mut BytesMut) {
        self.put_inside(out, "response.function_call_arguments.delta", at, |out| {
            out.put_slice(b",\"delta\":");
            put_text(out, delta);
        });
    }

    fn arguments_done(&mut self, event: &ResponsesEvent<'_>, out: &mut BytesMut) {
        let index = event.index();
        let Some(at) = self.items.iter().position(|item| item.index == index) else { return };
        let original = event.arguments.as_ref().map_or("", |text| &text.0);
        let arguments = if original.is_empty() { "{}" } else { original };
        let Some(ShownItem { kind: ItemKind::Call { has_arguments, .. }, .. }) = self.items.get_mut(at) else { return };
        if !std::mem::replace(has_arguments, true) {
            self.put_arguments(at, arguments, out);
        }
        self.put_inside(out, "response.function_call_arguments.done", at, |out| {
            out.put_slice(b",\"arguments\":");
            put_text(out, arguments);
        });
    }

    /// Takes an event inside a thought, if the application may see it.
    fn thought(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress, out: &mut BytesMut) {
        let index = event.index();
        let Some(at) = self.items.iter().position(|item| item.index == index) else { return };
        if !matches!(self.items.get(at), Some(ShownItem { kind: ItemKind::Reasoning, .. })) {
            return;
        }
        progress.shown = true;
        let text = if event.delta.is_some() {
            event.delta()
        } else {
            event.text.as_ref().map(|text| text.0.clone()).unwrap_or_default()
        };
        let part = parsed(event.part);
        self.put_inside(out, &event.kind.0, at, |out| {
            out.put_slice(b",\"content_index\":");
            put_number(out, event.content_index.unwrap_or(0));
            if event.part.is_some() {
                let text = part.get("text").and_then(Value::as_str).unwrap_or_default();
                out.put_slice(b",\"part\":");
                out.put_slice(json!({"type": "reasoning_text", "text": text}).to_string().as_bytes());
            } else {
                out.put_slice(if event.delta.is_some() { b",\"delta\":" } else { b",\"text\":" });
                put_text(out, &text);
            }
        });
    }

    fn done(&mut self, event: &ResponsesEvent<'_>, progress: &mut Progress, out: &mut BytesMut) {
        let index = event.index();
        let Some(item) = self.items.iter().find(|item| item.index == index) else { return };
        let Some(place) = item.place else { return };
        let mut original = event.item();
        if let Some(fields) = original.as_object_mut() {
            fields.insert("id".into(), item.id.clone().into());
        }
        let shown = match item.kind {
            ItemKind::Message { after_thought, .. } => {
                self.shaper().shown_message(&original, index, after_thought, &mut progress.notes)
            }
            ItemKind::Call { call, .. } => {
                let arguments = original.get("arguments").and_then(Value::as_str).filter(|text| !text.is_empty());
                self.shaper().call_item(&original, index, call, arguments.unwrap_or("{}"))
            }
            ItemKind::Reasoning => self.shaper().reasoning(&original, index),
            ItemKind::Hidden => return,
        };
        self.writer.item(out, "response.output_item.done", place, &shown);
    }
}
