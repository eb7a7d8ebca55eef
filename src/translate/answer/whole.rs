//! Rewriting of unstreamed answers.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::backend_error::{failed, of_event};
use super::calls::shown_id;
use super::event::{put_logprobs, reasoning_fields};
use super::filter::settle;
use super::finish::{FinishReason, ended, finish};
use super::ids::Ids;
use super::json::{put_number, put_text, put_text_or_null};
use super::logprobs::{self, ShownTokens};
use super::notes::{Note, Notes};
use super::read::{Answer, Choice, Message, Text, parse};
use super::repair::{self, TextCall};
use super::usage::TokenCounts;
use super::whole_answer::{Unusable, Whole};
use super::{completions, responses_whole};
use crate::config::ReasoningPolicy;
use crate::translate::answer_spec::{AnswerSpec, Kind};
use crate::wire::answer_facts::{AnswerFacts, AnswerIds};
use crate::wire::observe::{Observer, wrong_with};

/// Rewrites the body of an answer that came with 200 as OpenAI's.
pub fn whole(spec: &AnswerSpec, ids: &Ids, body: &[u8]) -> Result<Whole, Unusable> {
    if spec.engine.facts().speaks_openai {
        return untouched(body);
    }
    match spec.kind {
        Kind::Completions => completions::whole(spec, ids, body),
        Kind::Chat => chat(spec, ids, body),
        Kind::Responses => responses_whole::whole(spec, ids, body),
    }
}

fn untouched(body: &[u8]) -> Result<Whole, Unusable> {
    if let Some(wrong) = wrong_with(body) {
        return Err(Unusable::Garbled(wrong));
    }
    let mut observer = Observer::whole();
    observer.push(&Bytes::copy_from_slice(body), Instant::now());
    observer.finish();
    Ok(Whole { body: body.to_vec(), seen: observer.seen, notes: Notes::default() })
}

fn chat(spec: &AnswerSpec, ids: &Ids, body: &[u8]) -> Result<Whole, Unusable> {
    let answer: Answer<'_> =
        parse(body).map_err(|_| Unusable::Garbled("the body is not a completion in OpenAI's format"))?;
    if answer.is_error() {
        return Err(Unusable::Error(of_event(spec.engine, body)));
    }
    let created = answer.created().unwrap_or(ids.created);
    let choices = answer.choices.unwrap_or_default();
    if choices.is_empty() {
        return Err(Unusable::Garbled("the answer has no choices"));
    }
    let ids_of_answer = answer_ids(answer.id.as_ref(), answer.model.as_ref(), &choices);
    let mut notes = Notes::default();
    let mut out = BytesMut::with_capacity(body.len() + 512);
    out.put_slice(b"{\"id\":");
    put_text(&mut out, &ids.chat(answer.id.as_ref().map(|id| id.0.as_ref())));
    out.put_slice(b",\"object\":\"chat.completion\",\"created\":");
    put_number(&mut out, created.unsigned_abs());
    out.put_slice(b",\"model\":");
    put_text(&mut out, &spec.model);
    out.put_slice(b",\"choices\":[");
    for (place, choice) in choices.into_iter().enumerate() {
        if place > 0 {
            out.put_u8(b',');
        }
        put_choice(&mut out, spec, ids, choice, &mut notes)?;
    }
    out.put_u8(b']');
    let counts = answer.usage.and_then(|usage| TokenCounts::read(usage.get()));
    match counts {
        Some(counts) => {
            out.put_slice(b",\"usage\":");
            counts.put_chat(&mut out);
        }
        None => notes.add(Note::UsageUnsure),
    }
    out.put_slice(b",\"service_tier\":null,\"system_fingerprint\":null}");
    let seen = AnswerFacts {
        usage: counts.map(TokenCounts::seen),
        has_reason: true,
        told: ids_of_answer,
        ..AnswerFacts::default()
    };
    Ok(Whole { body: out.into(), seen, notes })
}

fn answer_ids(id: Option<&Text<'_>>, model: Option<&Text<'_>>, choices: &[Choice<'_>]) -> AnswerIds {
    let mut ids = AnswerIds::default();
    ids.name(id.map(|id| id.0.as_ref()), model.map(|model| model.0.as_ref()));
    for reason in choices.iter().filter_map(|choice| choice.finish_reason.as_ref()) {
        ids.reason(&reason.0);
    }
    ids
}

/// Choice as the application receives it.
struct SettledChoice {
    content: String,
    thought: String,
    calls: Vec<(Option<String>, TextCall)>,
    /// The tokens include a thought.
    hid_thought: bool,
    cut: bool,
}

fn put_choice(
    out: &mut BytesMut,
    spec: &AnswerSpec,
    ids: &Ids,
    choice: Choice<'_>,
    notes: &mut Notes,
) -> Result<(), Unusable> {
    let index = choice.index.unwrap_or(0);
    let Some(message) = choice.message else { return Err(Unusable::Garbled("a choice has no message")) };
    let refusal = message.refusal().map(str::to_owned);
    let reason = choice.finish_reason.as_ref().map(|reason| reason.0.as_ref());
    let settled = settle_message(message, reason, spec, notes);
    let has_calls = !settled.calls.is_empty();
    if spec.engine.facts().loses_arguments && spec.tools && !spec.forced && !has_calls {
        notes.add(Note::UsageUnsure);
    }
    let reason = match finish(reason, has_calls, spec, notes) {
        Some(FinishReason::Failed) => return Err(Unusable::Error(failed("the backend gave the answer up"))),
        Some(FinishReason::Reason(_)) if settled.cut => "stop",
        Some(FinishReason::Reason(reason)) => reason,
        None => ended(has_calls, spec),
    };
    out.put_slice(b"{\"index\":");
    put_number(out, index);
    out.put_slice(b",\"message\":{\"role\":\"assistant\",\"content\":");
    let is_null = settled.content.is_empty() && (has_calls || refusal.is_some());
    put_text_or_null(out, (!is_null).then_some(settled.content.as_str()));
    out.put_slice(b",\"refusal\":");
    put_text_or_null(out, refusal.as_deref());
    out.put_slice(b",\"annotations\":[]");
    if !settled.thought.is_empty() {
        for name in reasoning_fields(spec.reasoning) {
            out.put_u8(b',');
            put_text(out, name);
            out.put_u8(b':');
            put_text(out, &settled.thought);
        }
    }
    put_calls(out, spec, ids, index, &settled.calls);
    out.put_slice(b"},\"logprobs\":");
    let shown = ShownTokens {
        content: &settled.content,
        has_thought: settled.hid_thought,
        keeps_thought: spec.reasoning != ReasoningPolicy::Strip,
    };
    let entries = if is_null { Vec::new() } else { logprobs::shown(logprobs::entries(choice.logprobs), shown) };
    put_logprobs(out, &logprobs::joined(&entries));
    out.put_slice(b",\"finish_reason\":");
    put_text(out, reason);
    out.put_u8(b'}');
    Ok(())
}

fn settle_message(
    mut message: Message<'_>,
    reason: Option<&str>,
    spec: &AnswerSpec,
    notes: &mut Notes,
) -> SettledChoice {
    let mut calls: Vec<(Option<String>, TextCall)> = Vec::new();
    for call in message.take_calls() {
        let Some(function) = &call.function else { continue };
        let arguments =
            Some(function.arguments()).filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "{}".into());
        let written = TextCall { name: function.name().to_owned(), arguments: arguments.into_owned() };
        calls.push((call.id.0.map(std::borrow::Cow::into_owned), written));
    }
    let (content, reasoning) = (message.content(), message.reasoning());
    let ended_well = !matches!(reason, Some("length" | "content_filter"));
    let moved = spec.thinking_off && content.is_empty() && !reasoning.is_empty() && calls.is_empty() && ended_well;
    if moved {
        notes.add(Note::ReasoningMoved);
    }
    let text = settle(if moved { reasoning } else { content }, !reasoning.is_empty(), &spec.stop);
    for (is_so, note) in [(text.orphan, Note::OrphanThink), (text.in_text, Note::ThinkText), (text.cut, Note::StopCut)]
    {
        if is_so {
            notes.add(note);
        }
    }
    let mut content = text.shown;
    if spec.tools && calls.is_empty() && repair::has_calls(&content) {
        notes.add(Note::ToolCallText);
        if let Some((before, written)) = repair::repair(&content) {
            notes.add(Note::ToolCallRepaired);
            content = before;
            calls.extend(written.into_iter().map(|written| (None, written)));
        }
    }
    if calls.len() > 1 && (spec.one_call || spec.functions) {
        notes.add(Note::FirstCallOnly);
        calls.truncate(1);
    }
    let hid_thought = !text.thought.is_empty() || (!reasoning.is_empty() && !moved);
    let thought = if moved || reasoning.is_empty() { text.thought } else { reasoning.to_owned() };
    SettledChoice { content, thought, calls, hid_thought, cut: text.cut }
}

fn put_calls(out: &mut BytesMut, spec: &AnswerSpec, ids: &Ids, choice: u64, calls: &[(Option<String>, TextCall)]) {
    if calls.is_empty() {
        return;
    }
    out.put_slice(if spec.functions { b",\"function_call\":" } else { b",\"tool_calls\":[" });
    for (place, (own, written)) in (0_u64..).zip(calls) {
        if place > 0 {
            out.put_u8(b',');
        }
        if !spec.functions {
            out.put_slice(b"{\"id\":");
            put_text(out, &shown_id(own.as_deref(), spec, ids, choice, place));
            out.put_slice(b",\"type\":\"function\",\"function\":");
        }
        out.put_slice(b"{\"name\":");
        put_text(out, &written.name);
        out.put_slice(b",\"arguments\":");
        put_text(out, &written.arguments);
        out.put_slice(if spec.functions { b"}" } else { b"}}" });
    }
    if !spec.functions {
        out.put_u8(b']');
    }
}
