//! The problems that pydantic finds in a chat request to SGLang, before the server's own checks.

use serde_json::{Map, Value, json};

use crate::sim::pydantic::{self, Field, Kind, Problem};

const CHAT: [Field; 15] = [
    ("messages", Kind::List, false),
    ("model", Kind::Text, false),
    ("frequency_penalty", Kind::Float, false),
    ("logprobs", Kind::Bool, false),
    ("top_logprobs", Kind::Int, true),
    ("max_tokens", Kind::Int, true),
    ("max_completion_tokens", Kind::Int, true),
    ("n", Kind::Int, false),
    ("presence_penalty", Kind::Float, false),
    ("seed", Kind::Int, true),
    ("stream", Kind::Bool, false),
    ("temperature", Kind::Float, true),
    ("top_p", Kind::Float, true),
    ("parallel_tool_calls", Kind::Bool, false),
    ("chat_template_kwargs", Kind::Map, true),
];
const EFFORTS: [&str; 8] = ["none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max"];

/// Returns the problems of a chat's body.
pub(super) fn of_chat(body: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !body.contains_key("messages") {
        let mut shown = body.clone();
        if !shown.contains_key("tools") {
            shown.insert("tool_choice".to_owned(), json!("none"));
        }
        problems.push(Problem::missing(&[&"messages"], &Value::Object(shown)));
    }
    problems.extend(pydantic::types(body, &CHAT));
    problems.extend(pydantic::stop(body, true));
    problems.extend(pydantic::tools(body, false));
    problems.extend(messages(body));
    problems.extend(tool_choice(body));
    problems.extend(response_format(body));
    problems.extend(effort(body));
    problems
}

/// Known types of content parts. The real server's message about any other has 39,000 characters; this one is short.
const PARTS: [&str; 6] = ["text", "image_url", "video_url", "audio_url", "input_audio", "thinking"];

const ROLES: [&str; 8] = ["system", "user", "assistant", "tool", "function", "developer", "latest_reminder", "root"];

fn messages(body: &Map<String, Value>) -> Vec<Problem> {
    let list = body.get("messages").and_then(Value::as_array);
    let mut problems = Vec::new();
    for (at, message) in list.into_iter().flatten().enumerate() {
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            problems.push(Problem::missing(&[&"messages", &at, &"role"], message));
            continue;
        };
        let content = message.get("content");
        if !ROLES.contains(&role) {
            problems.push(Problem::literal(&[&"messages", &at, &"role"], "'user'", &json!(role)));
        }
        if role == "user" && content.is_none_or(Value::is_null) {
            let known = "'system', 'assistant', 'tool', 'function', 'developer', 'latest_reminder', 'root'";
            let text = format!("Value error, 'role' must be one of {known} (case-insensitive).");
            problems.push(Problem::new("value_error", &[&"messages", &at, &"role"], text, json!(role)));
            problems.push(Problem::missing(&[&"messages", &at, &"content"], message));
        }
        for part in content.and_then(Value::as_array).into_iter().flatten() {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            let detail = part.pointer("/image_url/detail").and_then(Value::as_str).unwrap_or("auto");
            if !PARTS.contains(&kind) {
                problems.push(Problem::literal(&[&"messages", &at, &"content", &"type"], "'text'", &part["type"]));
            } else if !["auto", "low", "high"].contains(&detail) {
                let known = "'auto', 'low' or 'high'";
                problems.push(Problem::literal(&[&"messages", &at, &"content", &"detail"], known, &json!(detail)));
            }
        }
    }
    problems
}

fn tool_choice(body: &Map<String, Value>) -> Vec<Problem> {
    let words = "literal['auto','required','none']";
    let known = "'auto', 'required' or 'none'";
    match body.get("tool_choice") {
        Some(Value::String(choice)) if !["auto", "required", "none"].contains(&choice.as_str()) => {
            let text = "Input should be a valid dictionary or object to extract fields from";
            let input = json!(choice);
            vec![
                Problem::new("model_attributes_type", &[&"tool_choice", &"ToolChoice"], text, input.clone()),
                Problem::literal(&[&"tool_choice", &words], known, &input),
            ]
        }
        Some(choice @ Value::Object(_)) if choice.get("function").is_none() => vec![
            Problem::missing(&[&"tool_choice", &"ToolChoice", &"function"], choice),
            Problem::literal(&[&"tool_choice", &"ToolChoice", &"type"], "'function'", &choice["type"]),
            Problem::literal(&[&"tool_choice", &words], known, choice),
        ],
        _ => Vec::new(),
    }
}

fn response_format(body: &Map<String, Value>) -> Vec<Problem> {
    let Some(format) = body.get("response_format").filter(|format| format.is_object()) else { return Vec::new() };
    let known = "'text', 'json_object' or 'json_schema'";
    let at = "ResponseFormat";
    let first = match format.get("type").and_then(Value::as_str) {
        Some("text" | "json_object" | "structural_tag") => None,
        Some("json_schema") => {
            let inner = format.get("json_schema").filter(|inner| inner.is_object());
            let strict = inner.and_then(|inner| inner.get("strict"));
            match inner {
                Some(inner) if inner.get("name").is_none() => {
                    Some(Problem::missing(&[&"response_format", &at, &"json_schema", &"name"], inner))
                }
                _ if strict.is_some_and(|strict| !strict.is_boolean() && !strict.is_null()) => {
                    let input = strict.cloned().unwrap_or_default();
                    let place: [&dyn pydantic::Place; 4] = [&"response_format", &at, &"json_schema", &"strict"];
                    Some(Problem::new("bool_type", &place, "Input should be a valid boolean", input))
                }
                _ => None,
            }
        }
        _ => Some(Problem::literal(&[&"response_format", &at, &"type"], known, &format["type"])),
    };
    let Some(first) = first else { return Vec::new() };
    let mut problems = vec![first];
    for (other, field) in
        [("LegacyStructuralTagResponseFormat", "structures"), ("StructuralTagResponseFormat", "format")]
    {
        problems.push(Problem::literal(&[&"response_format", &other, &"type"], "'structural_tag'", &format["type"]));
        problems.push(Problem::missing(&[&"response_format", &other, &field], format));
    }
    problems
}

fn effort(body: &Map<String, Value>) -> Vec<Problem> {
    let Some(effort) = body.get("reasoning_effort").and_then(Value::as_str) else { return Vec::new() };
    if EFFORTS.contains(&effort) {
        return Vec::new();
    }
    let words = "literal['none','minimal','low','medium','high','xhigh','ultra','max']";
    let known = "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'ultra' or 'max'";
    let number = "Input should be a valid number, unable to parse string as a number";
    vec![
        Problem::literal(&[&"reasoning_effort", &words], known, &json!(effort)),
        Problem::new("float_parsing", &[&"reasoning_effort", &"constrained-float"], number, json!(effort)),
    ]
}
