//! SGLang 0.5's answers: its six error bodies, its nulls, its streams, as the recorded server gave them.

mod refuse;

use http::HeaderMap;
use serde_json::{Value, json};

use super::ask::{Ask, Call, Said, pieces};
use super::body::Step;
use super::config::SimConfig;
use super::engine::{self, Asked, Engine, Refusal, Sent, Stamp};

/// The id of the end token, which stopped what nothing else did.
const END: u64 = 2;

pub(super) struct Sglang;

impl Engine for Sglang {
    fn refuse(&self, asked: &Asked<'_>) -> Option<Refusal> {
        refuse::chat(asked)
    }

    fn refuse_response(&self, asked: &Asked<'_>) -> Option<Refusal> {
        refuse::response(asked)
    }

    fn refuse_completion(&self, asked: &Asked<'_>) -> Option<Refusal> {
        refuse::completion(asked)
    }

    fn whole(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Value {
        let choice = |(index, one): (usize, &Said)| {
            let mut message = json!({"role": "assistant", "content": one.text(), "reasoning_content": one.thought()});
            let called = !ask.calls.is_empty();
            if called {
                message["content"] = json!("");
                message["tool_calls"] = Value::Array(calls(&ask.calls, stamp));
            }
            let finish = if called { "tool_calls" } else { one.finish };
            let matched = if called { Value::Null } else { matched(one) };
            json!({"index": index, "message": message, "logprobs": logprobs(ask, one), "finish_reason": finish,
                "matched_stop": matched})
        };
        let choices: Vec<Value> = said.iter().enumerate().map(choice).collect();
        let (end, _) = ask.spent(said);
        json!({"id": stamp.hex(0, 32), "object": "chat.completion", "created": stamp.created, "model": named(ask),
            "choices": choices, "usage": usage(ask, said), "metadata": metadata(end)})
    }

    fn stream(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
        stream(ask, said, stamp)
    }

    fn completion(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Value {
        let end = said.count();
        json!({"id": stamp.hex(0, 32), "object": "text_completion", "created": stamp.created, "model": named(ask),
            "choices": [{"index": 0, "text": said.text(), "logprobs": null, "finish_reason": said.finish,
            "matched_stop": matched(said)}], "usage": {"prompt_tokens": ask.prompt_tokens,
            "total_tokens": ask.prompt_tokens + end, "completion_tokens": end, "prompt_tokens_details": null,
            "reasoning_tokens": 0, "completion_tokens_details": null}, "metadata": metadata(end)})
    }

    fn completion_stream(&self, ask: &Ask, said: &Said, stamp: Stamp) -> Vec<Step> {
        let event = |choices: Value, usage: Value| {
            json!({"id": stamp.hex(0, 32), "object": "text_completion", "created": stamp.created,
                "model": named(ask), "choices": choices, "usage": usage})
        };
        let last = said.tokens.len().saturating_sub(1);
        let mut steps: Vec<Step> = Vec::new();
        for (at, token) in said.tokens.iter().enumerate() {
            let (finish, matched) = if at == last { (json!(said.finish), matched(said)) } else { Default::default() };
            let choice = json!([{"index": 0, "text": token, "logprobs": null, "finish_reason": finish,
                "matched_stop": matched}]);
            steps.push(Step::event(&event(choice, Value::Null), true));
        }
        if ask.include_usage {
            steps.push(Step::event(&event(json!([]), brief_usage(ask, said.count())), false));
        }
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => engine::unauthorized(),
            404 | 405 => engine::detail(status),
            500 => Refusal::text(500, "Internal Server Error"),
            503 => {
                let message = "The request queue is full.";
                refuse::flat(503, "503", message).told_in_a_stream(event(503, "SERVICE_UNAVAILABLE", message))
            }
            status => refuse::flat(status, &status.to_string(), "The request was refused."),
        }
    }

    fn broken(&self, body: &[u8], path: &str) -> Refusal {
        refuse::broken(body, path)
    }

    fn foreign(&self, path: &str) -> Option<Refusal> {
        Some(refuse::foreign(path))
    }

    fn broken_off(&self) -> Vec<Step> {
        let told =
            event(500, "InternalServerError", "Internal server error\n  File \"/sglang/srt/managers/scheduler.py\"");
        vec![Step::event(&told, false), Step::done()]
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let name = config.served();
        json!({"object": "list", "data": [{"id": name, "object": "model", "created": stamp.created,
            "owned_by": "sglang", "root": name, "parent": null, "max_model_len": config.max_model_len}]})
    }

    fn no_model(&self, name: &str) -> Refusal {
        let message = format!("The model '{name}' does not exist");
        Refusal::json(
            404,
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "model",
                "code": "model_not_found"}}),
        )
    }

    fn headers(&self, headers: &mut HeaderMap, sent: Sent, _stamp: Stamp) {
        engine::uvicorn(headers);
        if sent.status == 401 {
            headers.remove("vary");
        }
    }
}

fn event(code: u16, kind: &str, message: &str) -> Value {
    json!({"error": {"object": "error", "message": message, "type": kind, "param": null, "code": code}})
}

fn named(ask: &Ask) -> &str {
    if ask.model.is_empty() { "default" } else { &ask.model }
}

fn metadata(end: u64) -> Value {
    json!({"weight_version": "default", "weight_versions": [{"version": "default", "start": 0, "end": end}]})
}

fn matched(said: &Said) -> Value {
    match (&said.stop, said.finish) {
        (Some(text), _) => json!(text),
        (None, "stop") => json!(END),
        (None, _) => Value::Null,
    }
}

fn usage(ask: &Ask, said: &[Said]) -> Value {
    let (completion, reasoning) = ask.spent(said);
    let details = (reasoning > 0).then(|| json!({"reasoning_tokens": reasoning}));
    json!({"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens + completion,
        "completion_tokens": completion, "prompt_tokens_details": null, "reasoning_tokens": reasoning,
        "completion_tokens_details": details})
}

fn call_id(stamp: Stamp, at: usize) -> String {
    format!("call_{}", stamp.hex(at + 1, 24))
}

fn calls(calls: &[Call], stamp: Stamp) -> Vec<Value> {
    let each = calls.iter().enumerate().map(|(at, call)| {
        json!({"id": call_id(stamp, at), "index": at, "type": "function",
            "function": {"name": call.name, "arguments": call.arguments}})
    });
    each.collect()
}

fn logprob(token: &str, top: u64) -> Value {
    let one = |text: &str| json!({"token": text, "bytes": text.as_bytes(), "logprob": -0.0025_f64});
    let mut entry = one(token);
    entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
    entry
}

/// The tokens of the thought are among them.
fn logprobs(ask: &Ask, said: &Said) -> Value {
    let tokens = said.reasoning.iter().chain(&said.tokens);
    ask.top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.map(|token| logprob(token, top)).collect::<Vec<_>>()}))
}

fn stream(ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
    let id = stamp.hex(0, 32);
    let chunk = |index: usize, delta: Value, logprobs: Value, finish: Value, matched: Value| {
        json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created, "model": named(ask),
            "choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
            "matched_stop": matched}]})
    };
    let null = Value::Null;
    let mut steps = Vec::new();
    let (mut spent, mut finishes) = (0, Vec::new());
    for (index, one) in said.iter().enumerate() {
        let role = json!({"reasoning_content": null, "role": "assistant", "content": ""});
        steps.push(Step::event(&chunk(index, role, null.clone(), null.clone(), null.clone()), false));
        for (delta, logprobs, with_usage) in deltas(ask, one, stamp) {
            spent += 1;
            let mut event = chunk(index, delta, logprobs, null.clone(), null.clone());
            if with_usage {
                event["usage"] = Value::Null;
            }
            if ask.include_usage && ask.continuous_usage {
                event["usage"] = brief_usage(ask, spent);
                event["usage"]["prompt_tokens_details"] = Value::Null;
                event["usage"]["completion_tokens_details"] = Value::Null;
            }
            steps.push(Step::event(&event, true));
        }
        let (finish, matched) = match ask.calls.is_empty() {
            true => (one.finish, matched(one)),
            false => ("tool_calls", json!(END)),
        };
        finishes.push(chunk(index, json!({"reasoning_content": null}), null.clone(), json!(finish), matched));
    }
    // All choices end before the first one says so.
    steps.extend(finishes.iter().map(|event| Step::event(event, false)));
    if ask.include_usage {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created,
            "model": named(ask), "choices": [], "usage": usage(ask, said)});
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

/// Of an answer that goes on, and of what is no chat.
fn brief_usage(ask: &Ask, spent: u64) -> Value {
    json!({"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens + spent, "completion_tokens": spent,
        "reasoning_tokens": 0})
}

/// Deltas with their logprobs; those of a tool parser say `usage: null`.
fn deltas(ask: &Ask, said: &Said, stamp: Stamp) -> Vec<(Value, Value, bool)> {
    let entry = |token: &String| ask.top_logprobs.map_or(Value::Null, |top| json!({"content": [logprob(token, top)]}));
    let thought = said.reasoning.iter().map(|token| (json!({"reasoning_content": token}), entry(token), false));
    if ask.calls.is_empty() {
        let text =
            said.tokens.iter().map(|token| (json!({"reasoning_content": null, "content": token}), entry(token), false));
        return thought.chain(text).collect();
    }
    let mut deltas: Vec<_> = thought.collect();
    let parsed = |content: Option<&str>, calls: Option<Value>| {
        let mut delta = json!({"role": null, "content": content, "reasoning_content": null});
        if let Some(call) = calls {
            delta["tool_calls"] = json!([call]);
        }
        (delta, Value::Null, true)
    };
    if !deltas.is_empty() {
        deltas.push(parsed(Some("\n\n"), None));
    }
    for (at, call) in ask.calls.iter().enumerate() {
        let delta = |id: Value, name: Value, arguments: &str| json!({"id": id, "index": at, "type": "function", "function": {"name": name, "arguments": arguments}});
        deltas.push(parsed(None, Some(delta(json!(call_id(stamp, at)), json!(call.name), ""))));
        let parts = pieces(&call.arguments);
        deltas.extend(parts.iter().map(|part| parsed(None, Some(delta(Value::Null, Value::Null, part)))));
    }
    deltas
}

/// What SGLang tells of itself beside its metrics page.
pub(super) fn loads(running: u64, waiting: u64, usage: f64, max_len: u64) -> Value {
    json!({"version": "0.5.23", "accelerator": null, "num_accelerators": 1, "loads": [{"dp_rank": 0,
        "num_running_reqs": running, "num_waiting_reqs": waiting, "max_total_num_tokens": max_len,
        "token_usage": usage, "gen_throughput": 0.0, "cache_hit_rate": 0.0, "utilization": usage}]})
}

/// Of an id that nobody kept.
pub(super) fn no_store() -> Refusal {
    refuse::no_store("response_id")
}

pub(super) fn no_embeddings() -> Refusal {
    let message = "This model does not appear to be an embedding model by default. Please add `--is-embedding` when \
        launching the server or try another model.";
    refuse::flat(400, "BadRequestError", message)
}
