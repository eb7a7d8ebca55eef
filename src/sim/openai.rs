//! OpenAI's answers, as its API reference and SDKs have them.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Call, Forced, Said, pieces};
use super::body::Step;
use super::server::Refusal;

const FINGERPRINT: &str = "fp_50cad350e4";
/// Top-level fields of a chat request; any other is refused.
const KNOWN: [&str; 36] = [
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
];

pub(super) fn error(status: u16, kind: &str, message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    Refusal { status, body: json!({"error": {"message": message, "type": kind, "param": param, "code": code}}) }
}

fn invalid(message: &str, param: Option<&str>, code: Option<&str>) -> Refusal {
    error(400, "invalid_request_error", message, param, code)
}

pub(super) fn by_status(status: u16) -> Refusal {
    match status {
        401 => error(
            401,
            "invalid_request_error",
            "Incorrect API key provided. You can find your API key in your account settings.",
            None,
            Some("invalid_api_key"),
        ),
        404 => error(404, "invalid_request_error", "Invalid URL", None, None),
        405 => error(405, "invalid_request_error", "Not allowed to use this method on this URL.", None, None),
        429 => error(429, "requests", "Rate limit reached for requests.", None, Some("rate_limit_exceeded")),
        status @ 400..500 => error(status, "invalid_request_error", "The request was refused.", None, None),
        status => error(status, "server_error", "The server had an error while processing your request.", None, None),
    }
}

pub(super) fn broken_json() -> Refusal {
    invalid("We could not parse the JSON body of your request.", None, None)
}

pub(super) fn refuse(body: &Map<String, Value>, models: &[String]) -> Option<Refusal> {
    let Some(model) = body.get("model").and_then(Value::as_str) else {
        return Some(invalid("you must provide a model parameter", None, None));
    };
    if !models.is_empty() && !models.iter().any(|known| known == model) {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        return Some(error(404, "invalid_request_error", &message, None, Some("model_not_found")));
    }
    if let Some(unknown) = body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Some(invalid(&format!("Unrecognized request argument supplied: {unknown}"), None, None));
    }
    let messages = body.get("messages").and_then(Value::as_array);
    if messages.is_none_or(Vec::is_empty) {
        return Some(invalid(
            "Missing required parameter: 'messages'.",
            Some("messages"),
            Some("missing_required_parameter"),
        ));
    }
    let temperature = body.get("temperature").filter(|value| !value.is_null());
    temperature.filter(|value| !value.as_f64().is_some_and(|t| (0.0..=2.0).contains(&t))).map(|_| {
        invalid("Invalid 'temperature': expected a number from 0 to 2.", Some("temperature"), Some("invalid_type"))
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
        (false, _) => "tool_calls",
    }
}

fn usage(ask: &Ask, said: &[Said]) -> Value {
    let completion: u64 = match ask.calls.is_empty() {
        true => said.iter().map(Said::count).sum(),
        false => ask.calls.iter().map(|call| pieces(&call.arguments).len() as u64 + 4).sum(),
    };
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

pub(super) fn whole(ask: &Ask, said: &[Said], number: u64, created: u64) -> Value {
    let choices: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let mut message = json!({"role": "assistant", "content": one.text(), "refusal": null, "annotations": []});
            if !ask.calls.is_empty() {
                message["content"] = Value::Null;
                message["tool_calls"] = calls(number, &ask.calls);
            }
            json!({"index": index, "message": message, "logprobs": logprobs(ask, &one.tokens),
                "finish_reason": finish(ask, one)})
        })
        .collect();
    json!({"id": chat_id(number), "object": "chat.completion", "created": created, "model": dated(&ask.model),
        "choices": choices, "usage": usage(ask, said), "service_tier": "default",
        "system_fingerprint": FINGERPRINT})
}

/// The events of a streamed answer, in order.
pub(super) fn stream(ask: &Ask, said: &[Said], number: u64, created: u64) -> Vec<Step> {
    let model = dated(&ask.model);
    let chunk = |choices: Value| {
        let mut event = json!({"id": chat_id(number), "object": "chat.completion.chunk", "created": created,
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
        for (at, call) in ask.calls.iter().enumerate() {
            let first = json!({"tool_calls": [{"index": at, "id": tool_id(number, at), "type": "function",
                "function": {"name": call.name, "arguments": ""}}]});
            steps.push(Step::event(&choice(first, Value::Null, Value::Null), true));
            for part in pieces(&call.arguments) {
                let delta = json!({"tool_calls": [{"index": at, "function": {"arguments": part}}]});
                steps.push(Step::event(&choice(delta, Value::Null, Value::Null), true));
            }
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

pub(super) fn models(names: &[String], created: u64) -> Value {
    let fallback = ["gpt-4o".to_owned(), "gpt-4o-mini".to_owned()];
    let names = if names.is_empty() { fallback.as_slice() } else { names };
    let entries: Vec<Value> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model", "created": created, "owned_by": "system"}))
        .collect();
    json!({"object": "list", "data": entries})
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

pub(super) fn response(body: &Map<String, Value>, said: &Said, number: u64, created: u64) -> Value {
    let store = body.get("store").cloned().unwrap_or(json!(true));
    json!({"id": format!("resp_{number:048x}"), "object": "response", "created_at": created, "status": "completed",
        "error": null, "incomplete_details": null, "instructions": body.get("instructions"), "metadata": {},
        "model": body.get("model"), "output": [{"type": "message", "id": format!("msg_{number:048x}"),
        "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": said.text(),
        "annotations": [], "logprobs": []}]}], "parallel_tool_calls": true, "previous_response_id": null,
        "store": store, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": said.count(),
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 9 + said.count()}})
}

/// What `/v1/completions` answers, in both formats near enough for a pinned endpoint.
pub(super) fn completion(ask: &Ask, said: &Said, number: u64, created: u64) -> Value {
    json!({"id": format!("cmpl-{number:029}"), "object": "text_completion", "created": created, "model": ask.model,
        "choices": [{"text": said.text(), "index": 0, "logprobs": null, "finish_reason": said.finish}],
        "usage": {"prompt_tokens": ask.prompt_tokens, "completion_tokens": said.count(),
        "total_tokens": ask.prompt_tokens + said.count()}})
}
