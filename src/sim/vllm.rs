//! vLLM 0.32's answers: every field, null and envelope as the recorded server gave them.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Call, Forced, Said, pieces};
use super::body::Step;
use super::server::Refusal;

const FINGERPRINT: &str = "vllm-0.32.0-61aecc63";
/// Of the recorded server's toy model.
const VOCABULARY: u64 = 2048;

pub(super) fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn bad(message: impl Into<String>, param: Option<&str>) -> Refusal {
    error(400, "BadRequestError", message, param)
}

/// What pydantic says, as vLLM hands it on.
fn invalid(problems: &[String], param: &str) -> Refusal {
    let plural = if problems.len() == 1 { "" } else { "s" };
    let message = format!("{} validation error{plural}:\n  {}", problems.len(), problems.join("\n  "));
    error(400, "Bad Request", message, Some(param))
}

pub(super) fn error(status: u16, kind: &str, message: impl Into<String>, param: Option<&str>) -> Refusal {
    let message = message.into();
    Refusal { status, body: json!({"error": {"message": message, "type": kind, "param": param, "code": status}}) }
}

pub(super) fn detail(status: u16) -> Refusal {
    let text = if status == 404 { "Not Found" } else { "Method Not Allowed" };
    Refusal { status, body: json!({"detail": text}) }
}

pub(super) fn broken_json(body: &[u8]) -> Refusal {
    let place = format!("body.{}", body.len());
    let problem = format!(
        "{{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', 'input': '<dict of 0 items>', 'ctx': {{'error': 'Expecting value'}}}}"
    );
    invalid(&[problem], &place)
}

/// Every refusal of a chat request that the recordings show.
pub(super) fn refuse(body: &Map<String, Value>, models: &[String], max_len: u64, size: usize) -> Option<Refusal> {
    let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
    if let Some(refusal) = types(body) {
        return Some(refusal);
    }
    if !models.is_empty() && !models.iter().any(|known| known == model) {
        let known = models.join(", ");
        let message = format!("The model `{model}` does not exist. Valid aliases: {known}.");
        return Some(error(404, "NotFoundError", message, Some("model")));
    }
    let temperature = body.get("temperature").and_then(Value::as_f64).unwrap_or(1.0);
    let messages = body.get("messages").and_then(Value::as_array);
    let tools = body.get("tools").and_then(Value::as_array);
    if tools.is_some_and(Vec::is_empty) {
        let message = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely. (parameter=tools)";
        return Some(bad(message, Some("tools")));
    }
    let choice = body.get("tool_choice").filter(|choice| !choice.is_null() && *choice != "none");
    if choice.is_some() && tools.is_none() {
        let message = "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)";
        return Some(bad(message, Some("tool_choice")));
    }
    if messages.is_some_and(Vec::is_empty) {
        let message = "Cannot apply chat template to an empty conversation. Provide at least one message.";
        return Some(bad(message, None));
    }
    if has_part(messages, "image_url") {
        return Some(bad(format!("{model} is not a multimodal model"), None));
    }
    ranges(body, temperature, max_len, size)
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

fn ranges(body: &Map<String, Value>, temperature: f64, max_len: u64, size: usize) -> Option<Refusal> {
    if !(0.0..=2.0).contains(&temperature) {
        let message = format!(
            "temperature must be in [0, 2], got {temperature:?}. (parameter=temperature, value={temperature:?})"
        );
        return Some(bad(message, Some("temperature")));
    }
    if let Some(top_p) = body.get("top_p").and_then(Value::as_f64)
        && !(top_p > 0.0 && top_p <= 1.0)
    {
        let message = format!("top_p must be in (0, 1], got {top_p:?}. (parameter=top_p, value={top_p:?})");
        return Some(bad(message, Some("top_p")));
    }
    if let Some(n) = body.get("n").and_then(Value::as_u64).filter(|n| *n > 1)
        && temperature == 0.0
    {
        return Some(bad(format!("n must be 1 when using greedy sampling, got {n}."), None));
    }
    if let Some(limit) = body.get("max_tokens").and_then(Value::as_u64).filter(|limit| *limit > max_len) {
        let message = format!(
            "max_tokens={limit} cannot be greater than max_model_len={max_len}. Please request fewer output tokens. (parameter=max_tokens, value={limit})"
        );
        return Some(bad(message, Some("max_tokens")));
    }
    if size as u64 / 8 > max_len {
        let least = max_len + 1;
        let message = format!(
            "This model's maximum context length is {max_len} tokens. However, your prompt contains at least {least} input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={least})"
        );
        return Some(bad(message, Some("input_tokens")));
    }
    let bias = body.get("logit_bias").and_then(Value::as_object);
    let foreign: Vec<&String> = bias
        .into_iter()
        .flatten()
        .map(|(id, _)| id)
        .filter(|id| id.parse::<u64>().is_ok_and(|id| id >= VOCABULARY))
        .collect();
    if let Some(id) = foreign.first() {
        let message = format!(
            "token_id(s) [{id}] in logit_bias contain out-of-vocab token ids. Vocabulary size: {VOCABULARY} (parameter=logit_bias, value=[{id}])"
        );
        return Some(bad(message, Some("logit_bias")));
    }
    let schema = body.get("response_format").and_then(|format| format.get("json_schema")?.get("schema"));
    let kind = schema.and_then(|schema| schema.get("type")?.as_str());
    const KINDS: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    kind.filter(|kind| !KINDS.contains(kind)).map(|kind| bad(format!("Grammar error: Invalid type: {kind}"), None))
}

fn has_part(messages: Option<&Vec<Value>>, kind: &str) -> bool {
    messages
        .into_iter()
        .flatten()
        .filter_map(|turn| turn.get("content")?.as_array())
        .flatten()
        .any(|part| part.get("type").is_some_and(|found| found == kind))
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

fn logprobs(ask: &Ask, tokens: &[String]) -> Value {
    ask.top_logprobs.map_or(
        Value::Null,
        |top| json!({"content": tokens.iter().map(|token| logprob(token, top)).collect::<Vec<_>>()}),
    )
}

fn finish(ask: &Ask, said: &Said) -> &'static str {
    match (ask.calls.is_empty(), ask.forced) {
        (true, _) => said.finish,
        (false, Forced::Named) => "stop",
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

fn usage(ask: &Ask, completion: u64, reasoning: u64, whole: bool) -> Value {
    let mut usage = json!({"prompt_tokens": ask.prompt_tokens, "total_tokens": ask.prompt_tokens + completion,
        "completion_tokens": completion, "completion_tokens_details": {"reasoning_tokens": reasoning}});
    if whole {
        usage["prompt_tokens_details"] = Value::Null;
    }
    usage
}

/// A call's tokens are those of its arguments; there is no other text.
fn spent(ask: &Ask, said: &[Said]) -> (u64, u64) {
    if ask.calls.is_empty() {
        let reasoning = said.iter().map(|one| one.reasoning.len() as u64).sum();
        return (said.iter().map(Said::count).sum(), reasoning);
    }
    (ask.calls.iter().map(|call| pieces(&call.arguments).len() as u64 + 4).sum(), 0)
}

pub(super) fn whole(ask: &Ask, said: &[Said], number: u64, created: u64) -> Value {
    let choices: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let reasoning = (!one.reasoning.is_empty()).then(|| one.reasoning.concat());
            let mut message = json!({"role": "assistant", "content": one.text(), "refusal": null, "annotations": null,
                "audio": null, "function_call": null, "reasoning": reasoning});
            if !ask.calls.is_empty() {
                message["content"] = if ask.forced == Forced::No { Value::Null } else { json!("") };
                message["tool_calls"] = calls(number, &ask.calls);
            }
            json!({"index": index, "message": message, "logprobs": logprobs(ask, &one.tokens),
                "finish_reason": finish(ask, one), "stop_reason": one.stop, "token_ids": null, "routed_experts": null})
        })
        .collect();
    let (completion, reasoning) = spent(ask, said);
    json!({"id": format!("chatcmpl-{}", id(number)), "object": "chat.completion", "created": created,
        "model": ask.model, "choices": choices, "service_tier": null, "system_fingerprint": FINGERPRINT,
        "usage": usage(ask, completion, reasoning, true), "prompt_logprobs": null, "prompt_token_ids": null,
        "prompt_text": null, "kv_transfer_params": null, "ec_transfer_params": null, "metrics": null})
}

/// The events of a streamed answer, in order.
pub(super) fn stream(ask: &Ask, said: &[Said], number: u64, created: u64) -> Vec<Step> {
    let chunk = |choices: Value| {
        json!({"id": format!("chatcmpl-{}", id(number)), "object": "chat.completion.chunk", "created": created,
            "model": ask.model, "choices": choices})
    };
    let mut steps = Vec::new();
    let mut spent_so_far = 0;
    let mut push = |mut event: Value, tokens: u64, steps: &mut Vec<Step>| {
        spent_so_far += tokens;
        if ask.continuous_usage {
            event["usage"] = usage(ask, spent_so_far, 0, false);
        }
        steps.push(Step::event(&event, tokens > 0));
    };
    for index in 0..said.len() {
        let delta = json!({"role": "assistant", "content": ""});
        let mut event = chunk(json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]));
        event["prompt_token_ids"] = Value::Null;
        event["prompt_text"] = Value::Null;
        push(event, 0, &mut steps);
    }
    for (index, one) in said.iter().enumerate() {
        let mut deltas = deltas(ask, one, number);
        // An answer cut at its limit says so with its last token; otherwise the end token brings an event of its own.
        let cut = finish(ask, one) == "length";
        let (last, logprobs) = deltas.pop_if(|_| cut).unwrap_or_else(|| (json!({}), Value::Null));
        for (delta, logprobs) in deltas {
            let choice = json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null,
                "token_ids": null}]);
            push(chunk(choice), 1, &mut steps);
        }
        let mut event = chunk(json!([{"index": index, "delta": last, "logprobs": logprobs,
            "finish_reason": finish(ask, one), "stop_reason": one.stop, "token_ids": null}]));
        if !ask.include_usage {
            event["system_fingerprint"] = json!(FINGERPRINT);
        }
        push(event, u64::from(cut), &mut steps);
    }
    if ask.include_usage {
        let (completion, reasoning) = spent(ask, said);
        let mut event = chunk(json!([]));
        event["usage"] = usage(ask, completion, reasoning, false);
        event["system_fingerprint"] = json!(FINGERPRINT);
        steps.push(Step::event(&event, false));
    }
    steps.push(Step::done());
    steps
}

fn deltas(ask: &Ask, said: &Said, number: u64) -> Vec<(Value, Value)> {
    if ask.calls.is_empty() {
        let entry =
            |token: &String| ask.top_logprobs.map_or(Value::Null, |top| json!({"content": [logprob(token, top)]}));
        let reasoning = said.reasoning.iter().map(|token| (json!({"reasoning": token}), entry(token)));
        return reasoning.chain(said.tokens.iter().map(|token| (json!({"content": token}), entry(token)))).collect();
    }
    let mut deltas = Vec::new();
    for (at, call) in ask.calls.iter().enumerate() {
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

pub(super) fn models(names: &[String], max_len: u64, number: u64, created: u64) -> Value {
    let entries = names.iter().map(|name| {
        json!({"id": name, "object": "model", "created": created, "owned_by": "vllm", "root": format!("/models/{name}"),
            "parent": null, "max_model_len": max_len, "permission": [{"id": format!("modelperm-{}", id(number)),
            "object": "model_permission", "created": created, "allow_create_engine": false, "allow_sampling": true,
            "allow_logprobs": true, "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
            "organization": "*", "group": null, "is_blocking": false}]})
    });
    json!({"object": "list", "data": entries.collect::<Vec<_>>()})
}
