//! vLLM 0.32's answers: every field, null and envelope as the recorded server gave them.

use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::sim::calls::{Call, ToolChoice, pieces};
use crate::sim::config::{Load, SimConfig};
use crate::sim::metrics::{Measurements, MetricsPage};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::prompt::{self, IMAGES};
use crate::sim::quirks::{Quirks, ThinkingSwitch};
use crate::sim::responses::{Dialect, RequestFields, common_settings, plain_tool};
use crate::sim::simulator::{self, AnswerSummary, ApiRequest, Refusal, Reply, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

const FINGERPRINT: &str = "vllm-0.32.0-61aecc63";
/// Size of the vocabulary of the recorded server's toy model.
const VOCABULARY: u64 = 2048;

fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn bad(message: impl Into<String>, param: Option<&str>) -> Refusal {
    error(400, "BadRequestError", message, param)
}

/// Returns pydantic's problems in vLLM's envelope.
fn invalid(problems: &[String], param: &str) -> Refusal {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let message = format!("{} validation error{plural}:\n  {}", problems.len(), problems.join("\n  "));
    error(400, "Bad Request", message, Some(param))
}

fn error(status: u16, kind: &str, message: impl Into<String>, param: Option<&str>) -> Refusal {
    let message = message.into();
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": status}}))
}

const QUIRKS: Quirks = Quirks { thinking: ThinkingSwitch::KwargInChat, metrics_path: Some("/metrics"), ..Quirks::NONE };

const RESPONSES: Dialect = Dialect {
    id_digits: 16,
    call_digits: 16,
    thought_has_status: false,
    open_thought: || Value::Null,
    phases: Some([None, None]),
    logprobs: || Value::Null,
    open_logprobs: || json!([]),
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
        let body = request.body;
        types(body)
            .or_else(|| model(request))
            .or_else(|| tools(request))
            .or_else(|| messages(request))
            .or_else(|| ranges(request))
            .or_else(|| grammar(body))
    }

    fn refuse_response(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        if request.field("input").is_none() {
            let problem = format!(
                "{{'type': 'missing', 'loc': 'body.input', 'msg': 'Field required', 'input': '<dict of {} items>'}}",
                request.body.len()
            );
            return Some(invalid(&[problem], "body.input"));
        }
        if let Some(id) = request.text("previous_response_id") {
            let message = format!("Response with id '{id}' not found.");
            return Some(error(404, "NotFoundError", message, Some("response_id")));
        }
        let tier = request.text("service_tier").is_some_and(|tier| tier == "fast");
        if tier {
            let problem = "{'type': 'literal_error', 'loc': 'body.service_tier', 'msg': \"Input should be 'auto', \
                'default', 'flex', 'scale' or 'priority'\", 'input': 'fast'}";
            return Some(invalid(&[problem.to_owned()], "body.service_tier"));
        }
        model(request).or_else(|| messages(request)).or_else(|| ranges(request))
    }

    fn responses(&self) -> Option<&'static Dialect> {
        Some(&RESPONSES)
    }

    fn refuse_completion(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        model(request)
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
            status => error(status, "InternalServerError", "Internal server error", None),
        }
    }

    fn refuse_body(&self, body: &[u8], _path: &str) -> Refusal {
        let place = format!("body.{}", body.len());
        let problem = format!(
            "{{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {{'error': 'Expecting value'}}}}"
        );
        invalid(&[problem], &place)
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

fn model(request: &ApiRequest<'_>) -> Option<Refusal> {
    let (model, models) = (request.text("model").unwrap_or_default(), &request.config.models);
    (!models.is_empty() && !models.iter().any(|known| known == model)).then(|| {
        let message = format!("The model `{model}` does not exist. Valid aliases: {}.", models.join(", "));
        error(404, "NotFoundError", message, Some("model"))
    })
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools");
    if tools.is_some_and(Vec::is_empty) {
        let message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely. (parameter=tools)";
        return Some(bad(message, Some("tools")));
    }
    let choice = request.field("tool_choice").filter(|choice| *choice != "none");
    if choice.is_some() && tools.is_none() {
        let message = "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)";
        return Some(bad(message, Some("tool_choice")));
    }
    if choice.is_some_and(|choice| choice.is_object() && choice.get("type") != Some(&json!("function"))) {
        let message = "Invalid value for `tool_choice`: only named tools, \"none\", \"auto\" or \"required\" are supported. (parameter=tool_choice)";
        return Some(bad(message, Some("tool_choice")));
    }
    None
}

fn messages(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.list("messages").is_some_and(Vec::is_empty) {
        let message = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return Some(bad(message, None));
    }
    let turns = prompt::turns(request.body);
    if !request.config.vision && turns.iter().any(|turn| turn.has(&IMAGES)) {
        return Some(bad(format!("{} is not a multimodal model", request.text("model").unwrap_or_default()), None));
    }
    prompt::raised_after_merge(request.body, request.config.template).map(|raised| bad(raised, None))
}

fn types(body: &Map<String, Value>) -> Option<Refusal> {
    if !body.contains_key("messages") {
        let problem = format!(
            "{{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of {} items>'}}",
            body.len()
        );
        return Some(invalid(&[problem], "body.messages"));
    }
    if let Some(Value::String(text)) = body.get("temperature") {
        let problem = format!(
            "{{'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid number, unable to parse string as a number', 'input': '{text}'}}"
        );
        return Some(invalid(&[problem], "body.temperature"));
    }
    let tools = body.get("tools").and_then(Value::as_array);
    let custom = tools.into_iter().flatten().enumerate().find(|(_, tool)| tool.get("type") != Some(&json!("function")));
    custom.map(|(at, tool)| {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
        let fields = tool.as_object().map_or(0, Map::len);
        let problems = [
            format!(
                "{{'type': 'literal_error', 'loc': 'body.tools.{at}.type', 'msg': \"Input should be 'function'\", 'input': '{kind}', 'ctx': {{'expected': \"'function'\"}}}}"
            ),
            format!(
                "{{'type': 'missing', 'loc': 'body.tools.{at}.function', 'msg': 'Field required', 'input': '<dict of {fields} items>'}}"
            ),
        ];
        invalid(&problems, &format!("body.tools.{at}.type"))
    })
}

fn ranges(request: &ApiRequest<'_>) -> Option<Refusal> {
    let max_len = request.config.max_model_len;
    let temperature = request.number("temperature").unwrap_or(1.0);
    if !(0.0..=2.0).contains(&temperature) {
        let message = format!(
            "temperature must be in [0, 2], got {temperature:?}. (parameter=temperature, value={temperature:?})"
        );
        return Some(bad(message, Some("temperature")));
    }
    if let Some(top_p) = request.number("top_p").filter(|top_p| !(*top_p > 0.0 && *top_p <= 1.0)) {
        let message = format!("top_p must be in (0, 1], got {top_p:?}. (parameter=top_p, value={top_p:?})");
        return Some(bad(message, Some("top_p")));
    }
    if let Some(n) = request.field("n").and_then(Value::as_u64).filter(|n| *n > 1)
        && temperature == 0.0
    {
        return Some(bad(format!("n must be 1 when using greedy sampling, got {n}."), None));
    }
    let limit = request.field("max_completion_tokens").or_else(|| request.field("max_tokens")).and_then(Value::as_u64);
    if let Some(limit) = limit.filter(|limit| *limit > max_len) {
        let message = format!(
            "max_tokens={limit} cannot be greater than max_model_len={max_len}. Please request fewer output tokens. (parameter=max_tokens, value={limit})"
        );
        return Some(bad(message, Some("max_tokens")));
    }
    if request.prompt_tokens() > max_len {
        let least = max_len + 1;
        let message = format!(
            "This model's maximum context length is {max_len} tokens. However, your prompt contains at least {least} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={least})"
        );
        return Some(bad(message, Some("input_tokens")));
    }
    samplers(request)
}

fn samplers(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.field("stream_options").is_some() && request.field("stream").is_none_or(|stream| stream == false) {
        let message = "Stream options can only be defined when `stream=True`. (parameter=stream_options)";
        return Some(bad(message, Some("stream_options")));
    }
    if request.number("top_logprobs").is_some_and(|top| top > 0.0) && request.field("logprobs") != Some(&json!(true)) {
        let message = "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)";
        return Some(bad(message, Some("top_logprobs")));
    }
    let stop = request.field("stop");
    if stop.is_some_and(|stop| stop == "" || stop.as_array().is_some_and(|all| all.iter().any(|one| one == ""))) {
        return Some(bad("stop cannot contain an empty string. (parameter=stop)", Some("stop")));
    }
    let bias = request.field("logit_bias").and_then(Value::as_object);
    let mut ids = bias.into_iter().flatten().map(|(id, _)| id);
    ids.find(|id| id.parse::<u64>().is_ok_and(|id| id >= VOCABULARY)).map(|id| {
        let message = format!(
            "token_id(s) [{id}] in logit_bias contain out-of-vocab token ids. Vocabulary size: {VOCABULARY} (parameter=logit_bias, value=[{id}])"
        );
        bad(message, Some("logit_bias"))
    })
}

fn grammar(body: &Map<String, Value>) -> Option<Refusal> {
    let schema = body.get("response_format").and_then(|format| format.get("json_schema")?.get("schema"));
    let kind = schema.and_then(|schema| schema.get("type")?.as_str());
    const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    kind.filter(|kind| !KINDS.contains(kind)).map(|kind| bad(format!("Grammar error: Invalid type: {kind}"), None))
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
            json!({"index": index, "message": message, "logprobs": logprobs(params, &one.tokens),
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
