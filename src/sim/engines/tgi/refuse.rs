//! Refusals of TGI's router: of types as serde reads them, then of tools and template, then of ranges. A streamed request
//! gets the last ones in its stream.

use serde_json::{Map, Value, json};

use super::grammar;
use crate::sim::prompt;
use crate::sim::simulator::{ApiRequest, Refusal};

/// Limit of a body, in bytes; a larger one is refused.
const MAX_BODY: usize = 2_000_000;
/// Limit of stop strings; more are refused.
const MAX_STOPS: usize = 4;
/// Limit of `top_logprobs`; a larger one is refused.
const MAX_TOP_TOKENS: u64 = 5;
/// Largest part of a token limit that counts against the context.
const CHECKED_LIMIT: u64 = 1024;

/// Returns a refusal that never comes in a stream.
pub(super) fn plain(status: u16, message: &str, kind: &str) -> Refusal {
    Refusal::json(status, json!({"error": message, "error_type": kind}))
}

/// Returns the error event of a stream. It has status 422 for every error.
pub(super) fn event(message: &str) -> Value {
    json!({"error": {"message": message, "http_status_code": 422}})
}

/// Returns a refusal that a streamed request gets in its stream.
pub(super) fn streamable(status: u16, message: &str, kind: &str) -> Refusal {
    plain(status, message, kind).in_stream(event(message))
}

fn validation(message: impl AsRef<str>) -> Refusal {
    streamable(422, &format!("Input validation error: {}", message.as_ref()), "validation")
}

/// Returns serde's refusal of a body of this size, in bytes.
pub(super) fn wrong_type(problem: &str, size: usize) -> Refusal {
    let text = format!("Failed to deserialize the JSON body into the target type: {problem} at line 1 column {size}");
    Refusal::text(422, text)
}

fn tool_error(message: &str) -> Refusal {
    plain(422, &format!("Tool error: {message}"), "tool_error")
}

pub(super) fn chat(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.size > MAX_BODY {
        return Some(Refusal::text(413, "Failed to buffer the request body: length limit exceeded"));
    }
    if let Some(problem) = types(request.body) {
        return Some(wrong_type(&problem, request.size));
    }
    tools(request)
        .or_else(|| template(request))
        .or_else(|| ranges(request))
        .or_else(|| limits(request))
        .or_else(|| grammar::refuse(request).map(validation))
}

/// Returns serde's words for a value of the wrong type.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("boolean `{flag}`"),
        Value::Number(number) if number.is_f64() => format!("floating point `{number}`"),
        Value::Number(number) => format!("integer `{number}`"),
        Value::String(text) => format!("string \"{text}\""),
        Value::Array(_) => "sequence".to_owned(),
        Value::Object(_) => "map".to_owned(),
    }
}

/// Returns serde's first problem with a chat.
fn types(body: &Map<String, Value>) -> Option<String> {
    let found = body.iter().find_map(|(name, value)| field(name, value));
    let twice = body.contains_key("max_tokens") && body.contains_key("max_completion_tokens");
    found
        .or_else(|| twice.then(|| "duplicate field `max_tokens`".to_owned()))
        .or_else(|| (!body.contains_key("messages")).then(|| "missing field `messages`".to_owned()))
}

/// Returns serde's problem with a field.
fn field(name: &str, value: &Value) -> Option<String> {
    let (fits, wanted) = match name {
        "messages" => return messages(value),
        "tools" => return tool_types(value),
        "tool_choice" => return tool_choice(value),
        "response_format" => return response_format(value),
        "stream" => (value.is_boolean(), "a boolean"),
        "stream_options" => (value.is_object(), "struct StreamOptions"),
        _ if value.is_null() => return None,
        "max_tokens" | "max_completion_tokens" => return unsigned("max_tokens", value, "u32"),
        "n" | "top_logprobs" => return unsigned(name, value, "u32"),
        "seed" => return unsigned(name, value, "u64"),
        "model" => (value.is_string(), "a string"),
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" => (value.is_number(), "f32"),
        "logprobs" => (value.is_boolean(), "a boolean"),
        "stop" | "logit_bias" => (value.is_array(), "a sequence"),
        _ => return None,
    };
    (!fits).then(|| format!("{name}: invalid type: {}, expected {wanted}", kind(value)))
}

fn unsigned(name: &str, value: &Value, wanted: &str) -> Option<String> {
    match value {
        Value::Number(number) if number.is_u64() => None,
        Value::Number(number) if number.is_i64() => {
            Some(format!("{name}: invalid value: {}, expected {wanted}", kind(value)))
        }
        _ => Some(format!("{name}: invalid type: {}, expected {wanted}", kind(value))),
    }
}

fn messages(value: &Value) -> Option<String> {
    let Some(list) = value.as_array() else {
        return Some(format!("messages: invalid type: {}, expected a sequence", kind(value)));
    };
    list.iter().enumerate().find_map(|(at, message)| {
        if !message.get("role").is_some_and(Value::is_string) {
            return Some(format!("messages[{at}]: missing field `role`"));
        }
        (!content_fits(message) && !calls_fit(message))
            .then(|| format!("messages[{at}]: data did not match any variant of untagged enum MessageBody"))
    })
}

fn content_fits(message: &Value) -> bool {
    match message.get("content") {
        Some(Value::String(_)) => true,
        Some(Value::Array(parts)) => parts.iter().all(|part| match part.get("type").and_then(Value::as_str) {
            Some("text") => part.get("text").is_some_and(Value::is_string),
            Some("image_url") => part.pointer("/image_url/url").is_some_and(Value::is_string),
            _ => false,
        }),
        _ => false,
    }
}

fn calls_fit(message: &Value) -> bool {
    let fits = |call: &Value| {
        let function = call.get("function");
        call.get("id").is_some_and(Value::is_string)
            && call.get("type").is_some_and(Value::is_string)
            && function.is_some_and(|function| function.get("name").is_some() && function.get("arguments").is_some())
    };
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| calls.iter().all(fits))
}

fn tool_types(value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let Some(list) = value.as_array() else {
        return Some(format!("tools: invalid type: {}, expected a sequence", kind(value)));
    };
    list.iter().enumerate().find_map(|(at, tool)| {
        let Some(function) = tool.get("function") else {
            return Some(format!("tools[{at}]: missing field `function`"));
        };
        let named = function.get("name").is_some_and(Value::is_string);
        if !named {
            return Some(format!("tools[{at}].function: missing field `name`"));
        }
        let parameters = function.get("parameters").or_else(|| function.get("arguments"));
        parameters.is_none().then(|| format!("tools[{at}].function: missing field `arguments`"))
    })
}

fn tool_choice(value: &Value) -> Option<String> {
    let fits = match value {
        Value::Null | Value::String(_) => true,
        Value::Object(_) => value.pointer("/function/name").is_some_and(Value::is_string),
        _ => false,
    };
    (!fits).then(|| "tool_choice: data did not match any variant of untagged enum ToolTypeDeserializer".to_owned())
}

/// Checks TGI's own grammars; OpenAI's formats are problems.
fn response_format(value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let Some(kind) = value.get("type").and_then(Value::as_str) else {
        return Some("response_format: missing field `type`".to_owned());
    };
    if !["json", "json_object", "regex", "json_schema"].contains(&kind) {
        return Some(format!(
            "response_format.type: unknown variant `{kind}`, expected one of `json`, `json_object`, `regex`, `json_schema`"
        ));
    }
    let Some(inner) = value.get("value") else { return Some("response_format: missing field `value`".to_owned()) };
    let without = kind == "json_schema" && inner.get("schema").is_none();
    without.then(|| "response_format.value: missing field `schema`".to_owned())
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools")?;
    if request.field("response_format").is_some() {
        return Some(tool_error("Grammar and tools are mutually exclusive"));
    }
    let choice = request.field("tool_choice")?;
    let name = choice.as_str().or_else(|| choice.pointer("/function/name")?.as_str())?;
    let known = ["none", "auto", "required"].contains(&name) && choice.is_string();
    let found = tools.iter().any(|tool| tool.pointer("/function/name").is_some_and(|known| known == name));
    (!known && !found).then(|| tool_error(&format!("Tool with name {name} not found")))
}

fn template(request: &ApiRequest<'_>) -> Option<Refusal> {
    let raised = prompt::raised(request.body, request.config.template)?;
    let message = format!("Template error: syntax error: {raised} (in <string>:1)");
    Some(plain(422, &message, "template_error"))
}

fn ranges(request: &ApiRequest<'_>) -> Option<Refusal> {
    if let Some(stops) = request.list("stop").map(Vec::len).filter(|stops| *stops > MAX_STOPS) {
        return Some(validation(format!("`stop` supports up to {MAX_STOPS} stop sequences. Given: {stops}")));
    }
    if request.number("temperature").is_some_and(|temperature| temperature < 0.0) {
        return Some(validation("`temperature` must be strictly positive"));
    }
    // The router uses the presence penalty plus 2 as the repetition penalty.
    if request.number("presence_penalty").is_some_and(|penalty| penalty + 2.0 <= 0.0) {
        return Some(validation("`repetition_penalty` must be strictly positive"));
    }
    if request.number("frequency_penalty").is_some_and(|penalty| penalty.abs() > 2.0) {
        return Some(validation("`frequency_penalty` must be >= -2.0 and <= 2.0"));
    }
    if request.number("top_p").is_some_and(|top_p| top_p <= 0.0 || top_p >= 1.0) {
        return Some(validation("`top_p` must be > 0.0 and < 1.0"));
    }
    let counts = request.field("logprobs").is_some_and(|logprobs| logprobs == true);
    let top = request.field("top_logprobs").and_then(Value::as_u64).filter(|top| counts && *top > MAX_TOP_TOKENS);
    top.map(|top| validation(format!("`top_n_tokens` must be >= 0 and <= {MAX_TOP_TOKENS}. Given: {top}")))
}

fn limits(request: &ApiRequest<'_>) -> Option<Refusal> {
    let limit = request.field("max_completion_tokens").or_else(|| request.field("max_tokens")).and_then(Value::as_u64);
    if limit == Some(0) {
        return Some(validation("`max_new_tokens` must be strictly positive"));
    }
    let (input, most) = (request.prompt_tokens(), request.config.max_model_len);
    let limit = limit.map_or(0, |limit| limit.min(CHECKED_LIMIT));
    if input + limit > most {
        return Some(validation(format!(
            "`inputs` tokens + `max_new_tokens` must be <= {most}. Given: {input} `inputs` tokens and {limit} `max_new_tokens`"
        )));
    }
    let longest = request.config.longest_prompt();
    (input > longest).then(|| validation(format!("`inputs` must have less than {longest} tokens. Given: {input}")))
}

pub(super) fn completion(request: &ApiRequest<'_>) -> Option<Refusal> {
    let problem = request.body.iter().find_map(|(name, value)| field(name, value));
    if let Some(problem) = problem {
        return Some(wrong_type(&problem, request.size));
    }
    match request.body.get("prompt") {
        None => return Some(wrong_type("missing field `prompt`", request.size)),
        Some(Value::String(text)) if text.is_empty() => return Some(validation("`inputs` cannot be empty")),
        Some(Value::Array(prompts)) if prompts.iter().any(|prompt| !prompt.is_string()) => {
            let problem = "prompt: data did not match any variant of untagged enum PromptDeserializer";
            return Some(wrong_type(problem, request.size));
        }
        Some(Value::Array(prompts)) if prompts.len() > 4 => {
            let message = "Number of prompts exceeds the maximum allowed batch size of 4";
            return Some(plain(422, message, "batch size exceeded"));
        }
        Some(_) => {}
    }
    if request.field("suffix").is_some() {
        let message = "Suffix is not supported and can be achieved by preprocessing the prompt.";
        return Some(plain(422, message, "suffix not supported"));
    }
    ranges(request).or_else(|| limits(request))
}
