//! Rewriting of a chat stream, event by event.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::backend_error;
use super::calls::{CallPart, Calls};
use super::event::{ChunkWriter, Delta, put_done};
use super::filter::{Filter, WordWatch};
use super::finish::{FinishReason, ended, finish};
use super::ids::Ids;
use super::logprobs;
use super::notes::Note;
use super::progress::Progress;
use super::read::{Answer, Choice, Message, Text, parse};
use super::usage::TokenCounts;
use crate::config::ReasoningPolicy;
use crate::translate::answer_spec::AnswerSpec;

/// Limit on the choices of one answer, as OpenAI's on `n`; further choices are dropped and noted.
const MAX_CHOICES: u64 = 128;

/// Limit, in bytes, on log probabilities of text that is held back; above it all of them are dropped.
const MAX_LOGPROBS: usize = 256 << 10;

pub(super) struct Chat {
    spec: Arc<AnswerSpec>,
    ids: Ids,
    /// Made from the first chunk, so that all chunks have the same id.
    writer: Option<ChunkWriter>,
    choices: Vec<ChatChoice>,
    counts: Option<TokenCounts>,
}

/// State of one choice as the application has received it.
struct ChatChoice {
    index: u64,
    has_role: bool,
    is_finished: bool,
    /// The answer comes in the field for thoughts.
    moved: bool,
    filter: Filter,
    calls: Calls,
    logprobs: Vec<u8>,
    orphan: WordWatch,
    call_text: WordWatch,
}

impl ChatChoice {
    fn new(index: u64) -> Self {
        Self {
            index,
            has_role: false,
            is_finished: false,
            moved: false,
            filter: Filter::default(),
            calls: Calls::default(),
            logprobs: Vec::new(),
            orphan: WordWatch::close_of_thought(),
            call_text: WordWatch::tool_call(),
        }
    }
}

impl Chat {
    pub(super) const fn new(spec: Arc<AnswerSpec>, ids: Ids) -> Self {
        Self { spec, ids, writer: None, choices: Vec::new(), counts: None }
    }

    pub(super) fn event(&mut self, data: &[u8], now: Instant, progress: &mut Progress, out: &mut BytesMut) {
        if data.trim_ascii() == b"[DONE]" {
            progress.seen.done = true;
            self.complete(progress, out);
            return;
        }
        let Ok(answer) = parse::<Answer<'_>>(data) else {
            progress.fail(backend_error::failed("the backend sent an event that is no JSON"), out);
            return;
        };
        if answer.is_error() {
            progress.fail(backend_error::of_event(self.spec.engine, data), out);
            return;
        }
        let text = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.clone().into_owned());
        if progress.seen.told.model.is_none() {
            progress.seen.told.name(text(&answer.id).as_deref(), text(&answer.model).as_deref());
        }
        if let Some(counts) = answer.usage.and_then(|usage| TokenCounts::read(usage.get())) {
            progress.seen.usage = Some(counts.seen());
            self.counts = Some(counts);
        }
        let Some(choices) = &answer.choices else { return };
        if choices.is_empty() {
            return;
        }
        let writer = self.writer.get_or_insert_with(|| ChunkWriter::new(&answer, &self.spec, &self.ids));
        for choice in answer.choices.unwrap_or_default() {
            let index = choice.index.unwrap_or(0);
            let at = match self.choices.iter().position(|state| state.index == index) {
                Some(at) => at,
                None if index < MAX_CHOICES => {
                    self.choices.push(ChatChoice::new(index));
                    self.choices.len() - 1
                }
                None => {
                    progress.notes.add(Note::OverBound);
                    continue;
                }
            };
            if let Some(state) = self.choices.get_mut(at) {
                let mut part = ChoiceEvent { spec: &self.spec, ids: &self.ids, writer, state, progress, out };
                part.take(choice, now);
            }
            if progress.ended {
                return;
            }
        }
    }

    /// True if every choice has a reason for its end.
    pub(super) fn has_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|state| state.is_finished)
    }

    /// True if all choices that were asked for have ended.
    pub(super) fn is_over(&self) -> bool {
        self.choices.len() as u64 >= self.spec.choices && self.has_finished()
    }

    /// Completes the stream after its last event, adding what the server left out.
    pub(super) fn complete(&mut self, progress: &mut Progress, out: &mut BytesMut) {
        if progress.ended {
            return;
        }
        let Some(writer) = &self.writer else {
            progress.fail(backend_error::failed("the backend ended the answer without having begun it"), out);
            return;
        };
        for state in &mut self.choices {
            let mut part = ChoiceEvent { spec: &self.spec, ids: &self.ids, writer, state, progress, out };
            let reason = ended(part.state.calls.any(), part.spec);
            part.finish(reason);
        }
        match self.counts {
            Some(counts) if self.spec.usage_chunk => writer.put_usage(out, counts),
            Some(_) => {}
            None if self.spec.usage_chunk => progress.notes.add(Note::UsageUnsure),
            None => {}
        }
        put_done(out);
        progress.ended = true;
    }
}

/// Part of one event that concerns one choice.
struct ChoiceEvent<'t> {
    spec: &'t AnswerSpec,
    ids: &'t Ids,
    writer: &'t ChunkWriter,
    state: &'t mut ChatChoice,
    progress: &'t mut Progress,
    out: &'t mut BytesMut,
}

impl ChoiceEvent<'_> {
    fn take(&mut self, choice: Choice<'_>, now: Instant) {
        if self.state.is_finished {
            return;
        }
        let mut message = choice.message.unwrap_or_default();
        self.texts(&message, choice.logprobs, now);
        if let Some(refusal) = message.refusal() {
            self.progress.generated(now);
            self.send(&Delta { refusal: Some(refusal), ..Delta::default() }, true);
        }
        if self.state.filter.is_cut() {
            self.progress.notes.add(Note::StopCut);
            self.progress.seen.has_reason = true;
            self.finish("stop");
            return;
        }
        self.calls(&mut message, now);
        let reason = choice.finish_reason.as_ref().map(|reason| reason.0.as_ref());
        if let Some(reason) = reason {
            self.progress.seen.told.reason(reason);
        }
        match finish(reason, self.state.calls.any(), self.spec, &mut self.progress.notes) {
            Some(FinishReason::Failed) => {
                self.progress.fail(backend_error::failed("the backend gave the answer up"), self.out);
            }
            Some(FinishReason::Reason(reason)) => {
                self.progress.seen.has_reason = true;
                self.finish(reason);
            }
            // OpenAI's first delta has no text beside a call, so with tools the first delta waits for its content.
            None if !self.state.has_role && !self.spec.tools => self.send(&Delta::default(), false),
            None => {}
        }
    }

    /// Takes the text and the thought of an event; a text that shows nothing sends nothing.
    fn texts(&mut self, message: &Message<'_>, raw: Option<&serde_json::value::RawValue>, now: Instant) {
        let (mut content, mut thought) = (message.content(), message.reasoning());
        if !content.is_empty() || !thought.is_empty() {
            self.progress.generated(now);
        }
        if !thought.is_empty() {
            self.state.filter.thought_passed();
            // Once the answer has begun in its own field, the field for thoughts holds thoughts.
            if self.spec.thinking_off && content.is_empty() && (!self.state.filter.in_text() || self.state.moved) {
                self.state.moved = true;
                self.progress.notes.add(Note::ReasoningMoved);
                (content, thought) = (thought, "");
            }
        }
        let pieces = self.state.filter.push(content, &self.spec.stop);
        if self.state.filter.found_thought() {
            self.progress.notes.add(Note::ThinkText);
        }
        self.keep_logprobs(raw, &pieces.shown);
        let thought = if thought.is_empty() { pieces.thought.as_ref() } else { thought };
        if !thought.is_empty() && self.spec.reasoning != ReasoningPolicy::Strip {
            self.send(&Delta { thought: Some(thought), ..Delta::default() }, true);
        }
        self.show(&pieces.shown);
    }

    fn show(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.watch(text);
        let logprobs = std::mem::take(&mut self.state.logprobs);
        self.send(&Delta { content: Some(text), logprobs: &logprobs, ..Delta::default() }, true);
    }

    /// Notes tags in text that is shown. They are not removed, since what was sent cannot be taken back.
    fn watch(&mut self, text: &str) {
        self.state.orphan.push(text);
        if self.state.orphan.found {
            self.progress.notes.add(Note::OrphanThink);
        }
        if self.spec.tools {
            self.state.call_text.push(text);
            if self.state.call_text.found {
                self.progress.notes.add(Note::ToolCallText);
            }
        }
    }

    /// Drops the log probabilities of a thought, and keeps those of text until it is shown.
    fn keep_logprobs(&mut self, raw: Option<&serde_json::value::RawValue>, shown: &str) {
        let entries = raw.map(|raw| logprobs::joined(&logprobs::entries(Some(raw)))).unwrap_or_default();
        let state = &mut *self.state;
        let is_hidden = shown.is_empty() && state.filter.hides();
        if is_hidden || state.logprobs.len() + entries.len() > MAX_LOGPROBS {
            state.logprobs.clear();
            return;
        }
        if !state.logprobs.is_empty() && !entries.is_empty() {
            state.logprobs.push(b',');
        }
        state.logprobs.extend_from_slice(&entries);
    }

    fn calls(&mut self, message: &mut Message<'_>, now: Instant) {
        for call in message.take_calls() {
            self.progress.generated(now);
            let index = self.state.index;
            let parts = self.state.calls.push(&call, (self.spec, self.ids), index, &mut self.progress.notes);
            for part in parts.into_iter().flatten() {
                self.call(&part);
            }
        }
    }

    fn call(&mut self, part: &CallPart) {
        self.state.logprobs.clear();
        self.send(&Delta { call: Some(part), ..Delta::default() }, true);
    }

    fn send(&mut self, delta: &Delta<'_>, shows: bool) {
        self.writer.put(self.out, self.state.index, !self.state.has_role, delta);
        self.state.has_role = true;
        self.progress.shown |= shows;
    }

    /// Sends what was held back, then the reason for the end.
    fn finish(&mut self, reason: &str) {
        if self.state.is_finished {
            return;
        }
        let held = self.state.filter.flush();
        self.show(&held);
        for part in self.state.calls.finish(self.spec.engine, &mut self.progress.notes) {
            self.call(&part);
        }
        if !self.state.has_role {
            self.send(&Delta::default(), false);
        }
        self.state.is_finished = true;
        self.send(&Delta { finish: Some(reason), ..Delta::default() }, false);
    }
}
