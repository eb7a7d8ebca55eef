//! The strictest common server: it accepts what every OpenAI-compatible endpoint accepts, and refuses the rest.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::sim::calls::{Call, pieces};
use crate::sim::config::{SimConfig, Template};
use crate::sim::params::{GenerationParams, Output};
use crate::sim::prompt;
use crate::sim::quirks::Quirks;
use crate::sim::simulator::{AnswerSummary, ApiRequest, Refusal, Simulator};
use crate::sim::stamp::Stamp;
use crate::sim::step::Step;

/// Top-level fields of a chat request; any other is refused.
const KNOWN: [&str; 13] = [
    "model",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
];
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

const QUIRKS: Quirks = Quirks { template: Template::Qwen25, ..Quirks::NONE };

/// The simulated common server.
pub(super) struct Compatible;

fn error(status: u16, kind: &str, message: &str) -> Refusal {
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": null, "code": null}}))
}

fn bad(message: impl AsRef<str>) -> Refusal {
    error(400, "invalid_request_error", message.as_ref())
}

impl Simulator for Compatible {
    fn quirks(&self) -> &'static Quirks {
        &QUIRKS
    }

    fn refuse(&self, request: &ApiRequest<'_>) -> Option<Refusal> {
        let unknown = request.body.iter().find(|(key, value)| value.is_null() || !KNOWN.contains(&key.as_str()));
        if let Some((field, _)) = unknown {
            return Some(bad(format!("unknown or empty field: {field}")));
        }
        let model = request.text("model").unwrap_or_default();
        if !request.config.models.is_empty() && !request.config.models.iter().any(|known| known == model) {
            return Some(error(404, "not_found_error", &format!("The model '{model}' does not exist")));
        }
        messages(request).or_else(|| tools(request)).or_else(|| settings(request))
    }

    fn whole(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Value {
        let choice = |(index, one): (usize, &Output)| {
            let mut message = json!({"role": "assistant", "content": one.text()});
            if !params.calls.is_empty() {
                message = json!({"role": "assistant", "content": null, "tool_calls": calls(params)});
            }
            json!({"index": index, "message": message, "finish_reason": finish(params, one)})
        };
        let choices: Vec<Value> = outputs.iter().enumerate().map(choice).collect();
        json!({"id": stamp.uuid(), "object": "chat.completion", "created": stamp.created, "model": params.model,
            "choices": choices, "usage": usage(params, outputs)})
    }

    fn stream(&self, params: &GenerationParams, outputs: &[Output], stamp: Stamp) -> Vec<Step> {
        let event = |choices: Value| {
            json!({"id": stamp.uuid(), "object": "chat.completion.chunk", "created": stamp.created,
                "model": params.model, "choices": choices})
        };
        let mut steps = Vec::new();
        for (index, one) in outputs.iter().enumerate() {
            let choice =
                |delta: Value, finish: Value| event(json!([{"index": index, "delta": delta, "finish_reason": finish}]));
            steps.push(Step::event(&choice(json!({"role": "assistant"}), Value::Null), false));
            let deltas = if params.calls.is_empty() { text(one) } else { call_deltas(params) };
            steps.extend(deltas.into_iter().map(|delta| Step::event(&choice(delta, Value::Null), true)));
            steps.push(Step::event(&choice(json!({}), json!(finish(params, one))), false));
        }
        if params.include_usage {
            let mut event = event(json!([]));
            event["usage"] = usage(params, outputs);
            steps.push(Step::event(&event, false));
        }
        steps.push(Step::done());
        steps
    }

    fn by_status(&self, status: u16) -> Refusal {
        let kind = match status {
            401 | 403 => "authentication_error",
            404 | 405 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        error(status, kind, "The request was refused.")
    }

    fn refuse_body(&self, _body: &[u8], _path: &str) -> Refusal {
        bad("the body is not a JSON object")
    }

    fn refuse_content_type(&self, _path: &str) -> Option<Refusal> {
        Some(error(415, "invalid_request_error", "unsupported media type"))
    }

    fn models(&self, config: &SimConfig, stamp: Stamp) -> Value {
        let entry = json!({"id": config.served(), "object": "model", "created": stamp.created, "owned_by": "owner"});
        json!({"object": "list", "data": [entry]})
    }

    fn headers(&self, headers: &mut HeaderMap, _summary: AnswerSummary, _stamp: Stamp) {
        headers.insert("server", HeaderValue::from_static("gateway"));
    }
}

fn messages(request: &ApiRequest<'_>) -> Option<Refusal> {
    let messages = request.list("messages").filter(|messages| !messages.is_empty());
    let Some(messages) = messages else { return Some(bad("messages: at least one is required")) };
    for message in messages {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let known: &[&str] = match role {
            "assistant" => &["role", "content", "tool_calls", "name"],
            "tool" => &["role", "content", "tool_call_id"],
            _ => &["role", "content", "name"],
        };
        if !ROLES.contains(&role) {
            return Some(bad(format!("messages: unknown role {role}")));
        }
        let fields = message.as_object().into_iter().flatten();
        if let Some((field, _)) = fields.into_iter().find(|(field, _)| !known.contains(&field.as_str())) {
            return Some(bad(format!("messages: unknown field {field}")));
        }
        let text = message.get("content").is_some_and(Value::is_string);
        if !text && message.get("tool_calls").is_none() {
            return Some(bad("messages: content must be a text"));
        }
    }
    let turns = prompt::turns(request.body);
    if turns.iter().skip(1).any(|turn| turn.role == "system") || !turns.iter().any(|turn| turn.role == "user") {
        return Some(bad("messages: one system message at most, first, and a user message are required"));
    }
    let (input, most) = (request.prompt_tokens(), request.config.max_model_len);
    (input > most).then(|| bad(format!("This model's maximum context length is {most} tokens.")))
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools");
    for tool in tools.into_iter().flatten() {
        let inside = |value: &Value, known: &[&str]| {
            value.as_object().is_some_and(|fields| fields.keys().all(|field| known.contains(&field.as_str())))
        };
        let function = tool.get("function").unwrap_or(&Value::Null);
        if tool.get("type") != Some(&json!("function"))
            || !inside(tool, &["type", "function"])
            || !inside(function, &["name", "description", "parameters", "strict"])
        {
            return Some(bad("tools: only functions are known"));
        }
    }
    if tools.is_some_and(Vec::is_empty) {
        return Some(bad("tools: empty"));
    }
    let choice = request.field("tool_choice")?;
    let known = match choice {
        Value::String(word) => ["none", "auto", "required"].contains(&word.as_str()),
        _ => choice.pointer("/function/name").is_some(),
    };
    (tools.is_none() || !known).then(|| bad("tool_choice: not possible"))
}

fn settings(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.number("temperature").is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Some(bad("temperature: from 0 to 2"));
    }
    if request.number("top_p").is_some_and(|top_p| !(top_p > 0.0 && top_p <= 1.0)) {
        return Some(bad("top_p: above 0, up to 1"));
    }
    if request.field("n").is_some_and(|n| n != 1) {
        return Some(bad("n: only 1"));
    }
    let list = |stop: &Value| stop.as_array().is_some_and(|all| all.len() <= 4 && all.iter().all(|one| one != ""));
    if request.field("stop").is_some_and(|stop| !list(stop)) {
        return Some(bad("stop: a list of at most four texts"));
    }
    let options = request.field("stream_options");
    let streams = request.field("stream").is_some_and(|stream| stream == true);
    let known = |options: &Value| options.as_object().is_some_and(|all| all.keys().all(|key| key == "include_usage"));
    if options.is_some_and(|options| !streams || !known(options)) {
        return Some(bad("stream_options: only include_usage, and only of a stream"));
    }
    let format = request.field("response_format")?.get("type").and_then(Value::as_str);
    (format != Some("json_object")).then(|| bad("response_format: only json_object"))
}

fn finish(params: &GenerationParams, output: &Output) -> &'static str {
    if params.calls.is_empty() { output.finish } else { "tool_calls" }
}

fn usage(params: &GenerationParams, outputs: &[Output]) -> Value {
    let (completion, _) = params.spent(outputs);
    json!({"prompt_tokens": params.prompt_tokens, "completion_tokens": completion,
        "total_tokens": params.prompt_tokens + completion})
}

/// Returns the calls, whose ids are empty.
fn calls(params: &GenerationParams) -> Vec<Value> {
    let call = |call: &Call| json!({"id": "", "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
    params.calls.iter().map(call).collect()
}

fn text(output: &Output) -> Vec<Value> {
    output.tokens.iter().map(|token| json!({"content": token})).collect()
}

fn call_deltas(params: &GenerationParams) -> Vec<Value> {
    let mut deltas = Vec::new();
    for (at, call) in params.calls.iter().enumerate() {
        let delta = |function: Value| json!({"tool_calls": [{"index": at, "id": "", "function": function}]});
        deltas.push(delta(json!({"name": call.name, "arguments": ""})));
        deltas.extend(pieces(&call.arguments).iter().map(|part| delta(json!({"arguments": part}))));
    }
    deltas
}
