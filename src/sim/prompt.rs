//! The conversation as the chat template sees it: its turns, the errors it raises, and whether the model thinks.

use serde_json::{Map, Value};

use super::config::Template;
use super::quirks::ThinkingSwitch;

/// One turn of a chat or of a response's input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) role: &'a str,
    pub(super) content: Option<&'a Value>,
}

/// Returns the turns of a request: its messages, or its instructions and input.
pub(super) fn turns(body: &Map<String, Value>) -> Vec<Turn<'_>> {
    let instructions = body.get("instructions").filter(|text| text.is_string());
    let mut turns: Vec<Turn<'_>> =
        instructions.map(|content| Turn { role: "system", content: Some(content) }).into_iter().collect();
    match body.get("messages").or_else(|| body.get("input")) {
        Some(text @ Value::String(_)) => turns.push(Turn { role: "user", content: Some(text) }),
        Some(Value::Array(items)) => turns.extend(items.iter().map(|item| {
            let kind = item.get("type").and_then(Value::as_str);
            let role = match kind {
                Some("function_call_output") => "tool",
                Some("function_call" | "reasoning") => "assistant",
                _ => item.get("role").and_then(Value::as_str).unwrap_or_default(),
            };
            Turn { role, content: item.get("content").or_else(|| item.get("output")) }
        })),
        _ => {}
    }
    turns
}

impl Turn<'_> {
    pub(super) fn text(&self) -> String {
        match self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        }
    }

    /// True if a part of the content has one of these types.
    pub(super) fn has(&self, kinds: &[&str]) -> bool {
        let parts = self.content.and_then(Value::as_array);
        let kind = |part: &Value| part.get("type").and_then(Value::as_str).is_some_and(|kind| kinds.contains(&kind));
        parts.into_iter().flatten().any(kind)
    }
}

/// Bytes of a token of English.
const TOKEN_BYTES: usize = 4;
/// Tokens of the delimiters and the role of a message.
const MESSAGE_TOKENS: usize = 6;
/// Tokens that a template writes before the answer.
const PROMPT_TOKENS: usize = 8;
/// Tokens with which a template introduces the tools.
const TOOLS_TOKENS: usize = 150;

/// Returns the tokens of the prompt that the template writes: texts, calls, and the tools whatever the choice.
pub(super) fn tokens(body: &Map<String, Value>) -> u64 {
    let list = |name: &str| body.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    let calls = list("messages").into_iter().flatten().filter_map(|message| message.get("tool_calls"));
    let mut bytes: usize = calls.map(|calls| calls.to_string().len()).sum();
    bytes += body.get("prompt").map_or(0, |prompt| prompt.to_string().len());
    let turns = turns(body);
    bytes += turns.iter().map(|turn| turn.text().len()).sum::<usize>();
    let tools = list("tools").map_or(0, |tools| {
        let bytes: usize = tools.iter().map(|tool| tool.to_string().len()).sum();
        TOOLS_TOKENS + bytes / TOKEN_BYTES
    });
    (bytes.div_ceil(TOKEN_BYTES) + MESSAGE_TOKENS * turns.len() + PROMPT_TOKENS + tools) as u64
}

/// Types of content parts that hold an image.
pub(super) const IMAGES: [&str; 2] = ["image_url", "input_image"];

/// Returns the text that the model answers: the last turn of the user, or the prompt.
pub(super) fn last_user_text(body: &Map<String, Value>) -> String {
    turns(body)
        .iter()
        .rev()
        .find(|turn| turn.role == "user")
        .map_or_else(|| body.get("prompt").map(Value::to_string).unwrap_or_default(), Turn::text)
}

/// Returns the text of all system and developer turns.
pub(super) fn system_text(body: &Map<String, Value>) -> String {
    let turns = turns(body);
    let system = turns.iter().filter(|turn| ["system", "developer"].contains(&turn.role));
    system.map(Turn::text).collect::<Vec<_>>().join("\n")
}

/// True if some turn has the word "json", which OpenAI and DashScope demand for a JSON answer.
pub(super) fn says_json(body: &Map<String, Value>) -> bool {
    turns(body).iter().any(|turn| turn.text().to_lowercase().contains("json"))
}

/// Returns the error that the template raises, in its own words.
pub(super) fn raised(body: &Map<String, Value>, template: Template) -> Option<&'static str> {
    let is_strict = matches!(template, Template::Qwen35 | Template::Qwen38);
    if is_strict && turns(body).iter().any(|turn| turn.role == "developer") {
        return Some("Unexpected message role.");
    }
    raised_after_merge(body, template)
}

/// As [`raised`], behind a server that merges all system turns into one if some turn is a developer's.
pub(super) fn raised_after_merge(body: &Map<String, Value>, template: Template) -> Option<&'static str> {
    if !matches!(template, Template::Qwen35 | Template::Qwen38) {
        return None;
    }
    let turns = turns(body);
    let is_merged = turns.iter().any(|turn| turn.role == "developer");
    let system = |turn: &Turn<'_>| ["system", "developer"].contains(&turn.role);
    if turns.iter().any(|turn| system(turn) && turn.has(&IMAGES)) {
        return Some("System message cannot contain images.");
    }
    if turns.iter().skip(1).any(system) && !is_merged {
        return Some("System message must be at the beginning.");
    }
    if !turns.iter().any(|turn| turn.role == "user") {
        return Some("No user query found in messages.");
    }
    let effort = kwarg(body, "reasoning_effort").or_else(|| body.get("reasoning_effort")).and_then(Value::as_str);
    let known = effort.is_none_or(|effort| ["none", "low", "medium", "xhigh"].contains(&effort));
    (template == Template::Qwen38 && !known).then_some("Unsupported reasoning effort.")
}

fn kwarg<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get("chat_template_kwargs")?.get(name)
}

/// True if the model thinks before it answers.
pub(super) fn thinks(body: &Map<String, Value>, template: Template, switch: ThinkingSwitch) -> bool {
    match template {
        Template::Qwen25 => {
            return switch == ThinkingSwitch::InPrompt && last_user_text(body).starts_with("Think.");
        }
        Template::Thinking => return true,
        Template::Qwen3 | Template::Qwen35 | Template::Qwen38 => {}
    }
    let wanted = kwarg(body, "enable_thinking").and_then(Value::as_bool);
    let effort = body
        .get("reasoning_effort")
        .or_else(|| body.get("reasoning")?.get("effort"))
        .and_then(Value::as_str)
        .map(|effort| effort != "none");
    let chat = body.contains_key("messages");
    if body.contains_key("prompt") && !chat {
        return false;
    }
    match switch {
        ThinkingSwitch::None => false,
        ThinkingSwitch::KwargInChat if chat => wanted.unwrap_or(true),
        ThinkingSwitch::KwargOrEffort | ThinkingSwitch::KwargInChat => wanted.or(effort).unwrap_or(true),
        ThinkingSwitch::InPrompt => !last_user_text(body).contains("/no_think"),
        ThinkingSwitch::Field => body.get("enable_thinking").and_then(Value::as_bool).unwrap_or(true),
    }
}

/// True if the `arguments` of every call in the history are JSON.
pub(super) fn arguments_are_json(body: &Map<String, Value>) -> bool {
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten();
    let mut calls = messages.filter_map(|message| message.get("tool_calls")?.as_array()).flatten();
    calls.all(|call| match call.pointer("/function/arguments") {
        Some(Value::String(text)) => serde_json::from_str::<Value>(text).is_ok(),
        _ => true,
    })
}
