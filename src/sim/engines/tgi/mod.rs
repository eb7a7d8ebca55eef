//! The answers of Text Generation Inference 3.3, as its recorded router gave them: an empty id, the stop string in the
//! text, streamed calls without an end.

mod grammar;
mod refuse;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::sim::calls::pieces;
use crate::sim::config::{Load, SimConfig, Template};
use crate::sim::metrics::{Measurements, MetricsPage};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::quirks::{EmptyStop, FormatStyle, ParallelCalls, Quirks, ThinkingSwitch};
use crate::sim::simulator::{AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

const FINGERPRINT: &str = "3.3.6-dev0-native";
/// Name that answers have when the request names no model.
const SERVED: &str = "Qwen/Qwen3-235B-A22B";
/// Tokens of the hidden run that decides against a tool.
const HIDDEN_RUN: u64 = 17;
/// Tokens of the object around a call, beyond those of other servers.
const WRAPPING: u64 = 8;

const QUIRKS: Quirks = Quirks {
    template: Template::Qwen25,
    thinking: ThinkingSwitch::InPrompt,
    format: FormatStyle::Grammar,
    parallel_calls: ParallelCalls::Never,
    empty_stop: EmptyStop::AfterFirstToken,
    keeps_stop: true,
    thinks_in_content: true,
    has_hidden_run: true,
    limit_step: Some(1024),
    one_choice: true,
    ignores_trailing: true,
    guards_generation_only: true,
    serves_each_model: false,
    metrics_path: Some("/metrics"),
    ..Quirks::NONE
};

/// The simulated TGI.
pub(super) struct Tgi;

impl Simulator for Tgi {
    fn quirks(&self) -> &'static Quirks {
        &QUIRKS
    }

    fn refuse(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        refuse::chat(request)
    }

    fn refuse_completion(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        refuse::completion(request)
    }

    fn refuse_answer(&self, params: &GenerationParams) -> Option<Refusal> {
        let cut = params.limit.is_some_and(|limit| limit < params.call_tokens() + WRAPPING);
        (!params.calls.is_empty() && cut && !params.stream).then(|| {
            let message = "Tool error: Failed to parse generated text: EOF while parsing a string at line 1 column 20";
            refuse::plain(422, message, "tool_error")
        })
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        let Some(one) = outputs.first() else { return Value::Null };
        let (message, finish) = match params.calls.first() {
            Some(call) => {
                let function = json!({"description": null, "name": call.name, "arguments": call.arguments});
                let call = json!({"id": "0", "type": "function", "function": function});
                (json!({"role": "assistant", "tool_calls": [call]}), "stop")
            }
            None => (json!({"role": "assistant", "content": one.text()}), one.finish),
        };
        let spent =
            if params.has_hidden_run { HIDDEN_RUN } else { params.spent(outputs.get(..1).unwrap_or_default()).0 };
        let finish = if params.has_hidden_run { "stop" } else { finish };
        json!({"object": "chat.completion", "id": "", "created": stamp.created, "model": named(params),
            "system_fingerprint": FINGERPRINT, "choices": [{"index": 0, "message": message,
            "logprobs": logprobs(params, &one.tokens), "finish_reason": finish}], "usage": usage(params, spent)})
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        let choice = |delta: Value, logprobs: Value, finish: Value| {
            event(params, stamp, json!([{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]))
        };
        let mut steps =
            if params.calls.is_empty() { text(params, outputs, choice) } else { call(params, stamp, choice) };
        if params.include_usage {
            let mut event = event(params, stamp, json!([]));
            event["usage"] = usage(params, params.spent(outputs.get(..1).unwrap_or_default()).0);
            steps.push(Step::event(&event, false));
        }
        steps.push(Step::done());
        steps
    }

    fn completion(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Value {
        json!({"object": "text_completion", "id": "", "created": stamp.created, "model": SERVED,
            "system_fingerprint": FINGERPRINT, "choices": [{"index": 0, "text": output.text(), "logprobs": null,
            "finish_reason": output.finish}], "usage": usage(params, output.count())})
    }

    fn completion_stream(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<Step> {
        let event = |text: &str, finish: &str| {
            json!({"object": "text_completion", "id": "", "created": stamp.created, "choices": [{"index": 0,
                "text": text, "logprobs": null, "finish_reason": finish}], "model": SERVED,
                "system_fingerprint": FINGERPRINT})
        };
        let ended = output.finish == "stop";
        let last = output.tokens.len().saturating_sub(usize::from(!ended));
        let mut steps: Vec<Step> =
            output.tokens.iter().take(last).map(|token| Step::event(&event(token, ""), true)).collect();
        let token = output.tokens.last().map_or("", String::as_str);
        let (text, finish) = if ended { ("<|im_end|>", "eos_token") } else { (token, output.finish) };
        let mut event = event(text, finish);
        event["usage"] = usage(params, output.count());
        steps.push(Step::event(&event, true));
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 | 404 | 405 => Refusal::empty(status),
            429 => refuse::streamable(429, "Model is overloaded", "overloaded"),
            424 => refuse::streamable(424, DIED, "generation"),
            500 => refuse::streamable(500, "Incomplete generation", "incomplete_generation"),
            503 => refuse::plain(503, "unhealthy", "healthcheck"),
            status => refuse::streamable(status, "Input validation error: refused", "validation"),
        }
    }

    fn refuse_body(&self, body: &[u8], _path: &str) -> Refusal {
        match serde_json::from_slice::<Value>(body) {
            Ok(_) => refuse::wrong_type("invalid type: sequence, expected struct ChatRequest", body.len()),
            Err(error) => Refusal::text(400, format!("Failed to parse the request body as JSON: {error}")),
        }
    }

    fn refuse_content_type(&self, _path: &str) -> Option<Refusal> {
        Some(Refusal::text(415, "Expected request with `Content-Type: application/json`"))
    }

    fn late_error(&self) -> Vec<Step> {
        vec![Step::event(&refuse::event(DIED), false), Step::done()]
    }

    fn models(&self, config: &SimConfig, _stamp: Stamp) -> Value {
        let name = config.served();
        json!({"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": name}]})
    }

    fn open_page(&self, path: &str, config: &SimConfig, _load: Load) -> Option<Reply> {
        match path {
            "/health" | "/ping" | "/" => Some(Reply::Empty),
            "/info" => Some(Reply::Whole(info(config), 0)),
            _ => None,
        }
    }

    /// TGI counts each chat twice, and does not report its KV cache.
    fn write_metrics(&self, page: &mut MetricsPage, measured: &Measurements<'_>) {
        page.gauge("tgi_queue_size", measured.waiting);
        page.gauge("tgi_batch_current_size", measured.running);
        page.counter("tgi_request_count", 2.0 * measured.answers);
        page.histogram("tgi_request_generated_tokens", measured.generated_tokens, measured.answers);
    }

    fn headers(&self, headers: &mut HeaderMap, summary: AnswerSummary, stamp: Stamp) {
        let vary = "origin, access-control-request-method, access-control-request-headers";
        headers.insert("vary", HeaderValue::from_static(vary));
        headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        if summary.status != 200 || summary.tokens == 0 {
            return;
        }
        headers.insert("x-compute-type", HeaderValue::from_static("gpu+optimized"));
        headers.insert("x-compute-characters", HeaderValue::from_static("80"));
        if summary.is_stream {
            headers.insert("cache-control", HeaderValue::from_static("no-cache"));
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            return;
        }
        headers.insert("x-compute-time", HeaderValue::from_static("0.10403361"));
        headers.insert("x-generated-tokens", HeaderValue::from(summary.tokens));
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

/// Message of a shard that failed.
const DIED: &str = "Request failed during generation: Server error: CUDA out of memory. Tried to allocate 20.00 MiB.";

/// Returns the model's name in the answer: the requested one, unless it is empty or `tgi`.
fn named(params: &GenerationParams) -> &str {
    match params.model.as_str() {
        "" | "tgi" => SERVED,
        other => other,
    }
}

fn usage(params: &GenerationParams, completion: u64) -> Value {
    json!({"prompt_tokens": params.prompt_tokens, "completion_tokens": completion,
        "total_tokens": params.prompt_tokens + completion})
}

/// Returns the logprobs, which have no `bytes`.
fn logprobs(params: &GenerationParams, tokens: &[String]) -> Value {
    let one = |token: &str| json!({"token": token, "logprob": -0.25_f64});
    let entry = |token: &String, top: u64| {
        let mut entry = one(token);
        entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
        entry
    };
    params
        .top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.iter().map(|token| entry(token, top)).collect::<Vec<_>>()}))
}

/// Returns one event of a chat.
fn event(params: &GenerationParams, stamp: Stamp, choices: Value) -> Value {
    json!({"object": "chat.completion.chunk", "id": "", "created": stamp.created, "model": named(params),
        "system_fingerprint": FINGERPRINT, "choices": choices, "usage": null})
}

/// Returns the events of a text. The end token has its own event without text; an answer that was cut has the finish
/// reason at its last token.
fn text(params: &GenerationParams, outputs: &[Output], choice: impl Fn(Value, Value, Value) -> Value) -> Vec<Step> {
    let Some(one) = outputs.first() else { return Vec::new() };
    let ended = one.finish == "stop";
    let mut steps = Vec::new();
    for (at, token) in one.tokens.iter().enumerate() {
        let last = !ended && at + 1 == one.tokens.len();
        let finish = if last { json!(one.finish) } else { Value::Null };
        let logprobs = logprobs(params, std::slice::from_ref(token));
        steps.push(Step::event(&choice(json!({"role": "assistant", "content": token}), logprobs, finish), true));
    }
    if ended {
        let logprobs = logprobs(params, &["<|im_end|>".to_owned()]);
        let event = choice(json!({"role": "assistant", "content": ""}), logprobs, json!("stop"));
        steps.push(Step::event(&event, true));
    }
    steps
}

/// Returns the id of a call: one more than the last id of the history, or a UUID if that is not a number.
fn call_id(params: &GenerationParams, stamp: Stamp) -> String {
    match params.last_call_id.as_deref().map(str::parse::<u64>) {
        None => "0".to_owned(),
        Some(Ok(number)) => (number + 1).to_string(),
        Some(Err(_)) => stamp.uuid(),
    }
}

/// Returns the events of a call, which have no finish reason unless the limit cut it.
fn call(params: &GenerationParams, stamp: Stamp, choice: impl Fn(Value, Value, Value) -> Value) -> Vec<Step> {
    let Some(call) = params.calls.first() else { return Vec::new() };
    let id = call_id(params, stamp);
    let delta = |name: Value, arguments: &str| {
        json!({"role": "assistant", "tool_calls": [{"index": 0, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]})
    };
    let mut parts = pieces(&call.arguments);
    let limit = params.limit.filter(|limit| *limit < params.call_tokens() + WRAPPING);
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

/// Returns the page at `/info`.
fn info(config: &SimConfig) -> Value {
    json!({"model_id": config.served(), "model_sha": null, "model_pipeline_tag": null,
        "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 4,
        "max_input_tokens": config.longest_prompt(), "max_total_tokens": config.max_model_len,
        "validation_workers": 2, "max_client_batch_size": 4, "router": "text-generation-router",
        "version": "3.3.6-dev0", "sha": "db931fcf42da018a3657580c64bf2720f167f9ab", "docker_label": null})
}
