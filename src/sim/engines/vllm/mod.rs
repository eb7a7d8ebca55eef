//! vLLM 0.32's answers: every field, null and envelope as the recorded server gave them.

mod refuse;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::sim::calls::{Call, ToolChoice, pieces};
use crate::sim::config::{Load, SimConfig};
use crate::sim::metrics::{Measurements, MetricsPage};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::quirks::{Quirks, ThinkingSwitch};
use crate::sim::responses::{Dialect, RequestFields, common_settings, plain_tool};
use crate::sim::simulator::{self, AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

const FINGERPRINT: &str = "vllm-0.32.0-61aecc63";
fn id(number: u64) -> String {
    format!("{number:016x}")
}

const QUIRKS: Quirks = Quirks {
    thinking: ThinkingSwitch::KwargInChat,
    writes_unwanted_calls: true,
    metrics_path: Some("/metrics"),
    ..Quirks::NONE
};

const RESPONSES: Dialect = Dialect {
    id_digits: 16,
    call_digits: 16,
    thought_has_status: false,
    open_thought: || Value::Null,
    phases: Some([None, None]),
    logprobs: || Value::Null,
    open_logprobs: || json!([]),
    has_refusals: false,
    shows_space: false,
    names_call: false,
    has_incomplete_event: false,
    usage_details: |reasoning| {
        let input = json!({"cached_tokens": 0, "cache_write_tokens": 0, "input_tokens_per_turn": [],
            "cached_tokens_per_turn": []});
        let output = json!({"reasoning_tokens": reasoning, "tool_output_tokens": 0, "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": []});
        (input, output)
    },
    settings: response_settings,
    tool: plain_tool,
};

fn response_settings(fields: &RequestFields<'_>, _error: Value) -> Value {
    let mut settings = common_settings(fields);
    for penalty in ["presence_penalty", "frequency_penalty"] {
        settings[penalty] = json!(0.0);
    }
    for empty in ["kv_transfer_params", "ec_transfer_params", "input_messages", "output_messages"] {
        settings[empty] = Value::Null;
    }
    settings
}

/// The simulated vLLM.
pub(super) struct Vllm;

impl Simulator for Vllm {
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
        refuse::model(request)
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        whole(params, outputs, stamp.number, stamp.created)
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        stream(params, outputs, stamp.number, stamp.created)
    }

    fn completion(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Value {
        let completion = output.count();
        json!({"id": format!("cmpl-{}", id(stamp.number)), "object": "text_completion", "created": stamp.created,
            "model": params.model, "choices": [{"index": 0, "text": output.text(), "logprobs": null,
            "finish_reason": output.finish, "stop_reason": output.stop, "token_ids": null, "prompt_logprobs": null,
            "prompt_token_ids": null, "routed_experts": null}], "service_tier": null,
            "system_fingerprint": FINGERPRINT, "usage": {"prompt_tokens": params.prompt_tokens,
            "total_tokens": params.prompt_tokens + completion, "completion_tokens": completion,
            "prompt_tokens_details": null, "completion_tokens_details": null}, "kv_transfer_params": null,
            "ec_transfer_params": null, "metrics": null})
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => simulator::unauthorized(),
            404 | 405 => simulator::fastapi_refusal(status),
            status => refuse::error(status, "InternalServerError", "Internal server error", None),
        }
    }

    fn refuse_body(&self, body: &[u8], _path: &str) -> Refusal {
        let place = format!("body.{}", body.len());
        let problem = format!(
            "{{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {{'error': 'Expecting value'}}}}"
        );
        refuse::invalid(&[problem], &place)
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        models(&config.models, config.max_model_len, stamp.number, stamp.created)
    }

    fn open_page(&self, path: &str, _config: &SimConfig, _load: Load) -> Option<Reply> {
        match path {
            "/health" | "/ping" => Some(Reply::Empty),
            "/version" => Some(Reply::Whole(json!({"version": "0.32.0"}), 0)),
            _ => None,
        }
    }

    fn write_metrics(&self, page: &mut MetricsPage, measured: &Measurements<'_>) {
        page.set_labels(format!("engine=\"0\",model_name=\"{}\"", measured.model));
        page.gauge("vllm:num_requests_running", measured.running);
        page.gauge("vllm:num_requests_waiting", measured.waiting);
        page.gauge("vllm:kv_cache_usage_perc", measured.kv_usage);
        page.counter("vllm:num_preemptions_total", 0.0);
        page.counter("vllm:prefix_cache_queries_total", measured.prompt_tokens);
        page.counter("vllm:prefix_cache_hits_total", measured.cached_tokens);
        page.counter("vllm:prompt_tokens_total", measured.prompt_tokens);
        page.counter("vllm:generation_tokens_total", measured.generated_tokens);
        page.histogram("vllm:time_to_first_token_seconds", 0.25 * measured.answers, measured.answers);
        page.histogram("vllm:e2e_request_latency_seconds", 0.25 * measured.answers, measured.answers);
    }

    fn headers(&self, headers: &mut HeaderMap, _summary: AnswerSummary, stamp: Stamp) {
        simulator::uvicorn_headers(headers);
        if let Ok(id) = HeaderValue::from_str(&format!("{:032x}", stamp.number)) {
            headers.insert("x-request-id", id);
        }
    }
}

fn tool_id(seed: u64, at: usize) -> String {
    format!("chatcmpl-tool-{:016x}", seed.wrapping_add(at as u64 + 1))
}

fn logprob(token: &str, top: u64) -> Value {
    let one = |text: &str| json!({"token": text, "logprob": -0.0721_f64, "bytes": text.as_bytes()});
    let mut entry = one(token);
    let others: Vec<Value> = (0..top).map(|place| if place == 0 { one(token) } else { one("Hello") }).collect();
    entry["top_logprobs"] = Value::Array(others);
    entry
}

fn logprobs(params: &GenerationParams, tokens: &[String]) -> Value {
    params.top_logprobs.map_or(
        Value::Null,
        |top| json!({"content": tokens.iter().map(|token| logprob(token, top)).collect::<Vec<_>>()}),
    )
}

fn finish(params: &GenerationParams, output: &Output) -> &'static str {
    match (params.calls.is_empty(), params.tool_choice) {
        (true, _) => output.finish,
        (false, ToolChoice::Named) => "stop",
        (false, _) => "tool_calls",
    }
}

fn calls(seed: u64, calls: &[Call]) -> Value {
    let each = calls.iter().enumerate().map(|(at, call)| {
        json!({"id": tool_id(seed, at), "type": "function",
               "function": {"name": call.name, "arguments": call.arguments}})
    });
    Value::Array(each.collect())
}

fn usage(params: &GenerationParams, completion: u64, reasoning: u64, whole: bool) -> Value {
    let mut usage = json!({"prompt_tokens": params.prompt_tokens, "total_tokens": params.prompt_tokens + completion,
        "completion_tokens": completion, "completion_tokens_details": {"reasoning_tokens": reasoning}});
    if whole {
        usage["prompt_tokens_details"] = Value::Null;
    }
    usage
}

fn whole(params: &GenerationParams, outputs: &[Output], number: u64, created: u64) -> Value {
    let choices: Vec<Value> = outputs
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let content = (!one.tokens.is_empty() || one.reasoning.is_empty()).then(|| one.text());
            let mut message = json!({"role": "assistant", "content": content, "refusal": null, "annotations": null,
                "audio": null, "function_call": null, "reasoning": one.thought()});
            if !params.calls.is_empty() {
                message["content"] = if params.tool_choice == ToolChoice::Auto { Value::Null } else { json!("") };
                message["tool_calls"] = calls(number, &params.calls);
            }
            json!({"index": index, "message": message, "logprobs": logprobs(params, &one.generated),
                "finish_reason": finish(params, one), "stop_reason": one.stop, "token_ids": null, "routed_experts": null})
        })
        .collect();
    let (completion, reasoning) = params.spent(outputs);
    json!({"id": format!("chatcmpl-{}", id(number)), "object": "chat.completion", "created": created,
        "model": params.model, "choices": choices, "service_tier": null, "system_fingerprint": FINGERPRINT,
        "usage": usage(params, completion, reasoning, true), "prompt_logprobs": null, "prompt_token_ids": null,
        "prompt_text": null, "kv_transfer_params": null, "ec_transfer_params": null, "metrics": null})
}

fn stream(params: &GenerationParams, outputs: &[Output], number: u64, created: u64) -> Vec<Step> {
    let chunk = |choices: Value| {
        json!({"id": format!("chatcmpl-{}", id(number)), "object": "chat.completion.chunk", "created": created,
            "model": params.model, "choices": choices})
    };
    let mut steps = Vec::new();
    let mut spent_so_far = 0;
    let mut push = |mut event: Value, tokens: u64, steps: &mut Vec<Step>| {
        spent_so_far += tokens;
        if params.continuous_usage {
            event["usage"] = usage(params, spent_so_far, 0, false);
        }
        steps.push(Step::event(&event, tokens > 0));
    };
    for index in 0..outputs.len() {
        let delta = json!({"role": "assistant", "content": ""});
        let mut event = chunk(json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]));
        event["prompt_token_ids"] = Value::Null;
        event["prompt_text"] = Value::Null;
        push(event, 0, &mut steps);
    }
    for (index, one) in outputs.iter().enumerate() {
        let mut deltas = deltas(params, one, number);
        // An answer cut at its limit has the finish reason at its last token; otherwise the end token has its own event.
        let cut = finish(params, one) == "length";
        let (last, logprobs) = deltas.pop_if(|_| cut).unwrap_or_else(|| (json!({}), Value::Null));
        for (delta, logprobs) in deltas {
            let choice = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null,
                "token_ids": null}]);
            push(chunk(choice), 1, &mut steps);
        }
        let mut event = chunk(json!([{"index": index, "delta": last, "logprobs": logprobs,
            "finish_reason": finish(params, one), "stop_reason": one.stop, "token_ids": null}]));
        if !params.include_usage {
            event["system_fingerprint"] = json!(FINGERPRINT);
        }
        push(event, u64::from(cut), &mut steps);
    }
    if params.include_usage {
        let (completion, reasoning) = params.spent(outputs);
        let mut event = chunk(json!([]));
        event["usage"] = usage(params, completion, reasoning, false);
        event["system_fingerprint"] = json!(FINGERPRINT);
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

/// Returns deltas with their logprobs.
fn deltas(params: &GenerationParams, output: &Output, number: u64) -> Vec<(Value, Value)> {
    let entry =
        |token: &String| params.top_logprobs.map_or(Value::Null, |top| json!({"content": [logprob(token, top)]}));
    let reasoning = output.reasoning.iter().map(|token| (json!({"reasoning": token}), entry(token)));
    if params.calls.is_empty() {
        return reasoning.chain(output.tokens.iter().map(|token| (json!({"content": token}), entry(token)))).collect();
    }
    let mut deltas: Vec<(Value, Value)> = reasoning.collect();
    for (at, call) in params.calls.iter().enumerate() {
        let mut push = |call: Value| {
            deltas.push((json!({"content": null, "tool_calls": [call]}), Value::Null));
        };
        push(json!({"id": tool_id(number, at), "type": "function", "index": at, "function": {"name": call.name}}));
        for part in pieces(&call.arguments) {
            push(json!({"index": at, "function": {"arguments": part}}));
        }
    }
    deltas
}

fn models(names: &[String], max_len: u64, number: u64, created: u64) -> Value {
    let entries = names.iter().map(|name| {
        json!({"id": name, "object": "model", "created": created, "owned_by": "vllm", "root": format!("/models/{name}"),
            "parent": null, "max_model_len": max_len, "permission": [{"id": format!("modelperm-{}", id(number)),
            "object": "model_permission", "created": created, "allow_create_engine": false, "allow_sampling": true,
            "allow_logprobs": true, "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
            "organization": "*", "group": null, "is_blocking": false}]})
    });
    json!({"object": "list", "data": entries.collect::<Vec<_>>()})
}
