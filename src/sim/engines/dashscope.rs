//! DashScope's OpenAI-compatible mode, as its documentation and its users describe it, without recordings. It is strict:
//! a field that is not documented is refused.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::sim::calls::{ToolChoice, pieces};
use crate::sim::config::{SimConfig, Template};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::prompt::{self, IMAGES};
use crate::sim::quirks::{ParallelCalls, Quirks, ThinkingSwitch};
use crate::sim::simulator::{AnswerSummary, ApiRequest, Refusal, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

/// Top-level fields of a chat request; any other is refused.
const KNOWN: [&str; 27] = [
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "enable_thinking",
    "thinking_budget",
    "reasoning_effort",
    "preserve_thinking",
    "chat_template_kwargs",
    "seed",
    "logprobs",
    "top_logprobs",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "enable_search",
];
const ROLES: [&str; 5] = ["system", "assistant", "user", "tool", "function"];
/// Limit of `max_tokens`; a larger one is refused, as are larger values of the next two.
const MAX_OUTPUT: u64 = 65_536;
const MAX_TOP: f64 = 5.0;
const MAX_SEED: i64 = 2_147_483_647;

const QUIRKS: Quirks =
    Quirks { thinking: ThinkingSwitch::Field, parallel_calls: ParallelCalls::OnRequest, ..Quirks::NONE };

/// The simulated DashScope.
pub(super) struct DashScope;

fn error(status: u16, kind: &str, message: &str, code: &str) -> Refusal {
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    Refusal::json(status, json!({"error": error, "request_id": "7c1d8f60-3b52-9a47-8e11-5d0c6a2b9f34"}))
}

fn bad(message: impl AsRef<str>) -> Refusal {
    let message = format!("<400> InternalError.Algo.InvalidParameter: {}", message.as_ref());
    error(400, "invalid_request_error", &message, "invalid_parameter_error")
}

impl Simulator for DashScope {
    fn quirks(&self) -> &'static Quirks {
        &QUIRKS
    }

    fn refuse(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        if let Some(field) = request.body.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Some(bad(format!("Unsupported parameter: {field}")));
        }
        model(request)
            .or_else(|| messages(request))
            .or_else(|| thinking(request))
            .or_else(|| tools(request))
            .or_else(|| ranges(request))
            .or_else(|| format(request))
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        let choice = |(index, one): (usize, &Output)| {
            let content = if params.calls.is_empty() { one.text() } else { String::new() };
            let mut message = json!({"role": "assistant", "content": content});
            if let Some(thought) = one.thought() {
                message["reasoning_content"] = json!(thought);
            }
            if !params.calls.is_empty() {
                message["tool_calls"] = Value::Array(calls(params, stamp));
            }
            json!({"message": message, "finish_reason": finish(params, one), "index": index,
                "logprobs": logprobs(params, &one.tokens)})
        };
        let choices: Vec<Value> = outputs.iter().enumerate().map(choice).collect();
        json!({"choices": choices, "object": "chat.completion", "usage": usage(params, outputs),
            "created": stamp.created, "system_fingerprint": null, "model": params.model,
            "id": format!("chatcmpl-{}", stamp.uuid())})
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        let event = |choices: Value, usage: Value| {
            json!({"choices": choices, "object": "chat.completion.chunk", "usage": usage, "created": stamp.created,
                "system_fingerprint": null, "model": params.model, "id": format!("chatcmpl-{}", stamp.uuid())})
        };
        let choice = |index: usize, delta: Value, logprobs: Value, finish: Value| {
            let choice = json!([{"delta": delta, "finish_reason": finish, "index": index, "logprobs": logprobs}]);
            event(choice, Value::Null)
        };
        let mut steps = Vec::new();
        for (index, one) in outputs.iter().enumerate() {
            let role = json!({"role": "assistant", "content": "", "reasoning_content": null});
            steps.push(Step::event(&choice(index, role, Value::Null, Value::Null), false));
            for (delta, logprobs) in deltas(params, one, stamp) {
                steps.push(Step::event(&choice(index, delta, logprobs, Value::Null), true));
            }
            let last = json!({"content": "", "reasoning_content": null});
            steps.push(Step::event(&choice(index, last, Value::Null, json!(finish(params, one))), false));
        }
        if params.include_usage {
            steps.push(Step::event(&event(json!([]), usage(params, outputs)), false));
        }
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        match status {
            401 => error(401, "invalid_request_error", "Incorrect API key provided.", "invalid_api_key"),
            403 => error(403, "access_denied", "Model access denied.", "model_access_denied"),
            404 | 405 => error(status, "invalid_request_error", "The requested URL was not found.", "not_found"),
            429 => error(429, "limit_requests", "You exceeded your current requests list.", "limit_requests"),
            400..500 => error(status, "invalid_request_error", "The request was refused.", "invalid_parameter_error"),
            _ => error(status, "internal_error", "Internal server error.", "internal_error"),
        }
    }

    fn refuse_body(&self, _body: &[u8], _path: &str) -> Refusal {
        error(
            400,
            "invalid_request_error",
            "Required body invalid, please check the request body format.",
            "invalid_parameter_error",
        )
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let fallback = [config.served().to_owned()];
        let names = if config.models.is_empty() { fallback.as_slice() } else { &config.models };
        let entry =
            |name: &String| json!({"id": name, "object": "model", "created": stamp.created, "owned_by": "system"});
        json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()})
    }

    fn headers(&self, headers: &mut HeaderMap, _summary: AnswerSummary, stamp: Stamp) {
        if let Ok(id) = HeaderValue::from_str(&stamp.uuid()) {
            headers.insert("x-request-id", id);
        }
        headers.insert("x-dashscope-call-gateway", HeaderValue::from_static("true"));
        headers.insert("server", HeaderValue::from_static("istio-envoy"));
    }
}

fn model(request: &ApiRequest<'_>) -> Option<Refusal> {
    let model = request.text("model").unwrap_or_default();
    let known = request.config.models.is_empty() || request.config.models.iter().any(|known| known == model);
    (!known || model.is_empty()).then(|| {
        let message = format!("The model `{model}` does not exist or you do not have access to it.");
        error(404, "invalid_request_error", &message, "model_not_found")
    })
}

fn messages(request: &ApiRequest<'_>) -> Option<Refusal> {
    let turns = prompt::turns(request.body);
    if turns.is_empty() {
        return Some(bad("[] is too short - 'messages'"));
    }
    let role = turns.iter().enumerate().find(|(_, turn)| !ROLES.contains(&turn.role));
    if let Some((at, turn)) = role {
        return Some(bad(format!("{} is not one of {ROLES:?} - 'messages.[{at}].role'", turn.role)));
    }
    let known: &[&str] = if request.config.vision { &["text", "image_url", "video_url"] } else { &["text"] };
    let parts = turns.iter().filter_map(|turn| turn.content?.as_array()).flatten();
    let mut kinds = parts.filter_map(|part| part.get("type")?.as_str());
    if let Some(kind) = kinds.find(|kind| !known.contains(kind)) {
        let why = if IMAGES.contains(&kind) { "this model takes text only" } else { "unknown content type" };
        return Some(bad(format!("Invalid content: {kind}: {why}")));
    }
    if !prompt::arguments_are_json(request.body) {
        return Some(bad("The \"function.arguments\" parameter of the code model must be in JSON format."));
    }
    if let Some(raised) = prompt::raised(request.body, request.config.template) {
        return Some(bad(raised));
    }
    let (input, most) = (request.prompt_tokens(), request.config.max_model_len);
    (input > most).then(|| bad(format!("Range of input length should be [1, {most}]")))
}

fn thinking(request: &ApiRequest<'_>) -> Option<Refusal> {
    let newest = request.config.template == Template::Qwen38;
    if request.field("reasoning_effort").is_some() && !newest {
        return Some(bad("Unsupported parameter: reasoning_effort"));
    }
    if request.field("reasoning_effort").is_some() && request.field("thinking_budget").is_some() {
        return Some(bad("reasoning_effort and thinking_budget cannot be set together"));
    }
    let effort = request.text("reasoning_effort");
    if let Some(effort) = effort.filter(|effort| !["low", "medium", "xhigh"].contains(effort)) {
        return Some(bad(format!("Unsupported reasoning_effort: {effort}")));
    }
    if !prompt::thinks(request.body, request.config.template, QUIRKS.thinking) {
        return None;
    }
    if request.field("stream").is_none_or(|stream| stream == false) && !newest {
        let message = "parameter.enable_thinking must be set to false for non-streaming calls";
        return Some(error(400, "invalid_request_error", message, "invalid_parameter_error"));
    }
    if request.field("response_format").is_some_and(|format| format["type"] == "json_object") {
        return Some(bad("Json mode response is not supported when enable_thinking is true"));
    }
    request
        .field("tool_choice")
        .filter(|choice| choice.is_object())
        .map(|_| bad("The tool_choice parameter does not support being set to required or object in thinking mode"))
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools");
    if tools.is_some_and(Vec::is_empty) {
        return Some(bad("[] is too short - 'tools'"));
    }
    let foreign = |tool: &Value| tool.get("type") != Some(&json!("function")) || tool.get("function").is_none();
    if tools.is_some_and(|tools| tools.iter().any(foreign)) {
        return Some(bad("'function' is a required property - 'tools'"));
    }
    let choice = request.field("tool_choice")?;
    if tools.is_none() {
        return Some(bad("When using `tool_choice`, `tools` must be set."));
    }
    match choice {
        Value::String(word) if ["none", "auto"].contains(&word.as_str()) => None,
        Value::Object(_) if choice.pointer("/function/name").is_some() => None,
        _ => Some(bad("tool_choice is one of the strings that should be [\"none\", \"auto\"]")),
    }
}

fn ranges(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.number("temperature").is_some_and(|temperature| !(0.0..2.0).contains(&temperature)) {
        return Some(bad("'temperature' must be Float in [0.0, 2.0)"));
    }
    if request.number("top_p").is_some_and(|top_p| !(top_p > 0.0 && top_p <= 1.0)) {
        return Some(bad("Range of top_p should be (0.0, 1.0]"));
    }
    if request.field("max_tokens").is_some() && request.field("max_completion_tokens").is_some() {
        return Some(bad("max_tokens and max_completion_tokens cannot be set together"));
    }
    let limit = request.field("max_completion_tokens").or_else(|| request.field("max_tokens"));
    if limit.is_some_and(|limit| !limit.as_u64().is_some_and(|limit| (1..=MAX_OUTPUT).contains(&limit))) {
        return Some(bad(format!("Range of max_tokens should be [1, {MAX_OUTPUT}]")));
    }
    if request.field("n").is_some_and(|n| n != 1) {
        return Some(bad("Range of n should be [1, 1]"));
    }
    if request.number("top_logprobs").is_some_and(|top| !(0.0..=MAX_TOP).contains(&top)) {
        return Some(bad("Range of top_logprobs should be [0, 5]"));
    }
    let seed = request.field("seed");
    seed.is_some_and(|seed| !seed.as_i64().is_some_and(|seed| (0..=MAX_SEED).contains(&seed)))
        .then(|| bad("Range of seed should be [0, 2147483647]"))
}

fn format(request: &ApiRequest<'_>) -> Option<Refusal> {
    match request.field("response_format")?.get("type").and_then(Value::as_str) {
        Some("text") => None,
        Some("json_object") if prompt::says_json(request.body) => None,
        Some("json_object") => {
            let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                'json_object'.";
            Some(bad(message))
        }
        Some("json_schema") if request.config.template == Template::Qwen38 => None,
        _ => Some(bad("'response_format.type' must be one of ['text', 'json_object']")),
    }
}

fn finish(params: &GenerationParams, output: &Output) -> &'static str {
    match (params.calls.is_empty(), params.tool_choice) {
        (true, _) => output.finish,
        (false, ToolChoice::Named) => "stop",
        (false, _) => "tool_calls",
    }
}

fn usage(params: &GenerationParams, outputs: &[Output]) -> Value {
    let (completion, reasoning) = params.spent(outputs);
    let mut usage = json!({"prompt_tokens": params.prompt_tokens, "completion_tokens": completion,
        "total_tokens": params.prompt_tokens + completion, "prompt_tokens_details": {"cached_tokens": 0}});
    if reasoning > 0 {
        usage["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
    }
    usage
}

fn call_id(stamp: Stamp, at: usize) -> String {
    format!("call_{}", stamp.hex(at + 1, 22))
}

fn calls(params: &GenerationParams, stamp: Stamp) -> Vec<Value> {
    let each = params.calls.iter().enumerate().map(|(at, call)| {
        json!({"function": {"name": call.name, "arguments": call.arguments}, "index": at, "id": call_id(stamp, at),
            "type": "function"})
    });
    each.collect()
}

fn logprobs(params: &GenerationParams, tokens: &[String]) -> Value {
    let one = |token: &str| json!({"token": token, "bytes": token.as_bytes(), "logprob": -0.0625_f64});
    let entry = |token: &String, top: u64| {
        let mut entry = one(token);
        entry["top_logprobs"] = Value::Array((0..top).map(|_| one(token)).collect());
        entry
    };
    params
        .top_logprobs
        .map_or(Value::Null, |top| json!({"content": tokens.iter().map(|token| entry(token, top)).collect::<Vec<_>>()}))
}

/// Returns deltas with their logprobs.
fn deltas(params: &GenerationParams, output: &Output, stamp: Stamp) -> Vec<(Value, Value)> {
    let thought =
        output.reasoning.iter().map(|token| (json!({"content": null, "reasoning_content": token}), Value::Null));
    if params.calls.is_empty() {
        let text = output.tokens.iter().map(|token| {
            (json!({"content": token, "reasoning_content": null}), logprobs(params, std::slice::from_ref(token)))
        });
        return thought.chain(text).collect();
    }
    let mut deltas: Vec<(Value, Value)> = thought.collect();
    for (at, call) in params.calls.iter().enumerate() {
        let delta = |id: &str, function: Value| {
            let call = json!({"index": at, "id": id, "type": "function", "function": function});
            (json!({"content": null, "reasoning_content": null, "tool_calls": [call]}), Value::Null)
        };
        deltas.push(delta(&call_id(stamp, at), json!({"name": call.name, "arguments": ""})));
        // Further parts of a call have an empty id.
        deltas.extend(pieces(&call.arguments).iter().map(|part| delta("", json!({"arguments": part}))));
    }
    deltas
}
