//! TensorRT-LLM's refusals: first of every field that its definition of a request does not name.

use serde_json::{Map, Value, json};

use crate::sim::prompt::{self, IMAGES};
use crate::sim::pydantic::{self, Field, Kind, Problem};
use crate::sim::simulator::{ApiRequest, Refusal};

/// Fields of a chat whose type is checked.
const CHAT: [Field; 15] = [
    ("messages", Kind::List, false),
    ("model", Kind::Text, false),
    ("frequency_penalty", Kind::Float, true),
    ("logprobs", Kind::Bool, true),
    ("top_logprobs", Kind::Int, true),
    ("max_tokens", Kind::Int, true),
    ("n", Kind::Int, false),
    ("presence_penalty", Kind::Float, true),
    ("seed", Kind::Int, true),
    ("stream", Kind::Bool, true),
    ("temperature", Kind::Float, true),
    ("top_p", Kind::Float, true),
    ("top_k", Kind::Int, false),
    ("parallel_tool_calls", Kind::Bool, true),
    ("chat_template_kwargs", Kind::Map, true),
];
/// Known fields of a chat whose type is not checked here.
const MORE: [&str; 43] = [
    "max_completion_tokens",
    "prompt_token_ids",
    "prompt_token_ids_b64",
    "logit_bias",
    "response_format",
    "stop",
    "stream_options",
    "tools",
    "tool_choice",
    "user",
    "reasoning_effort",
    "thinking",
    "thinking_token_budget",
    "prompt_ignore_length",
    "best_of",
    "use_beam_search",
    "top_p_min",
    "min_p",
    "repetition_penalty",
    "length_penalty",
    "early_stopping",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "truncate_prompt_tokens",
    "lora_request",
    "echo",
    "add_generation_prompt",
    "add_special_tokens",
    "documents",
    "chat_template",
    "injected_chat_template_kwargs",
    "media_io_kwargs",
    "disaggregated_params",
    "conversation_params",
    "cache_salt",
    "priority",
    "agent_hierarchy",
    "mm_processor_kwargs",
    "suffix",
];
/// Fields of a completion whose type is checked.
const COMPLETION: [Field; 5] = [
    ("model", Kind::Text, false),
    ("prompt", Kind::Text, false),
    ("max_tokens", Kind::Int, true),
    ("n", Kind::Int, false),
    ("temperature", Kind::Float, true),
];
/// Known fields of a completion whose type is not checked here.
const COMPLETION_MORE: [&str; 14] = [
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "top_p",
    "top_k",
    "user",
];
const FORMATS: [&str; 7] = ["text", "json", "json_schema", "json_object", "regex", "ebnf", "structural_tag"];
/// Size of the vocabulary of Qwen3.
const VOCABULARY: u64 = 151_936;

/// Returns a refusal of the server's own handlers, without the `error` envelope.
pub(super) fn flat(status: u16, kind: &str, message: &str) -> Refusal {
    let code = status;
    Refusal::json(status, json!({"object": "error", "message": message, "type": kind, "param": null, "code": code}))
}

fn bad(message: impl AsRef<str>) -> Refusal {
    flat(400, "BadRequestError", message.as_ref())
}

/// Returns pydantic's problems.
fn invalid(problems: &[Problem]) -> Refusal {
    Refusal::json(400, json!({"error": pydantic::list(problems)}))
}

pub(super) fn broken(body: &[u8]) -> Refusal {
    if serde_json::from_slice::<Value>(body).is_ok() {
        return Refusal::text(500, "Internal Server Error");
    }
    if body.is_empty() {
        return invalid(&[pydantic::no_body()]);
    }
    invalid(&[pydantic::invalid_json(body, "Expecting value")])
}

pub(super) fn chat(request: &ApiRequest<'_>) -> Option<Refusal> {
    let body = request.body;
    // A problem of the validator that runs before the types is the only one reported.
    if let Some(message) = before(body) {
        return Some(invalid(&[Problem::value_error(message, body)]));
    }
    let problems = problems(body);
    if !problems.is_empty() {
        return Some(invalid(&problems));
    }
    later(request)
}

/// Returns the problem of the validator that runs before the types.
fn before(body: &Map<String, Value>) -> Option<&'static str> {
    let truthy = |name: &str| match body.get(name) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Null) | None => false,
    };
    if body.get("stream_options").is_some_and(|options| !options.is_null()) && !truthy("stream") {
        return Some("stream_options can only be set if stream is true");
    }
    if body.get("tool_choice").is_some_and(|choice| choice != "none" && choice != "auto") && !truthy("tools") {
        return Some("When using `tool_choice`, `tools` must be set.");
    }
    if body.get("top_logprobs").is_some_and(|top| !top.is_null()) && !truthy("logprobs") {
        return Some("logprobs must be true when using top_logprobs");
    }
    truthy("suffix").then_some("suffix is not supported")
}

/// Returns the problems that pydantic finds.
fn problems(body: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let whole = Value::Object(body.clone());
    for field in ["messages", "model"].into_iter().filter(|field| !body.contains_key(*field)) {
        problems.push(Problem::missing(&[&field], &whole));
    }
    problems.extend(pydantic::types(body, &CHAT));
    problems.extend(roles(body));
    problems.extend(response_format(body));
    problems.extend(pydantic::stop(body, false));
    problems.extend(extra_in(body, "stream_options", &["include_usage", "continuous_usage_stats"]));
    problems.extend(pydantic::tools(body, true));
    problems.extend(tool_choice(body));
    problems.extend(effort(body));
    let known = |key: &str| CHAT.iter().any(|(name, ..)| *name == key) || MORE.contains(&key);
    problems.extend(extras(body, known));
    problems
}

/// Returns the unknown fields. `max_completion_tokens` is an alias of `max_tokens`, and unknown beside it.
fn extras(body: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Vec<Problem> {
    let both = body.contains_key("max_tokens");
    let unknown = |key: &&String| !known(key) || (both && *key == "max_completion_tokens");
    let found = body.keys().filter(unknown);
    found.filter_map(|key| Some(Problem::extra(&[&key.as_str()], body.get(key)?))).collect()
}

fn extra_in(body: &Map<String, Value>, field: &str, known: &[&str]) -> Vec<Problem> {
    let fields = body.get(field).and_then(Value::as_object).into_iter().flatten();
    let unknown = fields.filter(|(key, _)| !known.contains(&key.as_str()));
    unknown.map(|(key, value)| Problem::extra(&[&field, &key.as_str()], value)).collect()
}

fn roles(body: &Map<String, Value>) -> Vec<Problem> {
    let kinds = [
        "DynamicToolsSystemMessageParam",
        "ChatCompletionDeveloperMessageParam",
        "ChatCompletionSystemMessageParam",
        "ChatCompletionUserMessageParam",
        "ChatCompletionAssistantMessageParam",
    ];
    let messages = body.get("messages").and_then(Value::as_array).into_iter().flatten().enumerate();
    let without = messages.filter(|(_, message)| message.get("role").is_none());
    without
        .flat_map(|(at, message)| kinds.map(|kind| Problem::missing(&[&"messages", &at, &kind, &"role"], message)))
        .collect()
}

fn response_format(body: &Map<String, Value>) -> Vec<Problem> {
    let Some(format) = body.get("response_format").filter(|format| format.is_object()) else { return Vec::new() };
    let mut problems = Vec::new();
    if !format.get("type").and_then(Value::as_str).is_some_and(|kind| FORMATS.contains(&kind)) {
        let known = "'text', 'json', 'json_schema', 'json_object', 'regex', 'ebnf' or 'structural_tag'";
        problems.push(Problem::literal(&[&"response_format", &"type"], known, &format["type"]));
    }
    let fields = ["type", "schema", "json_schema", "regex", "ebnf", "format"];
    problems.extend(extra_in(body, "response_format", &fields));
    problems
}

fn tool_choice(body: &Map<String, Value>) -> Vec<Problem> {
    let (words, named) = ("literal['none','auto','required']", "ChatCompletionNamedToolChoiceParam");
    let literal = |choice: &Value| Problem::literal(&[&"tool_choice", &words], "'none', 'auto' or 'required'", choice);
    match body.get("tool_choice") {
        Some(choice @ Value::String(word)) if !["none", "auto", "required"].contains(&word.as_str()) => {
            let text = "Input should be a valid dictionary or object to extract fields from";
            let place: [&dyn pydantic::Place; 2] = [&"tool_choice", &named];
            vec![literal(choice), Problem::new("model_attributes_type", &place, text, choice.clone())]
        }
        Some(choice @ Value::Object(fields)) => {
            let function = choice.get("function");
            let kind = choice.get("type").filter(|kind| *kind != "function");
            let extra = fields.iter().filter(|(key, _)| !["type", "function"].contains(&key.as_str()));
            let extra: Vec<Problem> =
                extra.map(|(key, value)| Problem::extra(&[&"tool_choice", &named, &key.as_str()], value)).collect();
            if function.is_some() && kind.is_none() && extra.is_empty() {
                return Vec::new();
            }
            let mut problems = vec![literal(choice)];
            if function.is_none() {
                problems.push(Problem::missing(&[&"tool_choice", &named, &"function"], choice));
            }
            if let Some(kind) = kind {
                problems.push(Problem::literal(&[&"tool_choice", &named, &"type"], "'function'", kind));
            }
            problems.extend(extra);
            problems
        }
        _ => Vec::new(),
    }
}

fn effort(body: &Map<String, Value>) -> Vec<Problem> {
    let Some(effort) = body.get("reasoning_effort").and_then(Value::as_str) else { return Vec::new() };
    if ["low", "medium", "high", "max", "none"].contains(&effort) {
        return Vec::new();
    }
    let (first, second) = ("'Low', 'Medium' or 'High'", "'low', 'medium', 'high', 'max' or 'none'");
    let words = "literal['low','medium','high','max','none']";
    let input = json!(effort);
    let enumerated: [&dyn pydantic::Place; 2] = [&"reasoning_effort", &"str-enum[ReasoningEffort]"];
    vec![
        Problem::new("enum", &enumerated, format!("Input should be {first}"), input.clone())
            .context("expected", format!("\"{first}\"")),
        Problem::literal(&[&"reasoning_effort", &words], second, &input),
    ]
}

/// Returns the refusal of the handler, which checks a request whose types are right.
fn later(request: &ApiRequest<'_>) -> Option<Refusal> {
    let turns = prompt::turns(request.body);
    if !request.config.vision && turns.iter().any(|turn| turn.has(&IMAGES)) {
        return Some(bad("This model does not support image input."));
    }
    if let Some(raised) = prompt::raised(request.body, request.config.template) {
        return Some(bad(raised));
    }
    // A real server passes it to the engine, which then crashes.
    if request.number("top_k").is_some_and(|top_k| top_k < 0.0) {
        return Some(bad("top_k must be >= 0"));
    }
    if let Some(temperature) = request.number("temperature").filter(|temperature| *temperature < 0.0) {
        return Some(bad(format!("require temperature >= 0, got temperature={temperature:?}")));
    }
    if let Some(top_p) = request.number("top_p").filter(|top_p| !(0.0..=1.0).contains(top_p)) {
        return Some(bad(format!("require 0 <= top_p <= 1, got top_p={top_p:?}")));
    }
    let bias = request.field("logit_bias").and_then(Value::as_object);
    let mut ids = bias.into_iter().flatten().map(|(id, _)| id);
    if let Some(id) = ids.find(|id| id.parse::<u64>().is_ok_and(|id| id >= VOCABULARY)) {
        return Some(bad(format!("Token ID {id} out of vocabulary range [0, {VOCABULARY})")));
    }
    let limit = request.field("max_completion_tokens").or_else(|| request.field("max_tokens"));
    let (input, limit) = (request.prompt_tokens(), limit.and_then(Value::as_u64).unwrap_or(0));
    let most = request.config.max_model_len;
    (input + limit > most).then(|| {
        bad(format!(
            "The sum of prompt length ({input}) and max_tokens ({limit}) should not exceed max_num_tokens ({most})"
        ))
    })
}

pub(super) fn response(request: &ApiRequest<'_>) -> Option<Refusal> {
    let fields = [("model", Kind::Text, false), ("temperature", Kind::Float, true), ("top_p", Kind::Float, true)];
    let mut problems = pydantic::types(request.body, &fields);
    if !request.body.contains_key("input") {
        problems.push(Problem::missing(&[&"input"], &Value::Object(request.body.clone())));
    }
    let tiers = ["auto", "default", "flex", "scale", "priority"];
    if let Some(tier) = request.text("service_tier").filter(|tier| !tiers.contains(tier)) {
        let known = "'auto', 'default', 'flex', 'scale' or 'priority'";
        problems.push(Problem::literal(&[&"service_tier"], known, &json!(tier)));
    }
    if !problems.is_empty() {
        return Some(invalid(&problems));
    }
    if let Some(id) = request.text("previous_response_id") {
        return Some(flat(404, "NotFoundError", &format!("Response with id '{id}' not found.")));
    }
    later(request)
}

pub(super) fn completion(request: &ApiRequest<'_>) -> Option<Refusal> {
    if let Some(message) = before(request.body) {
        return Some(invalid(&[Problem::value_error(message, request.body)]));
    }
    let mut problems = Vec::new();
    for field in ["prompt", "model"].into_iter().filter(|field| !request.body.contains_key(*field)) {
        problems.push(Problem::missing(&[&field], &Value::Object(request.body.clone())));
    }
    let fields: Vec<Field> = COMPLETION.into_iter().filter(|(name, ..)| *name != "prompt").collect();
    problems.extend(pydantic::types(request.body, &fields));
    let known = |key: &str| COMPLETION.iter().any(|(name, ..)| *name == key) || COMPLETION_MORE.contains(&key);
    problems.extend(extras(request.body, known));
    (!problems.is_empty()).then(|| invalid(&problems))
}
