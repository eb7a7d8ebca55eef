//! Conversations as Qwen's chat templates take them.
//!
//! The templates know three roles and one system message, at the beginning. Some fail if there is no user message.

use std::borrow::Cow;

use super::draft::Draft;
use super::error::TranslateError;
use super::ids;
use super::json::{self, Fields, array, joined, quoted};
use super::ledger::Action;
use super::parts::{self, Content};
use super::rewrite::Rewrite;
use super::wording::{self, Wording};
use crate::config::LateSystem;
use crate::model::{Family, Pin};
use crate::wire::scan;

/// Keys of a message that servers take; other keys are extras of OpenAI or of a server.
const KEYS: [&str; 5] = ["role", "content", "name", "tool_calls", "tool_call_id"];
/// Content of the user message that is added where there is none.
const CONTINUE: &str = "\"Continue.\"";
/// Empty text, as JSON.
const EMPTY: &str = "\"\"";

/// Message being rewritten, and its text as it came.
struct MessageDraft<'a> {
    /// `None` if the message has only a role and a text, like most messages: it needs no rewriting.
    draft: Option<Draft<'a>>,
    raw: &'a str,
    role: Cow<'a, str>,
}

/// Returns the role of a message that has only a role and a text.
fn plain_role(fields: &[(Cow<'_, str>, &str)]) -> Option<&'static str> {
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    if fields.len() != 2 || !value("content")?.starts_with('"') {
        return None;
    }
    match value("role")? {
        "\"user\"" => Some("user"),
        "\"assistant\"" => Some("assistant"),
        "\"system\"" => Some("system"),
        _ => None,
    }
}

impl<'a> MessageDraft<'a> {
    /// Makes a message; `content` is JSON.
    fn new(role: &'static str, content: impl Into<Cow<'a, str>>) -> Self {
        let mut draft = Draft::empty();
        draft.set("role", quoted(role));
        draft.set("content", content);
        Self { draft: Some(draft), raw: "", role: Cow::Borrowed(role) }
    }

    fn read(raw: &'a str, fields: Fields<'a>) -> Option<Self> {
        if let Some(role) = plain_role(&fields) {
            return Some(Self { draft: None, raw, role: Cow::Borrowed(role) });
        }
        let draft = Draft::of(fields);
        let role = draft.string("role")?.into_owned();
        Some(Self { draft: Some(draft), raw, role: Cow::Owned(role) })
    }

    /// Returns the draft, which is made on the first call.
    fn draft(&mut self) -> &mut Draft<'a> {
        let raw = self.raw;
        self.draft.get_or_insert_with(|| Draft::parse(raw).unwrap_or_else(Draft::empty))
    }

    fn is_changed(&self) -> bool {
        self.draft.as_ref().is_some_and(Draft::is_changed)
    }

    fn become_role(&mut self, role: &'static str) {
        self.role = Cow::Borrowed(role);
        self.draft().set("role", quoted(role));
    }

    /// Returns the content as JSON text; empty if it is not text.
    fn text(&mut self) -> String {
        self.draft().get("content").filter(|text| text.starts_with('"')).unwrap_or(EMPTY).to_owned()
    }

    /// True if the content is text or missing, so that merging the text loses nothing.
    fn has_text(&mut self) -> bool {
        self.draft().get("content").is_none_or(|content| content == "null" || content.starts_with('"'))
    }

    fn is_system(&self) -> bool {
        self.role == "system"
    }

    fn json(&self) -> Cow<'_, str> {
        match &self.draft {
            Some(draft) if draft.is_changed() => Cow::Owned(draft.to_json()),
            _ => Cow::Borrowed(self.raw),
        }
    }
}

/// Rewrites `messages`. A value that is not a list of objects is left for the server to refuse.
pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let Some(messages) = rewrite.draft.borrowed("messages") else { return Ok(()) };
    let Some(items) = json::objects(messages) else { return Ok(()) };
    let (mut turns, mut count) = (Vec::with_capacity(8), 0);
    for (at, item) in items.enumerate() {
        let Some(mut turn) = item.and_then(|(raw, fields)| MessageDraft::read(raw, fields)) else { return Ok(()) };
        count += 1;
        if turn.draft.is_some() {
            let before = one(rewrite, &mut turn, at)?;
            turns.extend(before);
        }
        turns.push(turn);
    }
    link_functions(rewrite, &mut turns);
    let trailing = turns.last().is_some_and(|turn| turn.role == "assistant");
    let wording = Wording::of(rewrite.backend).filter(|_| count > 0);
    if wording.as_ref().is_some_and(Wording::replaces) {
        turns.retain(|turn| !turn.is_system());
    }
    let mut reshaped = let_a_user_speak(rewrite, &mut turns, count > 0);
    reshaped |= consolidate(rewrite, &mut turns);
    if let Some(wording) = wording {
        reshaped = true;
        add_wording(rewrite, &wording, &mut turns);
    }
    if trailing && rewrite.backend.engine.facts().continues_assistant {
        rewrite.note(
            "messages",
            Action::Flagged,
            "the last message is the assistant's: this server reads that differently",
        );
    }
    if reshaped || turns.len() != count || turns.iter().any(MessageDraft::is_changed) {
        let all: Vec<Cow<'_, str>> = turns.iter().map(MessageDraft::json).collect();
        let json = array(&all);
        rewrite.draft.set("messages", json);
    }
    Ok(())
}

/// Rewrites one message; returns a message to be inserted before it.
fn one<'a>(
    rewrite: &mut Rewrite<'_>,
    turn: &mut MessageDraft<'a>,
    at: usize,
) -> Result<Option<MessageDraft<'a>>, TranslateError> {
    if turn.role == "developer" {
        turn.become_role("system");
        rewrite.note("messages[].role", Action::Rewritten, "developer to system");
    }
    content(rewrite, turn, at)?;
    if turn.role == "assistant" {
        calls_of_functions(rewrite, turn, at);
    }
    without_extras(rewrite, turn.draft());
    if turn.role == "assistant" {
        return assistant(rewrite, turn, at);
    }
    Ok(None)
}

/// Field that the ledger names when a key is dropped, by the key.
const EXTRAS: [(&str, &str); 7] = [
    ("refusal", "messages[].refusal"),
    ("annotations", "messages[].annotations"),
    ("audio", "messages[].audio"),
    ("reasoning", "messages[].reasoning"),
    ("reasoning_content", "messages[].reasoning_content"),
    ("tool_calls", "messages[].tool_calls"),
    ("function_call", "messages[].function_call"),
];
const OTHER_EXTRA: &str = "messages[].other";

/// Removes keys that the servers do not take, and empty lists of calls.
fn without_extras(rewrite: &mut Rewrite<'_>, draft: &mut Draft<'_>) {
    let ledger = &mut rewrite.ledger;
    draft.retain(|name, value| {
        let empty = (name == "tool_calls" && matches!(value, "null" | "[]")) || (name == "name" && value == "null");
        if KEYS.contains(&name) && !empty {
            return true;
        }
        let shown = EXTRAS.iter().find(|(known, _)| *known == name).map_or(OTHER_EXTRA, |(_, shown)| *shown);
        ledger.note(shown, Action::Dropped, "not of a message there");
        false
    });
}

fn content(rewrite: &mut Rewrite<'_>, turn: &mut MessageDraft<'_>, at: usize) -> Result<(), TranslateError> {
    let Some(text) = turn.draft().get("content").filter(|text| text.starts_with('[')) else { return Ok(()) };
    let text = text.to_owned();
    let field = format!("messages[{at}].content");
    match parts::read(rewrite, &text, &field, turn.is_system())? {
        Content::Text(joined) => {
            turn.draft().set("content", joined);
            rewrite.note("messages[].content", Action::Rewritten, "parts to one text");
        }
        Content::Parts(Some(rewritten)) => {
            turn.draft().set("content", rewritten);
            rewrite.note("messages[].content[]", Action::Rewritten, "only what a part has");
        }
        Content::Parts(None) | Content::Unclear => {}
    }
    Ok(())
}

/// Rewrites the older `function_call` of an assistant message as a tool call.
fn calls_of_functions(rewrite: &mut Rewrite<'_>, turn: &mut MessageDraft<'_>, at: usize) {
    let Some(call) = turn.draft().get("function_call").and_then(Draft::parse) else { return };
    let name = call.get("name").unwrap_or("\"\"").to_owned();
    let arguments = call.get("arguments").unwrap_or("\"{}\"").to_owned();
    let id = ids::call_id(rewrite.answer_spec.owner, 0, 0, at as u64);
    let made = format!(
        "[{{\"id\":{},\"type\":\"function\",\"function\":{{\"name\":{name},\"arguments\":{arguments}}}}}]",
        quoted(&id)
    );
    turn.draft().remove("function_call");
    turn.draft().set("tool_calls", made);
    rewrite.note("messages[].function_call", Action::Renamed, "tool_calls");
}

/// Rewrites tool calls for the engine, and moves text that would make it forget them into a message before.
fn assistant<'a>(
    rewrite: &mut Rewrite<'_>,
    turn: &mut MessageDraft<'a>,
    at: usize,
) -> Result<Option<MessageDraft<'a>>, TranslateError> {
    let listed = turn.draft().get("tool_calls").and_then(json::items);
    if let Some(call) = listed.as_ref().and_then(|calls| calls.iter().position(|call| is_custom(call))) {
        let field = format!("messages[{at}].tool_calls[{call}]");
        return Err(TranslateError::pinned(Pin::Tools, field, "the backend knows functions only"));
    }
    let calls = listed.map(|calls| calls.iter().map(|call| one_call(rewrite, call)).collect::<Vec<Cow<'_, str>>>());
    let rewritten =
        calls.as_ref().and_then(|calls| calls.iter().any(|call| matches!(call, Cow::Owned(_))).then(|| array(calls)));
    let has_calls = calls.is_some_and(|calls| !calls.is_empty());
    if let Some(rewritten) = rewritten {
        turn.draft().set("tool_calls", rewritten);
        rewrite.note("messages[].tool_calls", Action::Rewritten, "only what a call has");
    }
    if !rewrite.backend.engine.facts().text_or_calls {
        return Ok(None);
    }
    if !has_calls {
        if turn.draft().get("content").is_none_or(|content| content == "null") {
            turn.draft().set("content", EMPTY);
            rewrite.note("messages[].content", Action::Rewritten, "empty text");
        }
        return Ok(None);
    }
    // Any text beside the calls makes this server forget them.
    let content = turn.draft().remove("content");
    let Some(text) = content.filter(|text| text != "null" && text != EMPTY) else { return Ok(None) };
    rewrite.note("messages[].content", Action::Rewritten, "a message of its own before the calls");
    Ok(Some(MessageDraft::new("assistant", text)))
}

/// True if this is the call of a custom tool, whose arguments are free text.
pub(super) fn is_custom(call: &str) -> bool {
    Draft::parse(call).is_some_and(|call| call.string("type").as_deref() == Some("custom"))
}

fn one_call<'c>(rewrite: &mut Rewrite<'_>, call: &'c str) -> Cow<'c, str> {
    let Some(mut draft) = Draft::parse(call) else { return Cow::Borrowed(call) };
    draft.retain(|name, _| ["id", "type", "function"].contains(&name));
    draft.set("type", "\"function\"");
    if let Some(function) = draft.get("function").map(str::to_owned)
        && let Some(mut function) = Draft::parse(&function)
    {
        function.retain(|name, _| ["name", "arguments"].contains(&name));
        arguments(rewrite, &mut function);
        if function.is_changed() {
            draft.set("function", function.to_json());
        }
    }
    if draft.is_changed() { Cow::Owned(draft.to_json()) } else { Cow::Borrowed(call) }
}

fn arguments(rewrite: &mut Rewrite<'_>, function: &mut Draft<'_>) {
    let Some(text) = function.string("arguments") else { return };
    let empty = text.trim().is_empty();
    let text = if empty { "{}".to_owned() } else { text.into_owned() };
    if rewrite.backend.engine.facts().arguments_as_object {
        // Sent as text they reach the prompt quoted twice.
        if let Some(object) = scan::object(&text) {
            let object = Draft::of(object.into_iter().map(|(name, value)| (name, value.get()))).to_json();
            function.set("arguments", object);
            rewrite.note("messages[].tool_calls", Action::Rewritten, "arguments as an object");
        }
    } else if empty {
        function.set("arguments", quoted("{}"));
        rewrite.note("messages[].tool_calls", Action::Rewritten, "empty arguments to {}");
    }
}

/// Rewrites the older role `function` as the result of the call before it.
fn link_functions(rewrite: &mut Rewrite<'_>, turns: &mut [MessageDraft<'_>]) {
    let mut last: Option<String> = None;
    for (at, turn) in turns.iter_mut().enumerate() {
        if turn.role == "assistant" {
            let calls = turn.draft.as_ref().and_then(|draft| draft.get("tool_calls")).and_then(json::items);
            let first = calls.and_then(|calls| calls.first().and_then(|call| Draft::parse(call)));
            if let Some(id) = first.and_then(|call| call.string("id").map(Cow::into_owned)) {
                last = Some(id);
            }
        } else if turn.role == "function" {
            turn.become_role("tool");
            let id = last.take().unwrap_or_else(|| ids::call_id(rewrite.answer_spec.owner, 0, 0, at as u64));
            turn.draft().set("tool_call_id", quoted(&id));
            turn.draft().remove("name");
            rewrite.note("messages[].role", Action::Rewritten, "function to tool");
        }
    }
}

/// Adds a user message where there is none, which newer templates refuse.
fn let_a_user_speak(rewrite: &mut Rewrite<'_>, turns: &mut Vec<MessageDraft<'_>>, any_came: bool) -> bool {
    let raises = matches!(rewrite.backend.family, Some(Family::Qwen35 | Family::Qwen38));
    if !raises || !any_came || turns.iter().any(|turn| turn.role == "user") {
        return false;
    }
    let only_system = turns.iter().all(MessageDraft::is_system);
    if let Some(last) = turns.last_mut().filter(|_| only_system) {
        last.become_role("user");
        rewrite.note("messages[].role", Action::Rewritten, "system to user: no user has spoken");
        return true;
    }
    let after = turns.iter().take_while(|turn| turn.is_system()).count();
    turns.insert(after, MessageDraft::new("user", CONTINUE));
    rewrite.note("messages", Action::Rewritten, "a user's message, since none was there");
    true
}

/// Adds the backend's own wording to the first system message, or as one of its own.
fn add_wording<'a>(rewrite: &mut Rewrite<'a>, wording: &Wording, turns: &mut Vec<MessageDraft<'a>>) {
    let has_text = |first: &mut MessageDraft<'_>| first.is_system() && first.has_text();
    if let Some(first) = turns.first_mut()
        && has_text(first)
    {
        let both = wording.joined_with(&first.text());
        first.draft().set("content", both);
    } else {
        turns.insert(0, MessageDraft::new("system", wording.alone().to_owned()));
    }
    wording::note(rewrite, "messages");
}

/// Merges system messages into one at the beginning.
fn consolidate(rewrite: &mut Rewrite<'_>, turns: &mut Vec<MessageDraft<'_>>) -> bool {
    let systems = turns.iter().filter(|turn| turn.is_system()).count();
    let at_the_beginning = turns.iter().take_while(|turn| turn.is_system()).count();
    if systems == 0 || (systems == 1 && at_the_beginning == 1) {
        return false;
    }
    if turns.iter_mut().any(|turn| turn.is_system() && !turn.has_text()) {
        // The server says so better than a message without it would.
        return false;
    }
    if rewrite.backend.translation.late_system == LateSystem::AsUser && at_the_beginning < systems {
        for turn in turns.iter_mut().skip(at_the_beginning).filter(|turn| turn.is_system()) {
            turn.become_role("user");
        }
        rewrite.note("messages[].role", Action::Rewritten, "late system to user");
    }
    let texts: Vec<String> =
        turns.iter_mut().filter(|turn| turn.is_system()).map(MessageDraft::text).filter(|text| text != EMPTY).collect();
    let still = turns.iter().filter(|turn| turn.is_system()).count();
    if still > 1 || (still == 1 && at_the_beginning == 0) {
        turns.retain(|turn| !turn.is_system());
        turns.insert(0, MessageDraft::new("system", joined(texts.iter().map(String::as_str), "\\n\\n")));
        rewrite.note("messages", Action::Rewritten, "system messages merged");
    }
    true
}
