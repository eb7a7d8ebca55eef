//! SGLang's refusals: its six error bodies, in its own words.

use serde_json::{Map, Value, json};

use super::problems;
use crate::sim::prompt::{self, IMAGES};
use crate::sim::pydantic::{self, Field, Kind, Problem};
use crate::sim::schema;
use crate::sim::simulator::{ApiRequest, Refusal};

/// Path that every message about a wrong type contains.
const FILE: &str = "/usr/local/lib/python3.12/dist-packages/sglang/srt/entrypoints/http_server.py";
/// Size of the vocabulary of the recorded server's toy model.
const VOCABULARY: u64 = 2048;
/// Limit of stop strings; more are refused.
const MAX_STOPS: usize = 32;

const COMPLETION: [Field; 6] = [
    ("model", Kind::Text, false),
    ("echo", Kind::Bool, false),
    ("max_tokens", Kind::Int, true),
    ("n", Kind::Int, false),
    ("stream", Kind::Bool, false),
    ("temperature", Kind::Float, true),
];
const RESPONSE: [Field; 4] = [
    ("model", Kind::Text, false),
    ("max_output_tokens", Kind::Int, true),
    ("temperature", Kind::Float, true),
    ("stream", Kind::Bool, true),
];

/// Returns a refusal without the `error` envelope.
pub(super) fn flat(status: u16, kind: &str, message: &str) -> Refusal {
    let code = status;
    Refusal::json(status, json!({"object": "error", "message": message, "type": kind, "param": null, "code": code}))
}

fn bad(message: impl AsRef<str>) -> Refusal {
    flat(400, "BadRequestError", message.as_ref())
}

/// Returns line and function that serve a path, for the traceback in a message.
fn place(path: &str) -> (u32, &'static str) {
    match path {
        "/v1/responses" => (2066, "v1_responses_request"),
        "/v1/completions" => (1860, "openai_v1_completions"),
        _ => (1870, "openai_v1_chat_completions"),
    }
}

/// Returns pydantic's problems in SGLang's envelope. The message has them twice, with a traceback in between.
fn invalid(problems: &[Problem], path: &str) -> Refusal {
    let (line, function) = place(path);
    let plural = if problems.len() == 1 { "" } else { "s" };
    let each: Vec<String> = problems.iter().map(Problem::text).collect();
    let message = format!(
        "{} validation error{plural}:\n  {}\n\n  File \"{FILE}\", line {line}, in {function}\n    POST {path} {}",
        problems.len(),
        each.join("\n  "),
        pydantic::list(problems)
    );
    match path {
        "/v1/responses" => {
            let error = json!({"message": message, "type": "Bad Request", "param": null, "code": 400});
            Refusal::json(400, json!({"error": error}))
        }
        _ => flat(400, "Bad Request", &message),
    }
}

pub(super) fn broken(body: &[u8], path: &str) -> Refusal {
    if serde_json::from_slice::<Value>(body).is_ok() {
        return Refusal::text(500, "Internal Server Error");
    }
    if body.is_empty() {
        return invalid(&[pydantic::no_body()], path);
    }
    let ended = serde_json::from_slice::<Value>(body).is_err_and(|error| error.is_eof());
    let why = if ended { "unexpected end of data" } else { "unexpected character, expected a JSON value" };
    invalid(&[pydantic::invalid_json(body, why)], path)
}

pub(super) fn content_type() -> Refusal {
    let problem = "{'loc': ['header', 'content-type'], 'msg': \"Unsupported Media Type: Only 'application/json' is \
        allowed\", 'type': 'value_error'}";
    flat(400, "Bad Request", &format!("1 validation error:\n  {problem} [{problem}]"))
}

pub(super) fn chat(request: &ApiRequest<'_>) -> Option<Refusal> {
    let problems = problems::of_chat(request.body);
    if !problems.is_empty() {
        return Some(invalid(&problems, request.path));
    }
    tools(request)
        .or_else(|| shape(request))
        .or_else(|| length(request))
        .or_else(|| ranges(request))
        .or_else(|| format(request))
        .or_else(|| template(request))
}

fn tools(request: &ApiRequest<'_>) -> Option<Refusal> {
    let tools = request.list("tools").filter(|tools| !tools.is_empty());
    let choice = request.field("tool_choice")?;
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    let Some(tools) = tools else {
        if choice == "required" {
            return Some(bad("Tools cannot be empty if tool choice is set to required."));
        }
        return named.map(|_| bad("Tools cannot be empty if tool choice is set to a specific tool."));
    };
    if let Some(name) = named
        && !tools.iter().any(|tool| tool.pointer("/function/name").is_some_and(|known| known == name))
    {
        return Some(bad(format!("Tool '{name}' not found in tools list.")));
    }
    let constrained = request.field("response_format").is_some_and(|format| format["type"] != "text");
    ((named.is_some() || choice == "required") && constrained).then(|| {
        let message = "tool_choice 'required' or a named tool cannot be combined with response_format, regex, or ebnf: \
            the tool-call constraint and the output constraint cannot both be honored.";
        flat(400, "BadRequest", message)
    })
}

fn shape(request: &ApiRequest<'_>) -> Option<Refusal> {
    if request.list("messages").is_some_and(Vec::is_empty) {
        return Some(bad("Messages cannot be empty."));
    }
    if let Some((_, adapter)) = request.text("model").and_then(|model| model.split_once(':')) {
        return Some(bad(format!(
            "LoRA adapter '{adapter}' was requested, but LoRA is not enabled. Please launch the server with --enable-lora flag and preload adapters using --lora-paths or /load_lora_adapter endpoint."
        )));
    }
    if request.field("chat_template_kwargs").is_some_and(|kwargs| kwargs.get("chat_template").is_some()) {
        let message = "Request-supplied chat_template is not allowed. Start the server with \
            --trust-request-chat-template to permit it.";
        return Some(bad(message));
    }
    for (at, tool) in request.list("tools").into_iter().flatten().enumerate() {
        const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
        let kind = tool.pointer("/function/parameters/type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| !KINDS.contains(kind)) {
            return Some(bad(format!(
                "Tool {at} function has invalid 'parameters' schema: '{kind}' is not valid under any of the given schemas"
            )));
        }
    }
    let turns = prompt::turns(request.body);
    let foreign = [(&IMAGES[..], "image_url"), (&["input_audio", "audio_url"][..], "audio_url")];
    let refused = foreign.into_iter().find(|(kinds, _)| turns.iter().any(|turn| turn.has(kinds)));
    refused
        .filter(|(_, kind)| !request.config.vision || *kind != "image_url")
        .map(|(_, kind)| bad(format!("Model only supports text input; received unsupported content type '{kind}'.")))
}

/// Returns the refusal of a prompt, a limit, or a sum of both above the context: each has its own message.
fn length(request: &ApiRequest<'_>) -> Option<Refusal> {
    let most = request.config.max_model_len;
    let limit = request.field("max_completion_tokens").or_else(|| request.field("max_tokens"));
    if let Some(limit) = limit.and_then(Value::as_i64).filter(|limit| *limit < 0) {
        return Some(bad(format!("max_new_tokens must be at least 0, got {limit}.")));
    }
    let limit = limit.and_then(Value::as_u64).unwrap_or(0);
    if limit > most {
        return Some(bad(format!(
            "max_completion_tokens is too large: {limit}.This model supports at most {most} completion tokens."
        )));
    }
    let input = request.prompt_tokens();
    if input > most {
        return Some(bad(format!(
            "The input ({input} tokens) is longer than the model's context length ({most} tokens)."
        )));
    }
    (input + limit > most).then(|| {
        bad(format!(
            "Requested token count exceeds the model's maximum context length of {most} tokens. You requested a total of {} tokens: {input} tokens from the input messages and {limit} tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
            input + limit
        ))
    })
}

fn ranges(request: &ApiRequest<'_>) -> Option<Refusal> {
    if let Some(temperature) = request.number("temperature").filter(|temperature| *temperature < 0.0) {
        return Some(bad(format!("temperature must be a non-negative finite number, got {temperature:?}.")));
    }
    if let Some(top_p) = request.number("top_p").filter(|top_p| !(*top_p > 0.0 && *top_p <= 1.0)) {
        return Some(bad(format!("top_p must be in (0, 1], got {top_p:?}.")));
    }
    for field in ["presence_penalty", "frequency_penalty"] {
        if let Some(penalty) = request.number(field).filter(|penalty| penalty.abs() > 2.0) {
            return Some(bad(format!("{field} must be in [-2, 2], got {penalty:?}.")));
        }
    }
    if request.field("n").and_then(Value::as_u64) == Some(0) {
        return Some(flat(400, "BadRequest", "range() arg 3 must not be zero"));
    }
    if let Some(count) = request.list("stop").map(Vec::len).filter(|count| *count > MAX_STOPS) {
        return Some(bad(format!("at most {MAX_STOPS} stop strings are allowed, got {count}")));
    }
    if let Some(seed) = request.field("seed").filter(|seed| seed.as_i64().is_none() && seed.is_u64()) {
        return Some(bad(format!("sampling_seed must be in [-2**63, 2**63 - 1], got {seed}.")));
    }
    let bias = request.field("logit_bias").and_then(Value::as_object);
    bias.into_iter().flatten().find_map(|(id, _)| match id.parse::<u64>() {
        Ok(id) if id < VOCABULARY => None,
        Ok(id) => Some(bad(format!("logit_bias must has keys in [0, {}], got {id}.", VOCABULARY - 1))),
        Err(_) => Some(bad(format!("invalid literal for int() with base 10: '{id}'"))),
    })
}

fn format(request: &ApiRequest<'_>) -> Option<Refusal> {
    let format = request.field("response_format").filter(|format| format["type"] == "json_schema")?;
    if format.pointer("/json_schema/schema").is_none_or(Value::is_null) {
        return Some(bad("schema_ is required for json_schema response format request."));
    }
    grammar(request.body).map(bad)
}

/// Returns the problem of the compiler of grammars with a schema.
fn grammar(body: &Map<String, Value>) -> Option<String> {
    const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let schema = schema::prescribed(body)?;
    let unsupported = match schema.get("type").and_then(Value::as_str).filter(|kind| !KINDS.contains(kind)) {
        Some(kind) => format!("type \"{kind}\""),
        None => format!("keyword \"{}\"", schema::keyword(schema, &KEYWORDS).or_else(|| sized_pattern(schema))?),
    };
    let place = "/project/cpp/json_schema_converter.cc:4175";
    Some(format!("Failed to compile json grammar: {place}: Unsupported {unsupported}\n"))
}

/// Keywords that the compiler does not know.
const KEYWORDS: [&str; 6] = ["multipleOf", "not", "uniqueItems", "if", "then", "else"];

/// Returns `pattern` if it stands beside a length, which the compiler refuses.
fn sized_pattern(schema: &Value) -> Option<&'static str> {
    let is_sized = |fields: &Map<String, Value>| {
        fields.get("pattern").is_some_and(Value::is_string)
            && ["minLength", "maxLength"].iter().any(|name| fields.get(*name).is_some_and(Value::is_number))
    };
    match schema {
        Value::Object(fields) if is_sized(fields) => Some("pattern"),
        Value::Object(fields) => fields.values().find_map(sized_pattern),
        Value::Array(list) => list.iter().find_map(sized_pattern),
        _ => None,
    }
}

fn template(request: &ApiRequest<'_>) -> Option<Refusal> {
    if !prompt::arguments_are_json(request.body) {
        return Some(flat(400, "BadRequest", "Assistant tool call function.arguments must be valid JSON."));
    }
    prompt::raised(request.body, request.config.template).map(|raised| flat(400, "BadRequest", raised))
}

/// Returns a refusal in OpenAI's envelope.
fn nested(status: u16, message: &str, param: Option<&str>) -> Refusal {
    let kind = "invalid_request_error";
    Refusal::json(status, json!({"error": {"message": message, "type": kind, "param": param, "code": status}}))
}

/// Returns the refusal of every use of stored responses.
pub(super) fn no_store(param: &str) -> Refusal {
    let message = "Response store is disabled. Stateful Responses require --enable-response-store on a standalone \
        server; response storage is unavailable in PD mode.";
    nested(400, message, Some(param))
}

/// Returns the refusal of `/v1/embeddings`.
pub(super) fn no_embeddings() -> Refusal {
    let message = "This model does not appear to be an embedding model by default. Please add `--is-embedding` when \
        launching the server or try another model.";
    bad(message)
}

pub(super) fn response(request: &ApiRequest<'_>) -> Option<Refusal> {
    let mut problems = pydantic::types(request.body, &RESPONSE);
    if !request.body.contains_key("input") {
        problems.push(Problem::missing(&[&"input"], &Value::Object(request.body.clone())));
    }
    let tiers = ["auto", "default", "flex", "scale", "priority"];
    if let Some(tier) = request.text("service_tier").filter(|tier| !tiers.contains(tier)) {
        let known = "'auto', 'default', 'flex', 'scale' or 'priority'";
        problems.push(Problem::literal(&[&"service_tier"], known, &json!(tier)));
    }
    if !problems.is_empty() {
        return Some(invalid(&problems, request.path));
    }
    if request.field("previous_response_id").is_some() {
        return Some(no_store("previous_response_id"));
    }
    if request.field("background").is_some_and(|background| background == true) {
        return Some(no_store("background"));
    }
    if let Some(raised) = prompt::raised(request.body, request.config.template) {
        return Some(nested(400, raised, None));
    }
    let (input, most) = (request.prompt_tokens(), request.config.max_model_len);
    let limit = request.field("max_output_tokens").and_then(Value::as_u64).unwrap_or(0);
    let problem = if input > most {
        format!("The input ({input} tokens) is longer than the model's context length ({most} tokens).")
    } else if input + limit > most {
        format!("Requested token count exceeds the model's maximum context length of {most} tokens.")
    } else {
        grammar(request.body)?
    };
    let failed = json!({"code": "server_error", "message": problem});
    Some(nested(400, &problem, None).in_stream(failed))
}

pub(super) fn completion(request: &ApiRequest<'_>) -> Option<Refusal> {
    let mut problems = pydantic::types(request.body, &COMPLETION);
    if !request.body.contains_key("prompt") {
        problems.push(Problem::missing(&[&"prompt"], &Value::Object(request.body.clone())));
    }
    if !problems.is_empty() {
        return Some(invalid(&problems, request.path));
    }
    if request.text("prompt") == Some("") {
        return Some(bad("Prompt cannot be empty"));
    }
    length(request)
}
