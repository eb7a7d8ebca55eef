//! The answers of Text Generation Inference 3.3, as its recorded router gave them: an empty id, the stop string left in
//! the text, streamed calls without an end.

mod grammar;
mod refuse;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::ask::{Ask, Said, pieces};
use super::body::Step;
use super::config::SimConfig;
use super::engine::{Asked, Engine, Refusal, Sent, Stamp};

const FINGERPRINT: &str = "3.3.6-dev0-native";
const SERVED: &str = "Qwen/Qwen3-235B-A22B";
/// What the hidden run that wants no tool costs.
const HIDDEN_RUN: u64 = 17;
/// Tokens of the object around a call, more than other servers have there.
const WRAPPING: u64 = 8;

pub(super) struct Tgi;

impl Engine for Tgi {
    fn refuse(&self, asked: &Asked<'_>) -> Option<Refusal> {
        refuse::chat(asked)
    }

    fn refuse_response(&self, _asked: &Asked<'_>) -> Option<Refusal> {
        Some(Refusal::silent(404))
    }

    fn refuse_completion(&self, asked: &Asked<'_>) -> Option<Refusal> {
        refuse::completion(asked)
    }

    fn refuse_answer(&self, ask: &Ask) -> Option<Refusal> {
        let cut = ask.limit.is_some_and(|limit| limit < ask.call_tokens() + WRAPPING);
        (!ask.calls.is_empty() && cut && !ask.stream).then(|| {
            let message = "Tool error: Failed to parse generated text: EOF while parsing a string at line 1 column 20";
            refuse::plain(422, message, "tool_error")
        })
    }

    fn whole(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Value {
        let Some(one) = said.first() else { return Value::Null };
        let (message, finish) = match ask.calls.first() {
            Some(call) => {
                let function = json!({"description": null, "name": call.name, "arguments": call.arguments});
                let call = json!({"id": "0", "type": "function", "function": function});
                (json!({"role": "assistant", "tool_calls": [call]}), "stop")
            }
            None => (json!({"role": "assistant", "content": one.text()}), one.finish),
        };
        let spent = if ask.asked_twice { HIDDEN_RUN } else { ask.spent(said.get(..1).unwrap_or_default()).0 };
        let finish = if ask.asked_twice { "stop" } else { finish };
        json!({"object": "chat.completion", "id": "", "created": stamp.created, "model": named(ask),
            "system_fingerprint": FINGERPRINT, "choices": [{"index": 0, "message": message,
            "logprobs": logprobs(ask, &one.tokens), "finish_reason": finish}], "usage": usage(ask, spent)})
    }

    fn stream(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
        let choice = |delta: Value, logprobs: Value, finish: Value| {
            event(ask, stamp, json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]))
        };
        let mut steps = if ask.calls.is_empty() { text(ask, said, choice) } else { call(ask, stamp, choice) };
        if ask.include_usage {
            let mut event = event(ask, stamp, json!([]));
            event["usage"] = usage(ask, ask.spent(said.get(..1).unwrap_or_default()).0);
            steps.push(Step::event(&event, false));
        }
        steps.push(Step::done());
        steps
    }

    fn completion(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Value {
        json!({"object": "text_completion", "id": "", "created": stamp.created, "model": SERVED,
            "system_fingerprint": FINGERPRINT, "choices": [{"index": 0, "text": said.text(), "logprobs": null,
            "finish_reason": said.finish}], "usage": usage(ask, said.count())})
    }

    fn completion_stream(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Vec<Step> {
        let event = |text: &str, finish: &str| {
            json!({"object": "text_completion", "id": "", "created": stamp.created, "choices": [{"index": 0,
                "text": text, "logprobs": null, "finish_reason": finish}], "model": SERVED,
                "system_fingerprint": FINGERPRINT})
        };
        let ended = said.finish == "stop";
        let last = said.tokens.len().saturating_sub(usize::from(!ended));
        let mut steps: Vec<Step> =
            said.tokens.iter().take(last).map(|token| Step::event(&event(token, ""), true)).collect();
        let token = said.tokens.last().map_or("", String::as_str);
        let (text, finish) = if ended { ("<|im_end|>", "eos_token") } else { (token, said.finish) };
        let mut event = event(text, finish);
        event["usage"] = usage(ask, said.count());
        steps.push(Step::event(&event, true));
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 | 404 | 405 => Refusal::silent(status),
            429 => refuse::told(429, "Model is overloaded", "overloaded"),
            424 => refuse::told(424, DIED, "generation"),
            500 => refuse::told(500, "Incomplete generation", "incomplete_generation"),
            503 => refuse::plain(503, "unhealthy", "healthcheck"),
            status => refuse::told(status, "Input validation error: refused", "validation"),
        }
    }

    fn broken(&self, body: &[u8], _path: &str) -> Refusal {
        match serde_json::from_slice::<Value>(body) {
            Ok(_) => refuse::wrong_type("invalid type: sequence, expected struct ChatRequest", body.len()),
            Err(error) => Refusal::text(400, format!("Failed to parse the request body as JSON: {error}")),
        }
    }

    fn foreign(&self, _path: &str) -> Option<Refusal> {
        Some(Refusal::text(415, "Expected request with `Content-Type: application/json`"))
    }

    fn broken_off(&self) -> Vec<Step> {
        vec![Step::event(&refuse::event(DIED), false), Step::done()]
    }

    fn models(&self, config: &SimConfig, _stamp: Stamp) -> Value {
        let name = config.served();
        json!({"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": name}]})
    }

    fn headers(&self, headers: &mut HeaderMap, sent: Sent, stamp: Stamp) {
        let vary = "origin, access-control-request-method, access-control-request-headers";
        headers.insert("vary", HeaderValue::from_static(vary));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        if sent.status != 200 || sent.tokens == 0 {
            return;
        }
        headers.insert("x-compute-type", HeaderValue::from_static("gpu+optimized"));
        headers.insert("x-compute-characters", HeaderValue::from_static("80"));
        if sent.streamed {
            headers.insert("cache-control", HeaderValue::from_static("no-cache"));
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            return;
        }
        headers.insert("x-compute-time", HeaderValue::from_static("0.10403361"));
        headers.insert("x-generated-tokens", HeaderValue::from(sent.tokens));
        for (name, millis) in [
            ("x-total-time", 104),
            ("x-validation-time", 0),
            ("x-queue-time", stamp.number % 3),
            ("x-inference-time", 103),
            ("x-time-per-token", 7),
            ("x-prompt-tokens", 26),
        ] {
            headers.insert(name, HeaderValue::from(millis));
        }
    }

    fn event_type(&self) -> &'static str {
        "text/event-stream"
    }
}

const DIED: &str = "Request failed during generation: Server error: CUDA out of memory. Tried to allocate 20.00 MiB.";

/// What was asked for comes back, unless it was nothing.
fn named(ask: &Ask) -> &str {
    match ask.model.as_str() {
        "" | "tgi" => SERVED,
        other => other,
    }
}

fn usage(ask: &Ask, completion: u64) -> Value {
    json!({"prompt_tokens": ask.prompt_tokens, "completion_tokens": completion,
        "total_tokens": ask.prompt_tokens + completion})
}

/// Without bytes.
fn logprobs(ask: &Ask, tokens: &[String]) -> Value {
    let one = |token: &str| json!({"token": token, "logprob": -0.25_f64});
    let entry = |token: &String, top: u64| {
        let mut entry = one(token);
        entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
        entry
    };
    ask.top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.iter().map(|token| entry(token, top)).collect::<Vec<_>>()}))
}

fn event(ask: &Ask, stamp: Stamp, choices: Value) -> Value {
    json!({"object": "chat.completion.chunk", "id": "", "created": stamp.created, "model": named(ask),
        "system_fingerprint": FINGERPRINT, "choices": choices, "usage": null})
}

/// The end token has an event of its own, with no text; an answer that was cut says so with its last token.
fn text(ask: &Ask, said: &[Said], choice: impl Fn(Value, Value, Value) -> Value) -> Vec<Step> {
    let Some(one) = said.first() else { return Vec::new() };
    let ended = one.finish == "stop";
    let mut steps = Vec::new();
    for (at, token) in one.tokens.iter().enumerate() {
        let last = !ended && at + 1 == one.tokens.len();
        let finish = if last { json!(one.finish) } else { Value::Null };
        let logprobs = logprobs(ask, std::slice::from_ref(token));
        steps.push(Step::event(&choice(json!({"role": "assistant", "content": token}), logprobs, finish), true));
    }
    if ended {
        let logprobs = logprobs(ask, &["<|im_end|>".to_owned()]);
        let event = choice(json!({"role": "assistant", "content": ""}), logprobs, json!("stop"));
        steps.push(Step::event(&event, true));
    }
    steps
}

/// Ids count on from the last one of the history; after a foreign one they are UUIDs.
fn call_id(ask: &Ask, stamp: Stamp) -> String {
    match ask.last_call_id.as_deref().map(str::parse::<u64>) {
        None => "0".to_owned(),
        Some(Ok(number)) => (number + 1).to_string(),
        Some(Err(_)) => stamp.uuid(),
    }
}

fn call(ask: &Ask, stamp: Stamp, choice: impl Fn(Value, Value, Value) -> Value) -> Vec<Step> {
    let Some(call) = ask.calls.first() else { return Vec::new() };
    let id = call_id(ask, stamp);
    let delta = |name: Value, arguments: &str| {
        json!({"role": "assistant", "tool_calls": [{"index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
    };
    let mut parts = pieces(&call.arguments);
    let limit = ask.limit.filter(|limit| *limit < ask.call_tokens() + WRAPPING);
    match limit.and_then(|limit| usize::try_from(limit.saturating_sub(WRAPPING + 4)).ok()) {
        Some(shown) => parts.truncate(shown.max(2)),
        None => parts.push(String::new()),
    }
    let last = parts.len().saturating_sub(1);
    let each = parts.iter().enumerate().map(|(at, part)| {
        let name = if at == 0 { json!(call.name) } else { Value::Null };
        let finish = if limit.is_some() && at == last { json!("length") } else { Value::Null };
        Step::event(&choice(delta(name, part), Value::Null, finish), true)
    });
    each.collect()
}

pub(super) fn info(config: &SimConfig) -> Value {
    json!({"model_id": config.served(), "model_sha": null, "model_pipeline_tag": null,
        "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 4,
        "max_input_tokens": config.max_model_len.saturating_sub(1), "max_total_tokens": config.max_model_len,
        "validation_workers": 2, "max_client_batch_size": 4, "router": "text-generation-router",
        "version": "3.3.6-dev0", "sha": "db931fcf42da018a3657580c64bf2720f167f9ab", "docker_label": null})
}
