//! vLLM's refusals, in its own words.

use serde_json::{Map, Value, json};

use crate::sim::prompt::{self, IMAGES};
use crate::sim::schema;
use crate::sim::simulator::{ApiRequest, Refusal};

/// Size of the vocabulary of the recorded server's toy model.
const VOCABULARY: u64 = 2048;

fn bad(message: impl Into<String>, param: Option<&str>) -> Refusal {
    error(400, "BadRequestError", message, param)
}

/// Returns pydantic's problems in vLLM's envelope.
pub(super) fn invalid(problems: &[String], param: &str) -> Refusal {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let message = format!("{} validation error{plural}:\n  {}", problems.len(), problems.join("\n  "));
    error(400, "Bad Request", message, Some(param))
}

pub(super) fn error(status: u16, kind: &str, message: impl Into<String>, param: Option<&str>) -> Refusal {
    let message = message.into();
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": status}}))
}

pub(super) fn model(request: &ApiRequest<'_>) -> Option<Refusal> {
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
    let fields = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    let limit = fields.iter().find_map(|field| request.field(field)).and_then(Value::as_u64);
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
    let schema = schema::prescribed(body)?;
    const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    if let Some(kind) = schema.get("type").and_then(Value::as_str).filter(|kind| !KINDS.contains(kind)) {
        return Some(bad(format!("Grammar error: Invalid type: {kind}"), None));
    }
    let unsupported = schema::keyword(schema, &["uniqueItems"]);
    unsupported.map(|_| bad("The provided JSON schema contains features not supported by xgrammar.", None))
}

/// Returns the refusal of a chat.
pub(super) fn chat(request: &ApiRequest<'_>) -> Option<Refusal> {
    let body = request.body;
    types(body)
        .or_else(|| model(request))
        .or_else(|| tools(request))
        .or_else(|| messages(request))
        .or_else(|| ranges(request))
        .or_else(|| grammar(body))
}

/// Returns the refusal of a request of `/v1/responses`.
pub(super) fn response(request: &ApiRequest<'_>) -> Option<Refusal> {
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
    model(request).or_else(|| messages(request)).or_else(|| ranges(request)).or_else(|| grammar(request.body))
}
