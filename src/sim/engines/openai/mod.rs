//! OpenAI's answers, as its API reference and SDKs have them.

mod refuse;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use crate::sim::calls::{Call, ToolChoice, pieces};
use crate::sim::config::{SimConfig, Template};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::quirks::Quirks;
use crate::sim::responses::{Dialect, RequestFields, plain_tool};
use crate::sim::simulator::{AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

const FINGERPRINT: &str = "fp_50cad350e4";
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
    has_refusals: true,
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
        refuse::chat(request)
    }

    fn refuse_response(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        refuse::response(request)
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
        refuse::error(status, kind, message, None, code)
    }

    fn refuse_body(&self, _body: &[u8], _path: &str) -> Refusal {
        refuse::invalid("We could not parse the JSON body of your request.", None, None)
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
            let (content, refusal) = if one.is_refusal { (None, Some(one.text())) } else { (Some(one.text()), None) };
            let mut message = json!({"role": "assistant", "content": content, "refusal": refusal, "annotations": []});
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
        let content = if params.calls.is_empty() && !one.is_refusal { json!("") } else { Value::Null };
        let role = json!({"role": "assistant", "content": content, "refusal": null});
        steps.push(Step::event(&choice(role, Value::Null, Value::Null), false));
        for delta in call_deltas(params, stamp.number) {
            steps.push(Step::event(&choice(delta, Value::Null, Value::Null), true));
        }
        for token in one.tokens.iter().filter(|_| params.calls.is_empty()) {
            let logprobs = logprobs(params, std::slice::from_ref(token));
            let delta = if one.is_refusal { json!({"refusal": token}) } else { json!({"content": token}) };
            steps.push(Step::event(&choice(delta, logprobs, Value::Null), true));
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
