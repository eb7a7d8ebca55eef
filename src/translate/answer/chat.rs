//! A chat stream, event by event.

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
use super::read::{Answer, Choice, Message, Text};
use super::usage::TokenCounts;
use crate::config::ReasoningPolicy;
use crate::translate::answer_spec::AnswerSpec;

/// OpenAI's own bound on `n`.
const MAX_CHOICES: u64 = 128;

/// Log probabilities of text that is held back are kept up to this many bytes.
const MAX_LOGPROBS: usize = 256 << 10;

pub(super) struct Chat {
    spec: Arc<AnswerSpec>,
    ids: Ids,
    /// Made from the first chunk, so that all have the same id.
    writer: Option<ChunkWriter>,
    choices: Vec<ChatChoice>,
    counts: Option<TokenCounts>,
}

/// What the application was told of one choice.
struct ChatChoice {
    index: u64,
    has_role: bool,
    is_finished: bool,
    /// Its answer comes in the field for thoughts.
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
        let Ok(answer) = serde_json::from_slice::<Answer<'_>>(data) else {
            progress.fail(backend_error::failed("the backend sent an event that is no JSON"), out);
            return;
        };
        if answer.is_error() {
            progress.fail(backend_error::of_event(self.spec.engine, data), out);
            return;
        }
        let said = |text: &Option<Text<'_>>| text.as_ref().map(|text| text.0.clone().into_owned());
        if progress.seen.told.model.is_none() {
            progress.seen.told.name(said(&answer.id).as_deref(), said(&answer.model).as_deref());
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
            let at = match self.choices.iter().position(|told| told.index == index) {
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
            if let Some(told) = self.choices.get_mut(at) {
                let mut turn = ChoiceEvent { spec: &self.spec, ids: &self.ids, writer, told, progress, out };
                turn.take(choice, now);
            }
            if progress.ended {
                return;
            }
        }
    }

    /// Whether every choice said why it ended.
    pub(super) fn has_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|told| told.is_finished)
    }

    /// A choice of which nothing came yet is still to come.
    pub(super) fn is_over(&self) -> bool {
        self.choices.len() as u64 >= self.spec.choices && self.has_finished()
    }

    /// Everything came: what the server left out is added.
    pub(super) fn complete(&mut self, progress: &mut Progress, out: &mut BytesMut) {
        if progress.ended {
            return;
        }
        let Some(writer) = &self.writer else {
            progress.fail(backend_error::failed("the backend ended the answer without having begun it"), out);
            return;
        };
        for told in &mut self.choices {
            let mut turn = ChoiceEvent { spec: &self.spec, ids: &self.ids, writer, told, progress, out };
            let reason = ended(turn.told.calls.any(), turn.spec);
            turn.finish(reason);
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

/// One choice's part of one event.
struct ChoiceEvent<'t> {
    spec: &'t AnswerSpec,
    ids: &'t Ids,
    writer: &'t ChunkWriter,
    told: &'t mut ChatChoice,
    progress: &'t mut Progress,
    out: &'t mut BytesMut,
}

impl ChoiceEvent<'_> {
    fn take(&mut self, choice: Choice<'_>, now: Instant) {
        if self.told.is_finished {
            return;
        }
        let mut message = choice.message.unwrap_or_default();
        self.texts(&message, choice.logprobs, now);
        if let Some(refusal) = message.refusal() {
            self.progress.generated(now);
            self.send(&Delta { refusal: Some(refusal), ..Delta::default() }, true);
        }
        if self.told.filter.is_cut() {
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
        match finish(reason, self.told.calls.any(), self.spec, &mut self.progress.notes) {
            Some(FinishReason::Failed) => {
                self.progress.fail(backend_error::failed("the backend gave the answer up"), self.out);
            }
            Some(FinishReason::Reason(reason)) => {
                self.progress.seen.has_reason = true;
                self.finish(reason);
            }
            // Beside a call OpenAI's first delta has no text, so where one may come the first waits for what it says.
            None if !self.told.has_role && !self.spec.tools => self.send(&Delta::default(), false),
            None => {}
        }
    }

    /// The text and the thought of an event; a text that shows nothing sends nothing.
    fn texts(&mut self, message: &Message<'_>, raw: Option<&serde_json::value::RawValue>, now: Instant) {
        let (mut content, mut thought) = (message.content(), message.reasoning());
        if !content.is_empty() || !thought.is_empty() {
            self.progress.generated(now);
        }
        if !thought.is_empty() {
            self.told.filter.thought_passed();
            // Once the answer has begun where answers belong, what else comes is a thought after all.
            if self.spec.thinking_off && content.is_empty() && (!self.told.filter.in_text() || self.told.moved) {
                self.told.moved = true;
                self.progress.notes.add(Note::ReasoningMoved);
                (content, thought) = (thought, "");
            }
        }
        let pieces = self.told.filter.push(content, &self.spec.stop);
        if self.told.filter.found_thought() {
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
        let logprobs = std::mem::take(&mut self.told.logprobs);
        self.send(&Delta { content: Some(text), logprobs: &logprobs, ..Delta::default() }, true);
    }

    /// Only told, not undone: what was sent cannot be called back.
    fn watch(&mut self, text: &str) {
        self.told.orphan.push(text);
        if self.told.orphan.found {
            self.progress.notes.add(Note::OrphanThink);
        }
        if self.spec.tools {
            self.told.call_text.push(text);
            if self.told.call_text.found {
                self.progress.notes.add(Note::ToolCallText);
            }
        }
    }

    /// Those of a thought go with it, those of text wait until it is shown.
    fn keep_logprobs(&mut self, raw: Option<&serde_json::value::RawValue>, shown: &str) {
        let entries = raw.map(|raw| logprobs::joined(&logprobs::entries(Some(raw)))).unwrap_or_default();
        let told = &mut *self.told;
        let is_hidden = shown.is_empty() && told.filter.hides();
        if is_hidden || told.logprobs.len() + entries.len() > MAX_LOGPROBS {
            told.logprobs.clear();
            return;
        }
        if !told.logprobs.is_empty() && !entries.is_empty() {
            told.logprobs.push(b',');
        }
        told.logprobs.extend_from_slice(&entries);
    }

    fn calls(&mut self, message: &mut Message<'_>, now: Instant) {
        for call in message.take_calls() {
            self.progress.generated(now);
            let index = self.told.index;
            let parts = self.told.calls.push(&call, (self.spec, self.ids), index, &mut self.progress.notes);
            for part in parts.into_iter().flatten() {
                self.call(&part);
            }
        }
    }

    fn call(&mut self, part: &CallPart) {
        self.told.logprobs.clear();
        self.send(&Delta { call: Some(part), ..Delta::default() }, true);
    }

    fn send(&mut self, delta: &Delta<'_>, shows: bool) {
        self.writer.put(self.out, self.told.index, !self.told.has_role, delta);
        self.told.has_role = true;
        self.progress.shown |= shows;
    }

    /// Sends what was held back, then why the choice ended.
    fn finish(&mut self, reason: &str) {
        if self.told.is_finished {
            return;
        }
        let held = self.told.filter.flush();
        self.show(&held);
        for part in self.told.calls.finish(self.spec.engine, &mut self.progress.notes) {
            self.call(&part);
        }
        if !self.told.has_role {
            self.send(&Delta::default(), false);
        }
        self.told.is_finished = true;
        self.send(&Delta { finish: Some(reason), ..Delta::default() }, false);
    }
}
