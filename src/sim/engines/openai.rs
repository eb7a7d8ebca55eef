//! OpenAI's answers, as its API reference and SDKs have them.

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use crate::sim::calls::{Call, ToolChoice, pieces};
use crate::sim::config::{SimConfig, Template};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::prompt;
use crate::sim::quirks::Quirks;
use crate::sim::responses::{Dialect, RequestFields, plain_tool};
use crate::sim::simulator::{AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

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
/// Limit of a call's id, in characters; a longer one is refused.
const MAX_ID: usize = 40;

fn error(status: u16, kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    error(400, "invalid_request_error", message, param, code)
}

fn unknown(field: &str) -> Refusal {
    invalid(&format!("Unrecognized request argument supplied: {field}"), None, None)
}

const QUIRKS: Quirks = Quirks {
    template: Template::Qwen25,
    vision: true,
    stops_in_thought: false,
    has_functions: true,
    has_allow: false,
    ..Quirks::NONE
};

const RESPONSES: Dialect = Dialect {
    id_digits: 48,
    call_digits: 48,
    thought_has_status: true,
    open_thought: || Value::Null,
    phases: None,
    logprobs: || json!([]),
    open_logprobs: || json!([]),
    shows_space: false,
    names_call: false,
    has_incomplete_event: true,
    usage_details: |reasoning| {
        (json!({"cached_tokens": 0, "cache_write_tokens": 0}), json!({"reasoning_tokens": reasoning}))
    },
    settings: response_settings,
    tool: plain_tool,
};

fn response_settings(fields: &RequestFields<'_>, error: Value) -> Value {
    let format = fields.0.get("text").and_then(|text| text.get("format")).cloned();
    let format = format.unwrap_or_else(|| json!({"type": "text"}));
    json!({"background": false, "error": error, "max_tool_calls": null, "metadata": {}, "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": fields.or("store", json!(true)), "temperature": fields.or("temperature", json!(1.0)),
        "text": {"format": format, "verbosity": "medium"}, "tool_choice": fields.or("tool_choice", json!("auto")),
        "top_logprobs": 0, "top_p": 1.0})
}

/// The simulated OpenAI.
pub(super) struct OpenAi;

impl Simulator for OpenAi {
    fn quirks(&self) -> &'static Quirks {
        &QUIRKS
    }

    fn refuse(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
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

    fn refuse_response(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        let input = request.field("input").is_none().then(|| missing("input"));
        let previous = request.text("previous_response_id").map(|id| {
            let message = format!("Previous response with id '{id}' not found.");
            invalid(&message, Some("previous_response_id"), Some("previous_response_not_found"))
        });
        model(request).or(input).or(previous)
    }

    fn responses(&self) -> Option<&'static Dialect> {
        Some(&RESPONSES)
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        whole(params, outputs, stamp)
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        stream(params, outputs, stamp)
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

    fn refuse_body(&self, _body: &[u8], _path: &str) -> Refusal {
        invalid("We could not parse the JSON body of your request.", None, None)
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let fallback = ["gpt-4o".to_owned(), "gpt-4o-mini".to_owned()];
        let names = if config.models.is_empty() { fallback.as_slice() } else { &config.models };
        let entry =
            |name: &String| json!({"id": name, "object": "model", "created": stamp.created, "owned_by": "system"});
        json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()})
    }

    fn other_path(&self, _method: &Method, path: &str, body: &Map<String, Value>) -> Option<Reply> {
        let answer = match path {
            "/v1/embeddings" => embeddings(body),
            "/v1/moderations" => moderation(body),
            path if path.starts_with("/v1/files") => json!({"object": "list", "data": [], "has_more": false}),
            _ => return None,
        };
        Some(Reply::Whole(answer, 0))
    }

    fn headers(&self, headers: &mut HeaderMap, _summary: AnswerSummary, stamp: Stamp) {
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

/// Returns the dated name of a model.
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

fn logprobs(params: &GenerationParams, tokens: &[String]) -> Value {
    params.top_logprobs.map_or(
        Value::Null,
        |top| json!({"content": tokens.iter().map(|token| logprob(token, top)).collect::<Vec<_>>(), "refusal": null}),
    )
}

fn finish(params: &GenerationParams, output: &Output) -> &'static str {
    match (params.calls.is_empty(), params.tool_choice) {
        (true, _) => output.finish,
        (false, ToolChoice::Named) => "stop",
        (false, _) if params.legacy => "function_call",
        (false, _) => "tool_calls",
    }
}

fn usage(params: &GenerationParams, outputs: &[Output]) -> Value {
    let (completion, _) = params.spent(outputs);
    json!({"prompt_tokens": params.prompt_tokens, "completion_tokens": completion,
        "total_tokens": params.prompt_tokens + completion,
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

fn whole(params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
    let choices: Vec<Value> = outputs
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let mut message = json!({"role": "assistant", "content": one.text(), "refusal": null, "annotations": []});
            if !params.calls.is_empty() {
                message["content"] = Value::Null;
                match params.calls.first() {
                    Some(call) if params.legacy => {
                        message["function_call"] = json!({"name": call.name, "arguments": call.arguments});
                    }
                    _ => message["tool_calls"] = calls(stamp.number, &params.calls),
                }
            }
            json!({"index": index, "message": message, "logprobs": logprobs(params, &one.tokens),
                "finish_reason": finish(params, one)})
        })
        .collect();
    json!({"id": chat_id(stamp.number), "object": "chat.completion", "created": stamp.created, "model": dated(&params.model),
        "choices": choices, "usage": usage(params, outputs), "service_tier": "default",
        "system_fingerprint": FINGERPRINT})
}

fn stream(params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
    let model = dated(&params.model);
    let chunk = |choices: Value| {
        let mut event = json!({"id": chat_id(stamp.number), "object": "chat.completion.chunk", "created": stamp.created,
            "model": model, "service_tier": "default", "system_fingerprint": FINGERPRINT, "choices": choices,
            "obfuscation": "x"});
        if params.include_usage {
            event["usage"] = Value::Null;
        }
        event
    };
    let mut steps = Vec::new();
    for (index, one) in outputs.iter().enumerate() {
        let choice = |delta: Value, logprobs: Value, finish: Value| {
            chunk(json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]))
        };
        let content = if params.calls.is_empty() { json!("") } else { Value::Null };
        let role = json!({"role": "assistant", "content": content, "refusal": null});
        steps.push(Step::event(&choice(role, Value::Null, Value::Null), false));
        for delta in call_deltas(params, stamp.number) {
            steps.push(Step::event(&choice(delta, Value::Null, Value::Null), true));
        }
        for token in one.tokens.iter().filter(|_| params.calls.is_empty()) {
            let logprobs = logprobs(params, std::slice::from_ref(token));
            steps.push(Step::event(&choice(json!({"content": token}), logprobs, Value::Null), true));
        }
        steps.push(Step::event(&choice(json!({}), Value::Null, json!(finish(params, one))), false));
    }
    if params.include_usage {
        let mut event = chunk(json!([]));
        event["usage"] = usage(params, outputs);
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

fn call_deltas(params: &GenerationParams, number: u64) -> Vec<Value> {
    let mut deltas = Vec::new();
    for (at, call) in params.calls.iter().take(if params.legacy { 1 } else { usize::MAX }).enumerate() {
        let first = json!({"name": call.name, "arguments": ""});
        deltas.push(match params.legacy {
            true => json!({"function_call": first}),
            false => json!({"tool_calls": [{"index": at, "id": tool_id(number, at), "type": "function",
                "function": first}]}),
        });
        deltas.extend(pieces(&call.arguments).into_iter().map(|part| match params.legacy {
            true => json!({"function_call": {"arguments": part}}),
            false => json!({"tool_calls": [{"index": at, "function": {"arguments": part}}]}),
        }));
    }
    deltas
}

fn embeddings(body: &Map<String, Value>) -> Value {
    let count = body.get("input").and_then(Value::as_array).map_or(1, Vec::len);
    let data: Vec<Value> = (0..count)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": [0.5, -0.25, 0.125, index]}))
        .collect();
    json!({"object": "list", "data": data, "model": body.get("model"), "usage": {"prompt_tokens": 8, "total_tokens": 8}})
}

fn moderation(body: &Map<String, Value>) -> Value {
    let model = body.get("model").cloned().unwrap_or_else(|| json!("omni-moderation-latest"));
    json!({"id": "modr-1", "model": model, "results": [{"flagged": false, "categories": {}, "category_scores": {}}]})
}
