//! SGLang 0.5's answers: its nulls and its streams, as the recorded server gave them.

mod problems;
mod refuse;

use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use crate::sim::calls::{Call, pieces};
use crate::sim::config::{Load, SimConfig};
use crate::sim::metrics::{Measurements, MetricsPage};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::quirks::{EmptyStop, ParallelCalls, Quirks, ThinkingSwitch};
use crate::sim::responses::{Dialect, RequestFields};
use crate::sim::simulator::{self, AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

/// Id of the end token, the `matched_stop` of an answer that no stop string ended.
const END: u64 = 2;

const QUIRKS: Quirks = Quirks {
    thinking: ThinkingSwitch::KwargOrEffort,
    parallel_calls: ParallelCalls::Always,
    empty_stop: EmptyStop::AtOnce,
    loose_forced_calls: true,
    required_calls_two: true,
    hides_cut_calls: true,
    metrics_path: Some("/metrics"),
    ..Quirks::NONE
};

const RESPONSES: Dialect = Dialect {
    id_digits: 32,
    call_digits: 8,
    thought_has_status: true,
    open_thought: || json!([]),
    phases: Some([Some("final_answer"), Some("commentary")]),
    logprobs: || Value::Null,
    open_logprobs: || Value::Null,
    has_refusals: false,
    shows_space: true,
    names_call: true,
    has_incomplete_event: false,
    usage_details: |reasoning| {
        (json!({"cached_tokens": 0, "cache_write_tokens": 0}), json!({"reasoning_tokens": reasoning}))
    },
    settings: response_settings,
    tool: response_tool,
};

fn response_settings(fields: &RequestFields<'_>, error: Value) -> Value {
    json!({"error": error, "metadata": {}, "reasoning": {"effort": null, "summary": null},
        "store": fields.or("store", json!(true)), "temperature": fields.field("temperature"),
        "text": fields.field("text"), "tool_choice": fields.or("tool_choice", json!("auto")),
        "top_p": fields.field("top_p")})
}

fn response_tool(tool: &Value) -> Value {
    json!({"type": tool["type"], "name": tool["name"], "description": tool["description"],
        "parameters": tool["parameters"], "strict": tool.get("strict").cloned().unwrap_or(json!(false)),
        "tools": null, "defer_loading": null, "format": null})
}

/// The simulated SGLang.
pub(super) struct Sglang;

impl Simulator for Sglang {
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
            let mut message = json!({"role": "assistant", "content": one.text(), "reasoning_content": one.thought()});
            let called = !params.calls.is_empty();
            if called {
                message["content"] = json!("");
                message["tool_calls"] = Value::Array(calls(&params.calls, stamp));
            }
            let finish = if called { "tool_calls" } else { one.finish };
            let matched = if called { Value::Null } else { matched(one) };
            json!({"index": index, "message": message, "logprobs": logprobs(params, one), "finish_reason": finish,
                "matched_stop": matched})
        };
        let choices: Vec<Value> = outputs.iter().enumerate().map(choice).collect();
        let (end, _) = params.spent(outputs);
        json!({"id": stamp.hex(0, 32), "object": "chat.completion", "created": stamp.created, "model": named(params),
            "choices": choices, "usage": usage(params, outputs), "metadata": metadata(end)})
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        stream(params, outputs, stamp)
    }

    fn completion(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Value {
        let end = output.count();
        json!({"id": stamp.hex(0, 32), "object": "text_completion", "created": stamp.created, "model": named(params),
            "choices": [{"index": 0, "text": output.text(), "logprobs": null, "finish_reason": output.finish,
            "matched_stop": matched(output)}], "usage": {"prompt_tokens": params.prompt_tokens,
            "total_tokens": params.prompt_tokens + end, "completion_tokens": end, "prompt_tokens_details": null,
            "reasoning_tokens": 0, "completion_tokens_details": null}, "metadata": metadata(end)})
    }

    fn completion_stream(&self, params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<Step> {
        let event = |choices: Value, usage: Value| {
            json!({"id": stamp.hex(0, 32), "object": "text_completion", "created": stamp.created,
                "model": named(params), "choices": choices, "usage": usage})
        };
        let last = output.tokens.len().saturating_sub(1);
        let mut steps: Vec<Step> = Vec::new();
        for (at, token) in output.tokens.iter().enumerate() {
            let (finish, matched) =
                if at == last { (json!(output.finish), matched(output)) } else { Default::default() };
            let choice = json!([{"index": 0, "text": token, "logprobs": null, "finish_reason": finish,
                "matched_stop": matched}]);
            steps.push(Step::event(&event(choice, Value::Null), true));
        }
        if params.include_usage {
            steps.push(Step::event(&event(json!([]), brief_usage(params, output.count())), false));
        }
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => simulator::unauthorized(),
            404 | 405 => simulator::fastapi_refusal(status),
            500 => Refusal::text(500, "Internal Server Error"),
            503 => {
                let message = "The request queue is full.";
                refuse::flat(503, "503", message).in_stream(event(503, "SERVICE_UNAVAILABLE", message))
            }
            status => refuse::flat(status, &status.to_string(), "The request was refused."),
        }
    }

    fn refuse_body(&self, body: &[u8], path: &str) -> Refusal {
        refuse::broken(body, path)
    }

    fn refuse_content_type(&self, _path: &str) -> Option<Refusal> {
        Some(refuse::content_type())
    }

    fn late_error(&self) -> Vec<Step> {
        let error =
            event(500, "InternalServerError", "Internal server error\n  File \"/sglang/srt/managers/scheduler.py\"");
        vec![Step::event(&error, false), Step::done()]
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let name = config.served();
        json!({"object": "list", "data": [{"id": name, "object": "model", "created": stamp.created,
            "owned_by": "sglang", "root": name, "parent": null, "max_model_len": config.max_model_len}]})
    }

    fn unknown_model(&self, name: &str) -> Refusal {
        let message = format!("The model '{name}' does not exist");
        Refusal::json(
            404,
            json!({"error": {"message": message, "type": "invalid_request_error", "param": "model",
                "code": "model_not_found"}}),
        )
    }

    fn open_page(&self, path: &str, config: &SimConfig, load: Load) -> Option<Reply> {
        match path {
            "/health" | "/ping" | "/ready" | "/health_generate" => Some(Reply::Empty),
            "/v1/loads" => Some(Reply::Whole(loads(load, config.max_model_len), 0)),
            "/" => Some(Reply::Whole(json!("SGLang is running"), 0)),
            _ => None,
        }
    }

    fn other_path(&self, method: &Method, path: &str, _body: &Map<String, Value>) -> Option<Reply> {
        if *method == Method::DELETE && path.starts_with("/v1/responses") {
            return Some(Reply::Refused(self.by_status(405), None));
        }
        if let Some(id) = path.strip_prefix("/v1/responses/") {
            return (!id.is_empty()).then(|| Reply::Refused(refuse::no_store("response_id"), None));
        }
        (path == "/v1/embeddings").then(|| Reply::Refused(refuse::no_embeddings(), None))
    }

    fn write_metrics(&self, page: &mut MetricsPage, measured: &Measurements<'_>) {
        let name = measured.model;
        page.set_labels(format!(
            "engine_type=\"unified\",model_name=\"{name}\",moe_ep_rank=\"0\",pid=\"1022\",pp_rank=\"0\",tp_rank=\"0\""
        ));
        page.gauge("sglang:num_running_reqs", measured.running);
        page.gauge("sglang:num_queue_reqs", measured.waiting);
        page.gauge("sglang:token_usage", measured.kv_usage);
        page.gauge("sglang:num_retracted_reqs", 0.0);
        page.gauge("sglang:cache_hit_rate", measured.prefix_hits);
        page.set_labels(format!("engine_type=\"unified\",is_streaming=\"false\",model_name=\"{name}\""));
        page.counter("sglang:prompt_tokens_total", measured.prompt_tokens);
        page.counter("sglang:generation_tokens_total", measured.generated_tokens);
        page.histogram("sglang:time_to_first_token_seconds", 0.25 * measured.answers, measured.answers);
    }

    fn headers(&self, headers: &mut HeaderMap, summary: AnswerSummary, _stamp: Stamp) {
        simulator::uvicorn_headers(headers);
        if summary.status == 401 {
            headers.remove("vary");
        }
    }
}

/// Returns the error event of a stream.
fn event(code: u16, kind: &str, message: &str) -> Value {
    json!({"error": {"object": "error", "message": message, "type": kind, "param": null, "code": code}})
}

fn named(params: &GenerationParams) -> &str {
    if params.model.is_empty() { "default" } else { &params.model }
}

fn metadata(end: u64) -> Value {
    json!({"weight_version": "default", "weight_versions": [{"version": "default", "start": 0, "end": end}]})
}

fn matched(output: &Output) -> Value {
    match (&output.stop, output.finish) {
        (Some(text), _) => json!(text),
        (None, "stop") => json!(END),
        (None, _) => Value::Null,
    }
}

fn usage(params: &GenerationParams, outputs: &[Output]) -> Value {
    let (completion, reasoning) = params.spent(outputs);
    let details = (reasoning > 0).then(|| json!({"reasoning_tokens": reasoning}));
    json!({"prompt_tokens": params.prompt_tokens, "total_tokens": params.prompt_tokens + completion,
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

/// Returns the logprobs of all tokens, those of the thought and of the end included.
fn logprobs(params: &GenerationParams, output: &Output) -> Value {
    let entries = |top| output.generated.iter().map(|token| logprob(token, top)).collect::<Vec<_>>();
    params.top_logprobs.map_or(Value::Null, |top| json!({"content": entries(top)}))
}

fn stream(params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
    let id = stamp.hex(0, 32);
    let chunk = |index: usize, delta: Value, logprobs: Value, finish: Value, matched: Value| {
        json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created, "model": named(params),
            "choices": [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish,
            "matched_stop": matched}]})
    };
    let null = Value::Null;
    let mut steps = Vec::new();
    let (mut spent, mut finishes) = (0, Vec::new());
    for (index, one) in outputs.iter().enumerate() {
        let role = json!({"reasoning_content": null, "role": "assistant", "content": ""});
        steps.push(Step::event(&chunk(index, role, null.clone(), null.clone(), null.clone()), false));
        for (delta, logprobs, with_usage) in deltas(params, one, stamp) {
            spent += 1;
            let mut event = chunk(index, delta, logprobs, null.clone(), null.clone());
            if with_usage {
                event["usage"] = Value::Null;
            }
            if params.include_usage && params.continuous_usage {
                event["usage"] = brief_usage(params, spent);
                event["usage"]["prompt_tokens_details"] = Value::Null;
                event["usage"]["completion_tokens_details"] = Value::Null;
            }
            steps.push(Step::event(&event, true));
        }
        let (finish, matched) = match params.calls.is_empty() {
            true => (one.finish, matched(one)),
            false => ("tool_calls", json!(END)),
        };
        finishes.push(chunk(index, json!({"reasoning_content": null}), null.clone(), json!(finish), matched));
    }
    // The finish reasons follow after the tokens of all choices.
    steps.extend(finishes.iter().map(|event| Step::event(event, false)));
    if params.include_usage {
        let event = json!({"id": id, "object": "chat.completion.chunk", "created": stamp.created,
            "model": named(params), "choices": [], "usage": usage(params, outputs)});
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

/// Returns the usage of an unfinished chat, or of a completion.
fn brief_usage(params: &GenerationParams, spent: u64) -> Value {
    json!({"prompt_tokens": params.prompt_tokens, "total_tokens": params.prompt_tokens + spent, "completion_tokens": spent,
        "reasoning_tokens": 0})
}

/// Returns deltas with their logprobs, and true for those of the tool parser, which have `usage: null`.
fn deltas(params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<(Value, Value, bool)> {
    let entry =
        |token: &String| params.top_logprobs.map_or(Value::Null, |top| json!({"content": [logprob(token, top)]}));
    let thought = output.reasoning.iter().map(|token| (json!({"reasoning_content": token}), entry(token), false));
    if params.calls.is_empty() {
        let text = output
            .tokens
            .iter()
            .map(|token| (json!({"reasoning_content": null, "content": token}), entry(token), false));
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
    for (at, call) in params.calls.iter().enumerate() {
        let delta = |id: Value, name: Value, arguments: &str| json!({"id": id, "index": at, "type": "function", "function": {"name": name, "arguments": arguments}});
        deltas.push(parsed(None, Some(delta(json!(call_id(stamp, at)), json!(call.name), ""))));
        let parts = pieces(&call.arguments);
        deltas.extend(parts.iter().map(|part| parsed(None, Some(delta(Value::Null, Value::Null, part)))));
    }
    deltas
}

/// Returns the load in SGLang's own JSON, beside its metrics page.
fn loads(load: Load, max_len: u64) -> Value {
    json!({"version": "0.5.23", "accelerator": null, "num_accelerators": 1, "loads": [{"dp_rank": 0,
        "num_running_reqs": load.running, "num_waiting_reqs": load.waiting, "max_total_num_tokens": max_len,
        "token_usage": load.kv_usage, "gen_throughput": 0.0, "cache_hit_rate": 0.0, "utilization": load.kv_usage}]})
}
