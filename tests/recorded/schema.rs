//! OpenAI's shapes: every field that must be there with its type, and none beside them.

use serde_json::Value;
use shiftgate::api::translate::{AnswerSpec, Owner, owner_of_call, owner_of_response};

use super::MODEL;

type Check = fn(&Value) -> bool;

const NULL: Check = Value::is_null;
const TEXT: Check = Value::is_string;
const NUMBER: Check = Value::is_number;
const COUNT: Check = Value::is_u64;
const LIST: Check = Value::is_array;
const BOOL: Check = Value::is_boolean;
const ANY: Check = |_| true;
const TEXT_OR_NULL: Check = |value| value.is_string() || value.is_null();
const OBJECT_OR_NULL: Check = |value| value.is_object() || value.is_null();
const IS_MODEL: Check = |value| value == MODEL;

/// All of `fields`, those of `optional` that are there, nothing else.
#[track_caller]
fn object(value: &Value, fields: &[(&str, Check)], optional: &[(&str, Check)]) {
    let found = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for (name, check) in fields {
        let field = found.get(*name).unwrap_or_else(|| panic!("{name} is missing: {value}"));
        assert!(check(field), "{name}: {field}\nin {value}");
    }
    for (name, field) in found {
        let check = fields.iter().chain(optional).find(|(known, _)| known == name);
        let (_, check) = check.unwrap_or_else(|| panic!("{name} is not OpenAI's: {value}"));
        assert!(check(field), "{name}: {field}\nin {value}");
    }
}

#[track_caller]
fn envelope(value: &Value, object_name: &str) {
    assert_eq!(value["object"], object_name);
    let id = value["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-") && id.len() > 9, "{id}");
    assert!(value["created"].as_i64().unwrap() > 1_700_000_000, "{value}");
}

#[track_caller]
pub(crate) fn usage(value: &Value) {
    object(
        value,
        &[
            ("prompt_tokens", COUNT),
            ("completion_tokens", COUNT),
            ("total_tokens", COUNT),
            ("prompt_tokens_details", ANY),
            ("completion_tokens_details", ANY),
        ],
        &[],
    );
    object(&value["prompt_tokens_details"], &[("cached_tokens", COUNT), ("audio_tokens", COUNT)], &[]);
    object(
        &value["completion_tokens_details"],
        &[
            ("reasoning_tokens", COUNT),
            ("audio_tokens", COUNT),
            ("accepted_prediction_tokens", COUNT),
            ("rejected_prediction_tokens", COUNT),
        ],
        &[],
    );
}

#[track_caller]
fn logprobs(value: &Value) {
    if value.is_null() {
        return;
    }
    object(value, &[("content", LIST), ("refusal", NULL)], &[]);
    const TOKEN: [(&str, Check); 3] =
        [("token", TEXT), ("logprob", NUMBER), ("bytes", |bytes| bytes.is_array() || bytes.is_null())];
    for entry in value["content"].as_array().unwrap() {
        object(entry, &[TOKEN[0], TOKEN[1], TOKEN[2], ("top_logprobs", LIST)], &[]);
        entry["top_logprobs"].as_array().unwrap().iter().for_each(|top| object(top, &TOKEN, &[]));
    }
}

#[track_caller]
fn finish(value: &Value) {
    const REASONS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "function_call"];
    assert!(REASONS.contains(&value.as_str().unwrap()), "{value}");
}

#[track_caller]
fn is_ours(id: &Value, owner: Owner) {
    assert_eq!(owner_of_call(id.as_str().unwrap()), Some(owner), "{id}");
    assert!(id.as_str().unwrap().len() <= 40, "{id}");
}

#[track_caller]
fn arguments(value: &Value) {
    assert!(!value.as_str().unwrap().is_empty(), "empty arguments");
}

#[track_caller]
pub(crate) fn chat(value: &Value, wants: &AnswerSpec) {
    object(
        value,
        &[
            ("id", TEXT),
            ("object", TEXT),
            ("created", COUNT),
            ("model", IS_MODEL),
            ("choices", LIST),
            ("service_tier", NULL),
            ("system_fingerprint", NULL),
        ],
        &[("usage", ANY)],
    );
    envelope(value, "chat.completion");
    if let Some(told) = value.get("usage") {
        usage(told);
    }
    for choice in value["choices"].as_array().unwrap() {
        let fields = [("index", COUNT), ("message", ANY), ("logprobs", ANY), ("finish_reason", ANY)];
        object(choice, &fields, &[]);
        finish(&choice["finish_reason"]);
        logprobs(&choice["logprobs"]);
        let message = &choice["message"];
        let calls: &[(&str, Check)] = match wants.functions {
            true => &[("function_call", Value::is_object)],
            false => &[("tool_calls", LIST)],
        };
        let is_empty_list: Check = |list| list.as_array().is_some_and(Vec::is_empty);
        let texts: [(&str, Check); 4] = [
            ("role", |role| role == "assistant"),
            ("content", TEXT_OR_NULL),
            ("refusal", TEXT_OR_NULL),
            ("annotations", is_empty_list),
        ];
        object(message, &texts, calls);
        let has_calls = message.get("tool_calls").is_some() || message.get("function_call").is_some();
        assert!(has_calls || message["content"].is_string(), "{message}");
        if let Some(call) = message.get("function_call") {
            object(call, &[("name", TEXT), ("arguments", TEXT)], &[]);
            arguments(&call["arguments"]);
        }
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            object(call, &[("id", TEXT), ("type", |kind| kind == "function"), ("function", ANY)], &[]);
            object(&call["function"], &[("name", TEXT), ("arguments", TEXT)], &[]);
            is_ours(&call["id"], wants.owner);
            arguments(&call["function"]["arguments"]);
        }
        assert!(message.get("tool_calls").is_none_or(|calls| !calls.as_array().unwrap().is_empty()));
    }
}

/// The events of a whole stream: order and shape of each.
#[track_caller]
pub(crate) fn chat_stream(events: &[Value], wants: &AnswerSpec) {
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(last, "[DONE]");
    let mut finished = 0;
    let mut begun = Vec::new();
    for (place, chunk) in chunks.iter().enumerate() {
        assert_ne!(chunk, "[DONE]", "said twice");
        let usage_field: &[(&str, Check)] = if wants.usage_chunk { &[("usage", ANY)] } else { &[] };
        let mut fields = vec![
            ("id", TEXT),
            ("object", TEXT),
            ("created", COUNT),
            ("model", IS_MODEL),
            ("service_tier", NULL),
            ("system_fingerprint", NULL),
            ("choices", LIST),
        ];
        fields.extend(usage_field);
        object(chunk, &fields, &[]);
        envelope(chunk, "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&events[0]["id"], &events[0]["created"]));
        let choices = chunk["choices"].as_array().unwrap();
        if choices.is_empty() {
            assert!(wants.usage_chunk && place + 1 == chunks.len(), "a chunk without choices: {chunk}");
            usage(&chunk["usage"]);
            continue;
        }
        assert!(chunk.get("usage").is_none_or(Value::is_null), "{chunk}");
        for choice in choices {
            let fields = [("index", COUNT), ("delta", ANY), ("logprobs", ANY), ("finish_reason", TEXT_OR_NULL)];
            object(choice, &fields, &[]);
            logprobs(&choice["logprobs"]);
            let is_first = !begun.contains(&choice["index"]);
            if is_first {
                begun.push(choice["index"].clone());
            }
            delta(&choice["delta"], is_first, wants);
            if !choice["finish_reason"].is_null() {
                finish(&choice["finish_reason"]);
                finished += 1;
            }
        }
    }
    assert_eq!(finished, begun.len(), "each choice ends once");
}

#[track_caller]
fn delta(delta: &Value, is_first: bool, wants: &AnswerSpec) {
    let role: &[(&str, Check)] = match is_first {
        true => &[("role", |role| role == "assistant"), ("content", TEXT_OR_NULL), ("refusal", TEXT_OR_NULL)],
        false => &[],
    };
    let calls: (&str, Check) = match wants.functions {
        true => ("function_call", Value::is_object),
        false => ("tool_calls", LIST),
    };
    object(delta, role, &[("content", TEXT_OR_NULL), ("refusal", TEXT), calls]);
    for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        if call.get("id").is_some() {
            let fields: [(&str, Check); 4] =
                [("index", COUNT), ("id", TEXT), ("type", |kind| kind == "function"), ("function", ANY)];
            object(call, &fields, &[]);
            is_ours(&call["id"], wants.owner);
            object(&call["function"], &[("name", TEXT), ("arguments", |text| text == "")], &[]);
        } else {
            object(call, &[("index", COUNT), ("function", ANY)], &[]);
            object(&call["function"], &[("arguments", TEXT)], &[]);
            arguments(&call["function"]["arguments"]);
        }
    }
    if let Some(call) = delta.get("function_call") {
        object(call, &[("arguments", TEXT)], &[("name", TEXT)]);
    }
}

#[track_caller]
pub(crate) fn error(value: &Value) {
    object(value, &[("error", ANY)], &[]);
    let inside = &value["error"];
    object(inside, &[("message", TEXT), ("type", TEXT), ("param", TEXT_OR_NULL), ("code", TEXT_OR_NULL)], &[]);
    let message = inside["message"].as_str().unwrap();
    assert!(!message.is_empty() && message.len() <= 8000 && !message.contains('\n'), "{message}");
    assert!(!message.contains(".py"), "{message}");
    let kinds = ["invalid_request_error", "rate_limit_error", "server_error"];
    assert!(kinds.contains(&inside["type"].as_str().unwrap()), "{inside}");
}

const RESPONSE: [(&str, Check); 27] = [
    ("id", TEXT),
    ("object", |object| object == "response"),
    ("created_at", NUMBER),
    ("status", TEXT),
    ("background", BOOL),
    ("error", NULL),
    ("incomplete_details", OBJECT_OR_NULL),
    ("instructions", TEXT_OR_NULL),
    ("max_output_tokens", ANY),
    ("max_tool_calls", ANY),
    ("model", IS_MODEL),
    ("output", LIST),
    ("parallel_tool_calls", BOOL),
    ("previous_response_id", NULL),
    ("reasoning", Value::is_object),
    ("service_tier", NULL),
    ("store", |store| store == false),
    ("temperature", ANY),
    ("text", Value::is_object),
    ("tool_choice", |choice| choice.is_string() || choice.is_object()),
    ("tools", LIST),
    ("top_logprobs", ANY),
    ("top_p", ANY),
    ("truncation", TEXT_OR_NULL),
    ("usage", OBJECT_OR_NULL),
    ("user", TEXT_OR_NULL),
    ("metadata", Value::is_object),
];

#[track_caller]
pub(crate) fn response(value: &Value, wants: &AnswerSpec) {
    object(value, &RESPONSE, &[]);
    let (owner, own) = owner_of_response(value["id"].as_str().unwrap()).unwrap();
    assert!(owner == wants.owner && !own.is_empty());
    if let Some(told) = value.get("usage").filter(|told| !told.is_null()) {
        let counts = [("input_tokens", COUNT), ("output_tokens", COUNT), ("total_tokens", COUNT)];
        object(told, &counts, &[("input_tokens_details", ANY), ("output_tokens_details", ANY)]);
        object(&told["input_tokens_details"], &[("cached_tokens", COUNT), ("cache_write_tokens", COUNT)], &[]);
        object(&told["output_tokens_details"], &[("reasoning_tokens", COUNT)], &[]);
    }
    for tool in value["tools"].as_array().unwrap() {
        let optional =
            [("name", TEXT), ("description", TEXT), ("parameters", Value::is_object as Check), ("strict", BOOL)];
        object(tool, &[("type", TEXT)], &optional);
    }
    value["output"].as_array().unwrap().iter().for_each(|item| self::item(item, wants));
}

#[track_caller]
fn item(item: &Value, wants: &AnswerSpec) {
    match item["type"].as_str().unwrap() {
        "message" => {
            let fields = [("id", TEXT), ("type", TEXT), ("status", TEXT), ("content", LIST), ("role", TEXT)];
            object(item, &fields, &[]);
            assert!(item["id"].as_str().unwrap().starts_with("msg_"));
            item["content"].as_array().unwrap().iter().for_each(part);
        }
        "function_call" => {
            let texts = [("id", TEXT), ("type", TEXT), ("status", TEXT), ("call_id", TEXT), ("name", TEXT)];
            object(item, &texts, &[("arguments", TEXT)]);
            is_ours(&item["call_id"], wants.owner);
        }
        other => panic!("{other} is shown: {item}"),
    }
}

#[track_caller]
fn part(part: &Value) {
    let fields: [(&str, Check); 4] =
        [("type", |kind| kind == "output_text"), ("annotations", LIST), ("logprobs", LIST), ("text", TEXT)];
    object(part, &fields, &[]);
}

/// The events of a whole stream of `/v1/responses`: numbered without a gap, items in order, done as they were begun.
#[track_caller]
pub(crate) fn response_stream(text: &str, events: &[Value], wants: &AnswerSpec) {
    let mut texts: Vec<String> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        assert!(text.contains(&format!("event: {kind}\ndata: {{\"type\":\"{kind}\"")));
        assert_eq!(event["sequence_number"], number);
        let inside = [("type", TEXT), ("sequence_number", COUNT), ("item_id", TEXT), ("output_index", COUNT)];
        let with = |more: &[(&'static str, Check)]| [&inside[..], more].concat();
        match kind {
            "response.created" | "response.in_progress" | "response.completed" | "response.incomplete" => {
                object(event, &[inside[0], inside[1], ("response", ANY)], &[]);
                response(&event["response"], wants);
                assert_eq!(event["response"]["id"], events[0]["response"]["id"]);
            }
            "response.output_item.added" | "response.output_item.done" => {
                object(event, &[inside[0], inside[1], inside[3], ("item", ANY)], &[]);
                item(&event["item"], wants);
                if kind == "response.output_item.added" {
                    assert_eq!(event["output_index"], texts.len(), "{event}");
                    texts.push(String::new());
                }
            }
            "response.content_part.added" | "response.content_part.done" => {
                object(event, &with(&[("content_index", COUNT), ("part", ANY)]), &[]);
                part(&event["part"]);
            }
            "response.output_text.delta" => {
                object(event, &with(&[("content_index", COUNT), ("delta", TEXT), ("logprobs", LIST)]), &[]);
                texts[usize::try_from(event["output_index"].as_u64().unwrap()).unwrap()] +=
                    event["delta"].as_str().unwrap();
            }
            "response.output_text.done" => {
                object(event, &with(&[("content_index", COUNT), ("text", TEXT), ("logprobs", LIST)]), &[]);
                assert_eq!(event["text"], *texts.last().unwrap());
            }
            "response.function_call_arguments.delta" => object(event, &with(&[("delta", TEXT)]), &[]),
            "response.function_call_arguments.done" => {
                object(event, &with(&[("arguments", TEXT)]), &[]);
                arguments(&event["arguments"]);
            }
            other => panic!("{other}: {event}"),
        }
    }
    let done: Vec<&Value> = events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap();
    assert_eq!(output.iter().collect::<Vec<_>>(), done.iter().map(|event| &event["item"]).collect::<Vec<_>>());
}
