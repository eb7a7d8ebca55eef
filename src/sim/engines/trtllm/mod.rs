//! TensorRT-LLM's answers, as the source of its server has them; only its refusals were recorded.

mod refuse;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::sim::calls::{ToolChoice, pieces};
use crate::sim::config::{Load, SimConfig};
use crate::sim::metrics::{Measurements, MetricsPage};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::quirks::{FormatStyle, ParallelCalls, Quirks, ThinkingSwitch};
use crate::sim::responses::{Dialect, common_settings, plain_tool, plain_usage_details};
use crate::sim::simulator::{self, AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

const QUIRKS: Quirks = Quirks {
    thinking: ThinkingSwitch::KwargInChat,
    format: FormatStyle::BareSchema,
    parallel_calls: ParallelCalls::Always,
    usage_by_default: true,
    metrics_path: Some("/prometheus/metrics"),
    ..Quirks::NONE
};

const RESPONSES: Dialect = Dialect {
    id_digits: 32,
    call_digits: 8,
    thought_has_status: true,
    open_thought: || Value::Null,
    phases: None,
    logprobs: || Value::Null,
    open_logprobs: || Value::Null,
    has_refusals: false,
    shows_space: false,
    names_call: false,
    has_incomplete_event: false,
    usage_details: plain_usage_details,
    settings: |fields, _error| common_settings(fields),
    tool: plain_tool,
};

/// The simulated TensorRT-LLM.
pub(super) struct Trtllm;

impl Simulator for Trtllm {
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

    fn refuse_completion(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        refuse::completion(request)
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        let choice = |(index, one): (usize, &Output)| {
            let content = if params.calls.is_empty() { one.text() } else { String::new() };
            let thought = one.thought().unwrap_or_default();
            let message = json!({"role": "assistant", "content": content, "reasoning_content": thought,
                "reasoning": thought, "tool_calls": calls(params, stamp)});
            json!({"index": index, "message": message, "logprobs": logprobs(params, one),
                "finish_reason": finish(params, one), "stop_reason": one.stop, "mm_embedding_handle": null,
                "disaggregated_params": null, "avg_decoded_tokens_per_iter": 1.0})
        };
        let choices: Vec<Value> = outputs.iter().enumerate().map(choice).collect();
        json!({"id": format!("chatcmpl-{}", stamp.hex(0, 32)), "object": "chat.completion",
            "created": stamp.created, "model": params.model, "choices": choices, "usage": usage(params, params.spent(outputs).0),
            "prompt_token_ids": null, "prompt_token_ids_b64": null})
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        stream(params, outputs, stamp)
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => simulator::unauthorized(),
            404 | 405 => simulator::fastapi_refusal(status),
            status => {
                let kind = if status < 500 { "BadRequestError" } else { "InternalServerError" };
                refuse::flat(status, kind, "The request was refused.")
            }
        }
    }

    fn refuse_body(&self, body: &[u8], _path: &str) -> Refusal {
        refuse::broken(body)
    }

    fn refuse_content_type(&self, _path: &str) -> Option<Refusal> {
        Some(Refusal::text(500, "Internal Server Error"))
    }

    fn late_error(&self) -> Vec<Step> {
        let error = json!({"error": {"object": "error", "message": "Internal server error",
            "type": "InternalServerError", "param": null, "code": 500}});
        vec![Step::event(&error, false)]
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let card = json!({"id": config.served(), "object": "model", "created": stamp.created,
            "owned_by": "tensorrt_llm"});
        json!({"object": "list", "data": [card]})
    }

    fn open_page(&self, path: &str, _config: &SimConfig, load: Load) -> Option<Reply> {
        match path {
            "/health" | "/health_generate" => Some(Reply::Empty),
            "/version" => Some(Reply::Whole(json!({"version": "1.2.1"}), 0)),
            "/metrics" => Some(Reply::Whole(iterations(load), 0)),
            _ => None,
        }
    }

    fn write_metrics(&self, page: &mut MetricsPage, measured: &Measurements<'_>) {
        page.set_labels(format!("engine_type=\"pytorch\",model_name=\"{}\"", measured.model));
        page.gauge("trtllm_num_requests_running", measured.running);
        page.gauge("trtllm_num_requests_waiting", measured.waiting);
        page.gauge("trtllm_kv_cache_utilization", measured.kv_usage);
        page.counter("trtllm_prompt_tokens_total", measured.prompt_tokens);
        page.counter("trtllm_generation_tokens_total", measured.generated_tokens);
        page.histogram("trtllm_time_to_first_token_seconds", 0.25 * measured.answers, measured.answers);
    }

    fn headers(&self, headers: &mut HeaderMap, _summary: AnswerSummary, _stamp: Stamp) {
        simulator::uvicorn_headers(headers);
        headers.remove("vary");
    }
}

fn finish(params: &GenerationParams, output: &Output) -> &'static str {
    match params.calls.is_empty() {
        false if params.tool_choice != ToolChoice::Named => "tool_calls",
        false => "stop",
        true => output.finish,
    }
}

fn usage(params: &GenerationParams, completion: u64) -> Value {
    json!({"prompt_tokens": params.prompt_tokens, "total_tokens": params.prompt_tokens + completion,
        "completion_tokens": completion, "prompt_tokens_details": {"cached_tokens": 0}})
}

/// Returns an id of 46 characters, more than OpenAI accepts in a history.
fn call_id(stamp: Stamp, at: usize) -> String {
    format!("chatcmpl-tool-{}", stamp.hex(at + 1, 32))
}

fn calls(params: &GenerationParams, stamp: Stamp) -> Vec<Value> {
    let each = params.calls.iter().enumerate().map(|(at, call)| {
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

fn logprobs(params: &GenerationParams, output: &Output) -> Value {
    let tokens = output.reasoning.iter().chain(&output.tokens);
    params
        .top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.map(|token| logprob(token, top)).collect::<Vec<_>>()}))
}

/// Returns the events. Fields that are null are absent.
fn stream(params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
    let id = format!("chatcmpl-{}", stamp.number);
    let chunk = |index: usize, delta: Value| {
        json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created, "model": params.model,
            "choices": [{"index": index, "delta": delta}]})
    };
    let mut steps: Vec<Step> =
        (0..outputs.len()).map(|index| Step::event(&chunk(index, json!({"role": "assistant"})), false)).collect();
    for (index, one) in outputs.iter().enumerate() {
        for (delta, logprobs) in deltas(params, one, stamp) {
            let mut event = chunk(index, delta);
            event["choices"][0]["avg_decoded_tokens_per_iter"] = json!(1.0);
            if let Some(logprobs) = logprobs {
                event["choices"][0]["logprobs"] = logprobs;
            }
            steps.push(Step::event(&event, true));
        }
        let mut event = chunk(index, json!({"content": "", "reasoning_content": "", "reasoning": ""}));
        event["choices"][0]["finish_reason"] = json!(finish(params, one));
        if let Some(stop) = &one.stop {
            event["choices"][0]["stop_reason"] = json!(stop);
        }
        steps.push(Step::event(&event, false));
    }
    if params.include_usage {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created,
            "model": params.model, "choices": [], "usage": usage(params, params.spent(outputs).0)});
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

/// Returns deltas with their logprobs.
fn deltas(params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<(Value, Option<Value>)> {
    let entry = |token: &String| params.top_logprobs.map(|top| json!({"content": [logprob(token, top)]}));
    let thought = output
        .reasoning
        .iter()
        .map(|token| (json!({"content": "", "reasoning_content": token, "reasoning": token}), entry(token)));
    if params.calls.is_empty() {
        let text = output
            .tokens
            .iter()
            .map(|token| (json!({"content": token, "reasoning_content": "", "reasoning": ""}), entry(token)));
        return thought.chain(text).collect();
    }
    let mut deltas: Vec<(Value, Option<Value>)> = thought.collect();
    for (at, call) in params.calls.iter().enumerate() {
        let parts = pieces(&call.arguments);
        if params.tool_choice == ToolChoice::Named {
            // The server takes the whole text for the arguments and makes no id.
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

/// Returns the newest iterations, the JSON that is served at `/metrics`.
fn iterations(load: Load) -> Value {
    json!([{"iter": 1, "iterLatencyMS": 8.1, "numActiveRequests": load.running, "numQueuedRequests": load.waiting,
        "gpuMemUsage": 76_665_782_272_u64, "kvCacheStats": {"usedNumBlocks": (load.kv_usage * 1000.0) as u64,
        "maxNumBlocks": 1000}}])
}
