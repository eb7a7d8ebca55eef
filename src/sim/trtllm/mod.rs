//! TensorRT-LLM's answers, as the source of its server has them; only its refusals were ever recorded.

mod refuse;

use http::HeaderMap;
use serde_json::{Value, json};

use super::ask::{Ask, Forced, Said, pieces};
use super::body::Step;
use super::config::SimConfig;
use super::engine::{self, Asked, Engine, Refusal, Sent, Stamp};

pub(super) struct Trtllm;

impl Engine for Trtllm {
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
            let content = if ask.calls.is_empty() { one.text() } else { String::new() };
            let thought = one.thought().unwrap_or_default();
            let message = json!({"role": "assistant", "content": content, "reasoning_content": thought,
                "reasoning": thought, "tool_calls": calls(ask, stamp)});
            json!({"index": index, "message": message, "logprobs": logprobs(ask, one),
                "finish_reason": finish(ask, one), "stop_reason": one.stop, "mm_embedding_handle": null,
                "disaggregated_params": null, "avg_decoded_tokens_per_iter": 1.0})
        };
        let choices: Vec<Value> = said.iter().enumerate().map(choice).collect();
        json!({"id": format!("chatcmpl-{}", stamp.hex(0, 32)), "object": "chat.completion",
            "created": stamp.created, "model": ask.model, "choices": choices, "usage": usage(ask, ask.spent(said).0),
            "prompt_token_ids": null, "prompt_token_ids_b64": null})
    }

    fn stream(&self, ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
        stream(ask, said, stamp)
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => engine::unauthorized(),
            404 | 405 => engine::detail(status),
            status => {
                let kind = if status < 500 { "BadRequestError" } else { "InternalServerError" };
                refuse::flat(status, kind, "The request was refused.")
            }
        }
    }

    fn broken(&self, body: &[u8], _path: &str) -> Refusal {
        refuse::broken(body)
    }

    fn foreign(&self, _path: &str) -> Option<Refusal> {
        Some(Refusal::text(500, "Internal Server Error"))
    }

    /// It has no event for it: the connection ends.
    fn broken_off(&self) -> Vec<Step> {
        let error = json!({"error": {"object": "error", "message": "Internal server error",
            "type": "InternalServerError", "param": null, "code": 500}});
        vec![Step::event(&error, false)]
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let card = json!({"id": config.served(), "object": "model", "created": stamp.created,
            "owned_by": "tensorrt_llm"});
        json!({"object": "list", "data": [card]})
    }

    fn headers(&self, headers: &mut HeaderMap, _sent: Sent, _stamp: Stamp) {
        engine::uvicorn(headers);
        headers.remove("vary");
    }
}

fn finish(ask: &Ask, said: &Said) -> &'static str {
    match ask.calls.is_empty() {
        false if ask.forced != Forced::Named => "tool_calls",
        false => "stop",
        true => said.finish,
    }
}

fn usage(ask: &Ask, completion: u64) -> Value {
    json!({"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens + completion,
        "completion_tokens": completion, "prompt_tokens_details": {"cached_tokens": 0}})
}

/// 46 characters long, more than OpenAI takes back.
fn call_id(stamp: Stamp, at: usize) -> String {
    format!("chatcmpl-tool-{}", stamp.hex(at + 1, 32))
}

fn calls(ask: &Ask, stamp: Stamp) -> Vec<Value> {
    let each = ask.calls.iter().enumerate().map(|(at, call)| {
        json!({"id": call_id(stamp, at), "type": "function",
            "function": {"name": call.name, "arguments": call.arguments}})
    });
    each.collect()
}

fn logprob(token: &str, top: u64) -> Value {
    let one = |text: &str| json!({"token": text, "logprob": -0.0721_f64, "bytes": text.as_bytes()});
    let mut entry = one(token);
    entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
    entry
}

fn logprobs(ask: &Ask, said: &Said) -> Value {
    let tokens = said.reasoning.iter().chain(&said.tokens);
    ask.top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.map(|token| logprob(token, top)).collect::<Vec<_>>()}))
}

/// Nulls are left out of every event but the one with the usage.
fn stream(ask: &Ask, said: &[Said], stamp: Stamp) -> Vec<Step> {
    let id = format!("chatcmpl-{}", stamp.number);
    let chunk = |index: usize, delta: Value| {
        json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created, "model": ask.model,
            "choices": [{"index": index, "delta": delta}]})
    };
    let mut steps: Vec<Step> =
        (0..said.len()).map(|index| Step::event(&chunk(index, json!({"role": "assistant"})), false)).collect();
    for (index, one) in said.iter().enumerate() {
        for (delta, logprobs) in deltas(ask, one, stamp) {
            let mut event = chunk(index, delta);
            event["choices"][0]["avg_decoded_tokens_per_iter"] = json!(1.0);
            if let Some(logprobs) = logprobs {
                event["choices"][0]["logprobs"] = logprobs;
            }
            steps.push(Step::event(&event, true));
        }
        let mut event = chunk(index, json!({"content": "", "reasoning_content": "", "reasoning": ""}));
        event["choices"][0]["finish_reason"] = json!(finish(ask, one));
        if let Some(stop) = &one.stop {
            event["choices"][0]["stop_reason"] = json!(stop);
        }
        steps.push(Step::event(&event, false));
    }
    if ask.include_usage {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created,
            "model": ask.model, "choices": [], "usage": usage(ask, ask.spent(said).0)});
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

fn deltas(ask: &Ask, said: &Said, stamp: Stamp) -> Vec<(Value, Option<Value>)> {
    let entry = |token: &String| ask.top_logprobs.map(|top| json!({"content": [logprob(token, top)]}));
    let thought = said
        .reasoning
        .iter()
        .map(|token| (json!({"content": "", "reasoning_content": token, "reasoning": token}), entry(token)));
    if ask.calls.is_empty() {
        let text = said
            .tokens
            .iter()
            .map(|token| (json!({"content": token, "reasoning_content": "", "reasoning": ""}), entry(token)));
        return thought.chain(text).collect();
    }
    let mut deltas: Vec<(Value, Option<Value>)> = thought.collect();
    for (at, call) in ask.calls.iter().enumerate() {
        let parts = pieces(&call.arguments);
        if ask.forced == Forced::Named {
            // All that the model says is taken for the arguments, and nobody makes an id.
            deltas.extend(parts.iter().map(|part| {
                let function = json!({"name": call.name, "arguments": part});
                (json!({"tool_calls": [{"index": at, "type": "function", "function": function}]}), None)
            }));
            continue;
        }
        let delta = |call: Value| {
            (json!({"content": "", "reasoning_content": "", "reasoning": "", "tool_calls": [call]}), None)
        };
        deltas.push(delta(json!({"id": call_id(stamp, at), "index": at, "type": "function",
            "function": {"name": call.name, "arguments": ""}})));
        deltas.extend(
            parts.iter().map(|part| delta(json!({"index": at, "type": "function", "function": {"arguments": part}}))),
        );
    }
    deltas
}

/// What stands at `/metrics`: the newest iterations, in JSON.
pub(super) fn iterations(running: u64, waiting: u64, usage: f64) -> Value {
    json!([{"iter": 1, "iterLatencyMS": 8.1, "numActiveRequests": running, "numQueuedRequests": waiting,
        "gpuMemUsage": 76_665_782_272_u64, "kvCacheStats": {"usedNumBlocks": (usage * 1000.0) as u64,
        "maxNumBlocks": 1000}}])
}
