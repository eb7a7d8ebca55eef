//! OpenAI's answers, as its API reference and SDKs have them.

use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Call, Forced, Said, pieces};
use super::body::Step;
use super::config::SimConfig;
use super::engine::{Asked, Engine, Refusal, Sent, Stamp};
use super::prompt;

const FINGERPRINT: &str = "fp_50cad350e4";
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
/// OpenAI's ids are never longer, and it takes none that are.
const MAX_ID: usize = 40;

pub(super) fn error(status: u16, kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    error(400, "invalid_request_error", message, param, code)
}

fn unknown(field: &str) -> Refusal {
    invalid(&format!("Unrecognized request argument supplied: {field}"), None, None)
}

pub(super) struct OpenAi;

impl Engine for OpenAi {
    fn refuse(&self, asked: &Asked<'_>) -> Option<Refusal> {
        let body = asked.body;
        if let Some(refusal) = model(asked) {
            return Some(refusal);
        }
        if let Some(field) = body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Some(unknown(field));
        }
        if asked.list("messages").is_none_or(Vec::is_empty) {
            return Some(missing("messages"));
        }
        let temperature = asked.field("temperature");
        if temperature.is_some_and(|value| !value.as_f64().is_some_and(|t| (0.0..=2.0).contains(&t))) {
            let message = "Invalid 'temperature': expected a number from 0 to 2.";
            return Some(invalid(message, Some("temperature"), Some("invalid_type")));
        }
        tools(asked).or_else(|| by_model(asked)).or_else(|| format(asked)).or_else(|| ids(asked))
    }

    fn refuse_response(&self, asked: &Asked<'_>) -> Option<Refusal> {
        let input = asked.field("input").is_none().then(|| missing("input"));
        let previous = asked.text("previous_response_id").map(|id| {
            let message = format!("Previous response with id '{id}' not found.");
            invalid(&message, Some("previous_response_id"), Some("previous_response_not_found"))
        });
        model(asked).or(input).or(previous)
    }

    fn whole(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Value {
        whole(ask, said, stamp)
    }

    fn stream(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
        stream(ask, said, stamp)
    }

    fn by_status(&self, status: u16) -> Refusal {
        let (kind, message, code) = match status {
            401 => {
                let message = "Incorrect API key provided. You can find your API key in your account settings.";
                ("invalid_request_error", message, Some("invalid_api_key"))
            }
            403 => ("invalid_request_error", "You are not allowed to use this.", Some("forbidden")),
            404 => ("invalid_request_error", "Invalid URL", None),
            405 => ("invalid_request_error", "Not allowed to use this method on this URL.", None),
            429 => ("requests", "Rate limit reached for requests.", Some("rate_limit_exceeded")),
            400..500 => ("invalid_request_error", "The request was refused.", None),
            _ => ("server_error", "The server had an error while processing your request.", None),
        };
        error(status, kind, message, None, code)
    }

    fn broken(&self, _body: &[u8], _path: &str) -> Refusal {
        invalid("We could not parse the JSON body of your request.", None, None)
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let fallback = ["gpt-4o".to_owned(), "gpt-4o-mini".to_owned()];
        let names = if config.models.is_empty() { fallback.as_slice() } else { &config.models };
        let entry =
            |name: &String| json!({"id": name, "object": "model", "created": stamp.created, "owned_by": "system"});
        json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()})
    }

    fn headers(&self, headers: &mut HeaderMap, _sent: Sent, stamp: Stamp) {
        headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
        headers.insert("openai-organization", HeaderValue::from_static("org-simulated"));
        headers.insert("openai-processing-ms", HeaderValue::from(stamp.number % 50));
        headers.insert("x-ratelimit-limit-requests", HeaderValue::from_static("10000"));
        headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("9999"));
        if let Ok(id) = HeaderValue::from_str(&format!("req_{:032x}", stamp.number)) {
            headers.insert("x-request-id", id);
        }
    }
}

fn missing(field: &str) -> Refusal {
    let message = format!("Missing required parameter: '{field}'.");
    invalid(&message, Some(field), Some("missing_required_parameter"))
}

fn model(asked: &Asked<'_>) -> Option<Refusal> {
    let Some(model) = asked.text("model") else {
        return Some(invalid("you must provide a model parameter", None, None));
    };
    let known = asked.config.models.is_empty() || asked.config.models.iter().any(|known| known == model);
    (!known).then(|| {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        error(404, "invalid_request_error", &message, None, Some("model_not_found"))
    })
}

fn tools(asked: &Asked<'_>) -> Option<Refusal> {
    let tools = asked.list("tools");
    if tools.is_some_and(Vec::is_empty) {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array.";
        return Some(invalid(message, Some("tools"), Some("empty_array")));
    }
    for (field, needs) in [("tool_choice", "tools"), ("parallel_tool_calls", "tools"), ("function_call", "functions")] {
        if asked.field(field).is_some() && asked.field(needs).is_none() {
            let message =
                format!("Invalid value for '{field}': '{field}' is only allowed when '{needs}' are specified.");
            return Some(invalid(&message, Some(field), None));
        }
    }
    None
}

/// The models that think take one limit and no sampling; the others know no effort.
fn by_model(asked: &Asked<'_>) -> Option<Refusal> {
    let name = asked.text("model").unwrap_or_default();
    let thinks = (name.starts_with("gpt-5") && !name.starts_with("gpt-5-chat"))
        || ["o1", "o3", "o4"].iter().any(|family| name.starts_with(family));
    if !thinks {
        let older = name.starts_with("gpt-4") || name.starts_with("gpt-3");
        return (older && asked.field("reasoning_effort").is_some()).then(|| unknown("reasoning_effort"));
    }
    if asked.field("max_tokens").is_some() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. \
            Use 'max_completion_tokens' instead.";
        return Some(invalid(message, Some("max_tokens"), Some("unsupported_parameter")));
    }
    if asked.number("temperature").is_some_and(|temperature| temperature != 1.0) {
        let message = "Unsupported value: 'temperature' does not support this value with this model. \
            Only the default (1) value is supported.";
        return Some(invalid(message, Some("temperature"), Some("unsupported_value")));
    }
    let fields = ["top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"];
    let field = fields.into_iter().find(|field| asked.field(field).is_some_and(|value| value != false))?;
    let message = format!("Unsupported parameter: '{field}' is not supported with this model.");
    Some(invalid(&message, Some(field), Some("unsupported_parameter")))
}

fn format(asked: &Asked<'_>) -> Option<Refusal> {
    let format = asked.field("response_format")?;
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") if !prompt::says_json(asked.body) => {
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

/// The ids of calls in the history.
fn ids(asked: &Asked<'_>) -> Option<Refusal> {
    let messages = asked.list("messages")?;
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

fn dated(model: &str) -> String {
    match model {
        "gpt-4o" => "gpt-4o-2024-08-06".to_owned(),
        "gpt-4o-mini" => "gpt-4o-mini-2024-07-18".to_owned(),
        other => other.to_owned(),
    }
}

fn tool_id(seed: u64, at: usize) -> String {
    format!("call_{:024x}", u128::from(seed) * 31 + at as u128)
}

fn logprob(token: &str, top: u64) -> Value {
    let one = |text: &str| json!({"token": text, "logprob": -0.05_f64, "bytes": text.as_bytes()});
    let mut entry = one(token);
    entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
    entry
}

fn logprobs(ask: &Ask, tokens: &[String]) -> Value {
    ask.top_logprobs.map_or(
        Value::Null,
        |top| json!({"content": tokens.iter().map(|token| logprob(token, top)).collect::<Vec<_>>(), "refusal": null}),
    )
}

fn finish(ask: &Ask, said: &Said) -> &'static str {
    match (ask.calls.is_empty(), ask.forced) {
        (true, _) => said.finish,
        (false, Forced::Named) => "stop",
        (false, _) if ask.legacy => "function_call",
        (false, _) => "tool_calls",
    }
}

fn usage(ask: &Ask, said: &[Said]) -> Value {
    let (completion, _) = ask.spent(said);
    json!({"prompt_tokens": ask.prompt_tokens, "completion_tokens": completion,
        "total_tokens": ask.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0}})
}

fn calls(seed: u64, calls: &[Call]) -> Value {
    let each = calls.iter().enumerate().map(|(at, call)| {
        json!({"id": tool_id(seed, at), "type": "function",
               "function": {"name": call.name, "arguments": call.arguments}})
    });
    Value::Array(each.collect())
}

fn chat_id(number: u64) -> String {
    format!("chatcmpl-{number:029}")
}

fn whole(ask: &Ask, said: &[Said], stamp: Stamp) -> Value {
    let choices: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let mut message = json!({"role": "assistant", "content": one.text(), "refusal": null, "annotations": []});
            if !ask.calls.is_empty() {
                message["content"] = Value::Null;
                match ask.calls.first() {
                    Some(call) if ask.legacy => {
                        message["function_call"] = json!({"name": call.name, "arguments": call.arguments});
                    }
                    _ => message["tool_calls"] = calls(stamp.number, &ask.calls),
                }
            }
            json!({"index": index, "message": message, "logprobs": logprobs(ask, &one.tokens),
                "finish_reason": finish(ask, one)})
        })
        .collect();
    json!({"id": chat_id(stamp.number), "object": "chat.completion", "created": stamp.created, "model": dated(&ask.model),
        "choices": choices, "usage": usage(ask, said), "service_tier": "default",
        "system_fingerprint": FINGERPRINT})
}

fn stream(ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
    let model = dated(&ask.model);
    let chunk = |choices: Value| {
        let mut event = json!({"id": chat_id(stamp.number), "object": "chat.completion.chunk", "created": stamp.created,
            "model": model, "service_tier": "default", "system_fingerprint": FINGERPRINT, "choices": choices,
            "obfuscation": "x"});
        if ask.include_usage {
            event["usage"] = Value::Null;
        }
        event
    };
    let mut steps = Vec::new();
    for (index, one) in said.iter().enumerate() {
        let choice = |delta: Value, logprobs: Value, finish: Value| {
            chunk(json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]))
        };
        let content = if ask.calls.is_empty() { json!("") } else { Value::Null };
        let role = json!({"role": "assistant", "content": content, "refusal": null});
        steps.push(Step::event(&choice(role, Value::Null, Value::Null), false));
        for delta in call_deltas(ask, stamp.number) {
            steps.push(Step::event(&choice(delta, Value::Null, Value::Null), true));
        }
        for token in one.tokens.iter().filter(|_| ask.calls.is_empty()) {
            let logprobs = logprobs(ask, std::slice::from_ref(token));
            steps.push(Step::event(&choice(json!({"content": token}), logprobs, Value::Null), true));
        }
        steps.push(Step::event(&choice(json!({}), Value::Null, json!(finish(ask, one))), false));
    }
    if ask.include_usage {
        let mut event = chunk(json!([]));
        event["usage"] = usage(ask, said);
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

fn call_deltas(ask: &Ask, number: u64) -> Vec<Value> {
    let mut deltas = Vec::new();
    for (at, call) in ask.calls.iter().take(if ask.legacy { 1 } else { usize::MAX }).enumerate() {
        let first = json!({"name": call.name, "arguments": ""});
        deltas.push(match ask.legacy {
            true => json!({"function_call": first}),
            false => json!({"tool_calls": [{"index": at, "id": tool_id(number, at), "type": "function",
                "function": first}]}),
        });
        deltas.extend(pieces(&call.arguments).into_iter().map(|part| match ask.legacy {
            true => json!({"function_call": {"arguments": part}}),
            false => json!({"tool_calls": [{"index": at, "function": {"arguments": part}}]}),
        }));
    }
    deltas
}

pub(super) fn embeddings(body: &Map<String, Value>) -> Value {
    let count = body.get("input").and_then(Value::as_array).map_or(1, Vec::len);
    let data: Vec<Value> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.5, -0.25, 0.125, index]}))
        .collect();
    json!({"object": "list", "data": data, "model": body.get("model"), "usage": {"prompt_tokens": 8, "total_tokens": 8}})
}

pub(super) fn moderation(body: &Map<String, Value>) -> Value {
    let model = body.get("model").cloned().unwrap_or_else(|| json!("omni-moderation-latest"));
    json!({"id": "modr-1", "model": model, "results": [{"flagged": false, "categories": {}, "category_scores": {}}]})
}
