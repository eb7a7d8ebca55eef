//! OpenAI's refusals, in its own words.

use serde_json::{Value, json};

use crate::sim::prompt;
use crate::sim::simulator::{ApiRequest, Refusal};

/// Top-level fields of a chat request; any other is refused.
const KNOWN: [&str; 37] = [
    "messages",
    "model",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];
/// Limit of a call's id, in characters; a longer one is refused.
const MAX_ID: usize = 40;

pub(super) fn error(status: u16, kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

pub(super) fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    error(400, "invalid_request_error", message, param, code)
}

fn unknown(field: &str) -> Refusal {
    invalid(&format!("Unrecognized request argument supplied: {field}"), None, None)
}

fn missing(field: &str) -> Refusal {
    let message = format!("Missing required parameter: '{field}'.");
    invalid(&message, Some(field), Some("missing_required_parameter"))
}

fn model(request: &ApiRequest<'_>) -> Option<Refusal> {
    let Some(model) = request.text("model") else {
        return Some(invalid("you must provide a model parameter", None, None));
    };
    let known = request.config.models.is_empty() || request.config.models.iter().any(|known| known == model);
    (!known).then(|| {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        error(404, "invalid_request_error", &message, None, Some("model_not_found"))
    })
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools");
    if tools.is_some_and(Vec::is_empty) {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array.";
        return Some(invalid(message, Some("tools"), Some("empty_array")));
    }
    for (field, needs) in [("tool_choice", "tools"), ("parallel_tool_calls", "tools"), ("function_call", "functions")] {
        if request.field(field).is_some() && request.field(needs).is_none() {
            let message =
                format!("Invalid value for '{field}': '{field}' is only allowed when '{needs}' are specified.");
            return Some(invalid(&message, Some(field), None));
        }
    }
    None
}

/// Returns the refusal of fields that the model does not support: reasoning models have one limit and no sampling, older
/// ones no effort.
fn by_model(request: &ApiRequest<'_>) -> Option<Refusal> {
    let name = request.text("model").unwrap_or_default();
    let thinks = (name.starts_with("gpt-5") && !name.starts_with("gpt-5-chat"))
        || ["o1", "o3", "o4"].iter().any(|family| name.starts_with(family));
    if !thinks {
        let older = name.starts_with("gpt-4") || name.starts_with("gpt-3");
        return (older && request.field("reasoning_effort").is_some()).then(|| unknown("reasoning_effort"));
    }
    if request.field("max_tokens").is_some() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. \
            Use 'max_completion_tokens' instead.";
        return Some(invalid(message, Some("max_tokens"), Some("unsupported_parameter")));
    }
    if request.number("temperature").is_some_and(|temperature| temperature != 1.0) {
        let message = "Unsupported value: 'temperature' does not support this value with this model. \
            Only the default (1) value is supported.";
        return Some(invalid(message, Some("temperature"), Some("unsupported_value")));
    }
    let fields = ["top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"];
    let field = fields.into_iter().find(|field| request.field(field).is_some_and(|value| value != false))?;
    let message = format!("Unsupported parameter: '{field}' is not supported with this model.");
    Some(invalid(&message, Some(field), Some("unsupported_parameter")))
}

fn format(request: &ApiRequest<'_>) -> Option<Refusal> {
    let format = request.field("response_format")?;
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") if !prompt::says_json(request.body) => {
            let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                'json_object'.";
            Some(invalid(message, Some("messages"), None))
        }
        Some("json_schema") if format.pointer("/json_schema/name").is_none() => {
            Some(missing("response_format.json_schema.name"))
        }
        Some("text" | "json_object" | "json_schema") => None,
        _ => Some(invalid("Invalid value: 'response_format.type'.", Some("response_format.type"), None)),
    }
}

/// Returns the refusal of a call id in the history that is too long.
fn ids(request: &ApiRequest<'_>) -> Option<Refusal> {
    let messages = request.list("messages")?;
    messages.iter().enumerate().find_map(|(at, message)| {
        let calls = message.get("tool_calls").and_then(Value::as_array);
        let long = |id: Option<&Value>| id.and_then(Value::as_str).map(str::len).filter(|length| *length > MAX_ID);
        let (place, length) = calls
            .into_iter()
            .flatten()
            .enumerate()
            .find_map(|(call, value)| Some((format!("tool_calls[{call}].id"), long(value.get("id"))?)))
            .or_else(|| Some(("tool_call_id".to_owned(), long(message.get("tool_call_id"))?)))?;
        let param = format!("messages[{at}].{place}");
        let message = format!(
            "Invalid '{param}': string too long. Expected a string with maximum length {MAX_ID}, but got a string \
             with length {length} instead."
        );
        Some(invalid(&message, Some(&param), Some("string_above_max_length")))
    })
}

/// Returns the refusal of a chat.
pub(super) fn chat(request: &ApiRequest<'_>) -> Option<Refusal> {
    let body = request.body;
    if let Some(refusal) = model(request) {
        return Some(refusal);
    }
    if let Some(field) = body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Some(unknown(field));
    }
    if request.list("messages").is_none_or(Vec::is_empty) {
        return Some(missing("messages"));
    }
    let temperature = request.field("temperature");
    if temperature.is_some_and(|value| !value.as_f64().is_some_and(|t| (0.0..=2.0).contains(&t))) {
        let message = "Invalid 'temperature': expected a number from 0 to 2.";
        return Some(invalid(message, Some("temperature"), Some("invalid_type")));
    }
    tools(request).or_else(|| by_model(request)).or_else(|| format(request)).or_else(|| ids(request))
}

/// Returns the refusal of a request of `/v1/responses`.
pub(super) fn response(request: &ApiRequest<'_>) -> Option<Refusal> {
    let input = request.field("input").is_none().then(|| missing("input"));
    let previous = request.text("previous_response_id").map(|id| {
        let message = format!("Previous response with id '{id}' not found.");
        invalid(&message, Some("previous_response_id"), Some("previous_response_not_found"))
    });
    model(request).or(input).or(previous)
}
