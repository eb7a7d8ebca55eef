//! Requests to a stateless `/v1/responses`: items follow the same rules as messages.

use std::borrow::Cow;

use super::draft::Draft;
use super::error::TranslateError;
use super::ids;
use super::json::{self, array, joined, quoted};
use super::ledger::Action;
use super::parts;
use super::rewrite::Rewrite;
use super::tools::{ToolChoice, choice, without_calls};
use super::wording;
use crate::model::{Family, Pin};

/// Name of `verbosity` in this API.
pub(super) const VERBOSITY: &str = "text.verbosity";

/// Returns the reason for which a tool of this type is pinned: OpenAI runs it, or its arguments are free text.
pub(super) fn tool_pin(kind: &str) -> Option<(Pin, &'static str)> {
    match kind {
        "function" => None,
        "custom" => Some((Pin::Tools, "the backend knows functions only")),
        _ => Some((Pin::Hosted, "only OpenAI runs this tool")),
    }
}

/// True for items that every server takes, and for thoughts, which are left out.
pub(super) fn knows(item: &str) -> bool {
    matches!(item, "" | "message" | "reasoning" | "function_call" | "function_call_output")
}

pub(super) fn knows_choice(kind: &str) -> bool {
    matches!(kind, "function" | "allowed_tools")
}

pub(super) fn all(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    own_id(rewrite);
    input(rewrite)?;
    wording::instructions(rewrite);
    tools(rewrite)?;
    format(rewrite)
}

/// Replaces the application's id of a response by the backend's own.
fn own_id(rewrite: &mut Rewrite<'_>) {
    let Some(id) = rewrite.draft.string("previous_response_id").map(Cow::into_owned) else { return };
    if let Some((owner, own)) = ids::owner_of_response(&id)
        && owner == rewrite.answer_spec.owner
    {
        rewrite.draft.set("previous_response_id", quoted(own));
        rewrite.note("previous_response_id", Action::Rewritten, "the backend's own id");
    }
}

fn input(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let Some(input) = rewrite.draft.borrowed("input").filter(|input| input.starts_with('[')) else { return Ok(()) };
    let Some(items) = json::items(input) else { return Ok(()) };
    let mut kept: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    let mut system: Vec<String> = Vec::new();
    let mut changed = false;
    let mut has_user = false;
    let is_replaced = wording::replaces(rewrite.backend);
    for (at, item) in items.iter().enumerate() {
        if is_replaced && wording::system_role(item).is_some() {
            rewrite.ledger.cover("input");
            changed = true;
            continue;
        }
        let Some(mut draft) = Draft::parse(item) else { return Ok(()) };
        let kind = draft.string("type").unwrap_or(Cow::Borrowed("message")).into_owned();
        match kind.as_str() {
            "message" => {
                let role = draft.string("role").unwrap_or_default().into_owned();
                has_user |= role == "user";
                let text = message(rewrite, &mut draft, at, &role)?;
                // One whose text cannot be told stays where it is.
                if let Some(text) = text.filter(|_| matches!(role.as_str(), "developer" | "system")) {
                    system.push(text);
                    changed = true;
                    continue;
                }
            }
            "reasoning" => {
                rewrite.note("input[].reasoning", Action::Dropped, "thoughts of another model");
                changed = true;
                continue;
            }
            "function_call" => call(rewrite, &mut draft),
            "function_call_output" => {
                call(rewrite, &mut draft);
                output(rewrite, &mut draft, at)?;
            }
            _ => {
                return Err(TranslateError::pinned(
                    Pin::Hosted,
                    format!("input[{at}]"),
                    "only OpenAI knows this kind of item",
                ));
            }
        }
        if draft.is_changed() {
            changed = true;
            rewrite.note("input[]", Action::Rewritten, "only what an item has");
        }
        kept.push(if draft.is_changed() { Cow::Owned(draft.to_json()) } else { Cow::Borrowed(item) });
    }
    let raises = matches!(rewrite.backend.family, Some(Family::Qwen35 | Family::Qwen38));
    if raises && !has_user {
        kept.insert(0, Cow::Borrowed("{\"role\":\"user\",\"content\":\"Continue.\"}"));
        rewrite.note("input", Action::Rewritten, "a user's message, since none was there");
        changed = true;
    }
    if !system.is_empty() {
        let before = rewrite.draft.get("instructions").map(str::to_owned);
        let all: Vec<String> = before.into_iter().chain(system).filter(|text| text != "\"\"").collect();
        rewrite.draft.set("instructions", joined(all.iter().map(String::as_str), "\\n\\n"));
        rewrite.note("input", Action::Rewritten, "system messages to instructions");
    }
    if changed {
        let json = array(&kept);
        rewrite.draft.set("input", json);
    }
    Ok(())
}

/// Rewrites a message; returns its text as JSON if it has only text.
fn message(
    rewrite: &mut Rewrite<'_>,
    draft: &mut Draft<'_>,
    at: usize,
    role: &str,
) -> Result<Option<String>, TranslateError> {
    draft.retain(|name, value| ["type", "role", "content", "id", "status"].contains(&name) && value != "null");
    let Some(content) = draft.get("content").map(str::to_owned) else { return Ok(None) };
    if content.starts_with('"') {
        return Ok(Some(content));
    }
    let Some(items) = json::items(&content) else { return Ok(None) };
    let mut texts = Vec::with_capacity(items.len());
    let in_system = matches!(role, "developer" | "system");
    for (part, item) in items.iter().enumerate() {
        let Some(part_draft) = Draft::parse(item) else { return Ok(None) };
        let kind = part_draft.string("type").unwrap_or_default();
        if let Some((pin, why)) = parts::pin(&kind, in_system, rewrite.backend) {
            return Err(TranslateError::pinned(pin, format!("input[{at}].content[{part}]"), why));
        }
        texts.extend(text_of(&part_draft));
    }
    let text = (texts.len() == items.len()).then(|| joined(texts.iter().map(String::as_str), "\\n"));
    if let Some(text) = text.clone().filter(|_| role != "assistant") {
        draft.set("content", text);
        rewrite.note("input[].content", Action::Rewritten, "parts to one text");
    }
    Ok(text)
}

/// Returns a part's text as JSON.
fn text_of(part: &Draft<'_>) -> Option<String> {
    let text = part.get("text").or_else(|| part.get("refusal"))?;
    text.starts_with('"').then(|| text.to_owned())
}

fn call(rewrite: &mut Rewrite<'_>, draft: &mut Draft<'_>) {
    draft.retain(|name, value| {
        ["type", "id", "call_id", "name", "arguments", "output", "status"].contains(&name) && value != "null"
    });
    if draft.string("arguments").is_some_and(|arguments| arguments.trim().is_empty()) {
        draft.set("arguments", quoted("{}"));
        rewrite.note("input[].arguments", Action::Rewritten, "empty arguments to {}");
    }
}

/// Joins the parts of a call's result to one text.
fn output(rewrite: &mut Rewrite<'_>, draft: &mut Draft<'_>, at: usize) -> Result<(), TranslateError> {
    let parts = draft.get("output").unwrap_or_default().to_owned();
    let Some(items) = json::items(&parts) else { return Ok(()) };
    let mut texts = Vec::with_capacity(items.len());
    for (part, item) in items.iter().enumerate() {
        let Some(item) = Draft::parse(item) else { return Ok(()) };
        if let Some((pin, why)) = parts::pin(&item.string("type").unwrap_or_default(), false, rewrite.backend) {
            return Err(TranslateError::pinned(pin, format!("input[{at}].output[{part}]"), why));
        }
        let Some(text) = text_of(&item) else { return Ok(()) };
        texts.push(text);
    }
    draft.set("output", joined(texts.iter().map(String::as_str), "\\n"));
    rewrite.note("input[].output", Action::Rewritten, "parts to one text");
    Ok(())
}

fn tools(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let chosen = rewrite.draft.get("tool_choice").map(str::to_owned);
    let tools = rewrite.draft.get("tools").map_or_else(|| "[]".to_owned(), str::to_owned);
    let Some(items) = json::items(&tools) else { return Ok(()) };
    if items.is_empty() {
        if chosen.is_some_and(|chosen| !matches!(chosen.as_str(), "\"auto\"" | "\"none\"")) {
            return Err(TranslateError::invalid("tool_choice", "tool_choice is only allowed when tools are specified"));
        }
        for field in ["tools", "tool_choice", "parallel_tool_calls"] {
            rewrite.drop_field(field, "there are no tools");
        }
        return Ok(());
    }
    let choice = chosen.as_deref().map(choice);
    if choice == Some(ToolChoice::None) {
        without_calls(rewrite);
        return Ok(());
    }
    let allowed = choice.and_then(|choice| match choice {
        ToolChoice::Allowed { required, names } => Some((required, names)),
        _ => None,
    });
    let mut rewritten: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some(mut draft) = Draft::parse(item) else { return Ok(()) };
        if let Some((pin, why)) = tool_pin(&draft.string("type").unwrap_or_default()) {
            return Err(TranslateError::pinned(pin, format!("tools[{at}]"), why));
        }
        draft.retain(|name, value| {
            ["type", "name", "description", "parameters", "strict"].contains(&name) && value != "null"
        });
        let name = draft.string("name").unwrap_or_default();
        if allowed.as_ref().is_some_and(|(_, names)| !names.contains(&*name)) {
            continue;
        }
        rewritten.push(if draft.is_changed() { Cow::Owned(draft.to_json()) } else { Cow::Borrowed(item) });
    }
    if let Some((required, _)) = &allowed {
        if rewritten.is_empty() {
            return Err(TranslateError::invalid("tool_choice", "tool_choice allows no function that is in tools"));
        }
        rewrite.draft.set("tool_choice", if *required { "\"required\"" } else { "\"auto\"" });
        rewrite.draft.set("tools", array(&rewritten));
        rewrite.note("tool_choice", Action::Rewritten, "only the allowed tools are offered");
        rewrite.note("tools", Action::Rewritten, "those that tool_choice allows");
    }
    if rewritten.iter().any(|tool| matches!(tool, Cow::Owned(_))) {
        rewrite.draft.set("tools", array(&rewritten));
        rewrite.note("tools[]", Action::Rewritten, "only what a function has");
    }
    rewrite.answer_spec.tools = true;
    rewrite.answer_spec.one_call = rewrite.draft.get("parallel_tool_calls") == Some("false");
    let named = chosen.as_deref().and_then(Draft::parse);
    if allowed.is_some() {
        return Ok(());
    }
    match named.as_ref().map(|choice| choice.string("type").unwrap_or_default().into_owned()).as_deref() {
        None => {}
        Some("function") => rewrite.answer_spec.forced = true,
        Some(_) => {
            return Err(TranslateError::pinned(Pin::Tools, "tool_choice", "the backend does not know this choice"));
        }
    }
    Ok(())
}

/// Rewrites `text`, which holds the format and a verbosity that only OpenAI has.
fn format(rewrite: &mut Rewrite<'_>) -> Result<(), TranslateError> {
    let Some(text) = rewrite.draft.get("text").map(str::to_owned) else { return Ok(()) };
    let Some(mut text) = Draft::parse(&text) else { return Ok(()) };
    if text.remove("verbosity").is_some() {
        rewrite.note(VERBOSITY, Action::Dropped, "the backend has nothing like it");
    }
    let format = text.get("format").and_then(Draft::parse);
    let kind = format.as_ref().and_then(|format| format.string("type").map(Cow::into_owned));
    match kind.as_deref() {
        None | Some("text") => {
            rewrite.drop_field("text", "text is what comes anyway");
            return Ok(());
        }
        Some("json_schema" | "json_object") if !rewrite.backend.engine.facts().formats_responses => {
            return Err(TranslateError::pinned(Pin::Format, "text.format", "the backend follows no schema here"));
        }
        Some(_) => {}
    }
    let schema = format.as_ref().and_then(|format| format.get("schema")).and_then(Draft::parse);
    if schema.is_some_and(|schema| schema.names().next().is_none()) {
        rewrite.drop_field("text", "an empty schema asks for nothing");
        return Ok(());
    }
    if text.is_changed() {
        let json = text.to_json();
        rewrite.draft.set("text", json);
    }
    Ok(())
}
