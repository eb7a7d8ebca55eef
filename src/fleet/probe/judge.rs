//! Judges the answer of a backend to a request of one feature. Pure: status and bytes in, a finding out.

use http::StatusCode;
use serde_json::Value;

use super::ask::CODE;
use super::feature::Feature;
use crate::fleet::exchange::Answer;
use crate::wire::error_body::ApiError;
use crate::wire::sse::Framer;

/// Result of one request of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// No request of an application reaches the server with it; with the reason.
    NotTested(&'static str),
    /// The feature works. `native`: without translation. `advise`: a flag of the server would improve it.
    Good {
        native: bool,
        advise: bool,
        /// Note for the report; may be empty.
        detail: &'static str,
    },
    /// The feature does not work, for this reason.
    Bad(String),
    /// The token limit cut the answer within a thought, so nothing is known.
    Cut,
    /// The server does not serve the model, in its words: nothing is known about the feature.
    NoModel(String),
    /// The translation does not send such requests, for this reason.
    Pinned(&'static str),
    /// The server was busy or unreachable, so nothing is known.
    Silent(String),
    /// The server refused the key with this status.
    Locked(StatusCode),
}

use Finding::{Bad, Cut, Good, Locked, NoModel, Silent};

const WORKS: Finding = Good { native: true, advise: false, detail: "" };

fn bad(detail: &str) -> Finding {
    Bad(detail.to_owned())
}

/// Judges an answer to one request of this feature.
pub(super) fn judge(feature: Feature, answer: &Answer) -> Finding {
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Locked(answer.status),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => return Silent(refusal(answer)),
        status if !status.is_success() && is_about_model(&answer.body) => return NoModel(refusal(answer)),
        _ => {}
    }
    match feature {
        Feature::ErrorShape => return error_shape(answer),
        Feature::Context => return context(answer),
        _ if !answer.status.is_success() => return Bad(refusal(answer)),
        Feature::ToolsStreamed | Feature::Usage => return streamed(feature, answer),
        _ => {}
    }
    let Ok(said) = serde_json::from_slice::<Value>(&answer.body) else { return bad("its answer is not JSON") };
    if feature == Feature::Responses {
        return responses(&said);
    }
    let choice = &said["choices"][0];
    let message = &choice["message"];
    let text = message["content"].as_str().unwrap_or_default();
    let finish = choice["finish_reason"].as_str();
    match feature {
        Feature::Tools | Feature::JsonObject | Feature::JsonSchema
            if message["tool_calls"][0].is_null() && is_cut_in_thought(finish, reasoning(message), text) =>
        {
            Cut
        }
        Feature::Tools => {
            let call = &message["tool_calls"][0];
            let function = &call["function"];
            let arguments = function["arguments"].as_str().unwrap_or_default();
            tool_call(function["name"].as_str(), arguments, text, finish != Some("tool_calls"))
        }
        Feature::JsonObject => json_object(text),
        Feature::JsonSchema => json_schema(text),
        Feature::Thinking => thinking(message, text),
        _ if text.is_empty() && reasoning(message).is_empty() => bad("an empty answer"),
        _ => WORKS,
    }
}

/// Returns the status and the backend's message.
fn refusal(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    format!("{status}: {}", ApiError::of_backend(status, &answer.body).message)
}

/// True if a refusal is about the model's name, in the words of vLLM, OpenAI, DashScope, or of SGLang for `a:b`, which it
/// takes for the name of an adapter.
fn is_about_model(body: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = if said["error"].is_object() { &said["error"] } else { &said };
    let message = error["message"].as_str().unwrap_or_default();
    error["code"] == "model_not_found"
        || (error["param"] == "model" && message.contains("does not exist"))
        || (message.starts_with("The model `") && message.contains("does not exist"))
        || message.starts_with("Model not exist")
        || message.starts_with("LoRA adapter '")
}

/// True if the token limit ended the answer before its thought was over.
fn is_cut_in_thought(finish: Option<&str>, thought: &str, text: &str) -> bool {
    let is_open = text.trim_start().starts_with("<think>") && !text.contains("</think>");
    finish == Some("length") && (is_open || (text.trim().is_empty() && !thought.is_empty()))
}

fn tool_call(name: Option<&str>, arguments: &str, text: &str, repaired: bool) -> Finding {
    if name.is_none() {
        let as_text = text.contains("<tool_call>") || text.contains("get_weather");
        return bad(if as_text { "the call came as text" } else { "no call came" });
    }
    let Ok(arguments) = serde_json::from_str::<Value>(arguments) else { return bad("its arguments are not JSON") };
    if arguments["city"].as_str().is_none_or(str::is_empty) {
        return bad("its arguments are lost");
    }
    match repaired {
        true => Good { native: false, advise: false, detail: "its finish_reason is corrected" },
        false => WORKS,
    }
}

fn json_object(text: &str) -> Finding {
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => WORKS,
        _ => bad("the text is not a JSON object"),
    }
}

fn json_schema(text: &str) -> Finding {
    match serde_json::from_str::<Value>(text) {
        Ok(said) if said["city"].is_string() && said["code"] == CODE => WORKS,
        Ok(_) => bad("the schema is not followed"),
        Err(_) => bad("the text is not JSON"),
    }
}

/// Returns the thought, from either field.
fn reasoning(message: &Value) -> &str {
    let of = |name: &str| message[name].as_str().filter(|text| !text.is_empty());
    of("reasoning_content").or_else(|| of("reasoning")).unwrap_or_default()
}

fn thinking(message: &Value, text: &str) -> Finding {
    if text.trim_start().starts_with("<think>") {
        return Good { native: false, advise: true, detail: "it comes in the text, and is removed" };
    }
    if text.contains("</think>") {
        return bad("only its end tag comes in the text, which cannot be removed from a stream");
    }
    match (reasoning(message).is_empty(), text.is_empty()) {
        (false, _) => Good { native: false, advise: false, detail: "it comes apart from the text" },
        (true, false) => WORKS,
        (true, true) => bad("an empty answer"),
    }
}

fn responses(said: &Value) -> Finding {
    let has_output = said["output"].as_array().is_some_and(|items| !items.is_empty());
    match said["object"] == "response" && has_output {
        true => WORKS,
        false => bad("its answer is not a response with output"),
    }
}

fn streamed(feature: Feature, answer: &Answer) -> Finding {
    let mut events = Vec::new();
    Framer::default().push(&answer.body, |data| events.extend(serde_json::from_slice::<Value>(data)));
    if let Some(error) = events.iter().find_map(|event| event.get("error")) {
        let message = error["message"].as_str().unwrap_or("the stream has an error event");
        let busy = matches!(error["code"].as_u64(), Some(429 | 502 | 503 | 504));
        return if busy { Silent(message.to_owned()) } else { bad(message) };
    }
    if events.is_empty() {
        return bad("its stream has no event");
    }
    if feature == Feature::Usage {
        let has_usage =
            events.iter().any(|event| event["usage"]["prompt_tokens"].as_u64().is_some_and(|count| count > 0));
        return if has_usage { WORKS } else { bad("its streams have no usage, so their cost is unknown") };
    }
    let choices = || events.iter().map(|event| &event["choices"][0]);
    // Older TGI sends one call instead of a list.
    let calls = || choices().map(|choice| &choice["delta"]["tool_calls"]).map(|calls| calls.get(0).unwrap_or(calls));
    let name = calls().find_map(|call| call["function"]["name"].as_str());
    let arguments: String = calls().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    let text: String = choices().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    let thought: String = choices().map(|choice| reasoning(&choice["delta"])).collect();
    let finish = choices().find_map(|choice| choice["finish_reason"].as_str());
    if name.is_none() && is_cut_in_thought(finish, &thought, &text) {
        return Cut;
    }
    tool_call(name, &arguments, &text, finish != Some("tool_calls"))
}

/// Judges the answer to an invalid request, which has to be a 4xx. Another envelope than OpenAI's is translated.
fn error_shape(answer: &Answer) -> Finding {
    if answer.status.is_success() {
        return bad("it accepts a temperature that is not a number");
    }
    if answer.status.is_server_error() {
        return bad("it answers an invalid request with a 5xx");
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = &said["error"];
    let code = &error["code"];
    let native = answer.status == StatusCode::BAD_REQUEST
        && error["message"].is_string()
        && error["type"].is_string()
        && (code.is_string() || code.is_null());
    Good { native, advise: false, detail: if native { "" } else { "its envelope is made OpenAI's" } }
}

/// Judges the answer to a prompt that is longer than the context.
fn context(answer: &Answer) -> Finding {
    if answer.status.is_success() {
        return bad("it accepts a prompt over its context, and may cut it");
    }
    if answer.status.is_server_error() {
        return Bad(refusal(answer));
    }
    Good { native: false, advise: false, detail: "a longer prompt is refused" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn message(message: &str, finish: &str) -> Answer {
        answer(200, &format!("{{\"choices\":[{{\"index\":0,\"message\":{message},\"finish_reason\":\"{finish}\"}}]}}"))
    }

    fn stream(events: &[&str]) -> Answer {
        answer(200, &events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>())
    }

    fn word(finding: &Finding) -> String {
        match finding {
            Good { native: true, .. } => "works".to_owned(),
            Good { advise: true, .. } => "translated, advised".to_owned(),
            Good { .. } => "translated".to_owned(),
            Bad(detail) => format!("bad: {detail}"),
            Cut => "cut".to_owned(),
            NoModel(detail) => format!("no model: {detail}"),
            Finding::Pinned(why) => format!("pinned: {why}"),
            Finding::NotTested(why) => format!("not tested: {why}"),
            Silent(detail) => format!("silent: {detail}"),
            Locked(status) => format!("locked: {}", status.as_u16()),
        }
    }

    #[test]
    fn whole_answers_are_judged() {
        let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"get_weather","arguments":"{\"city\": \"Paris\"}"}}]}"#;
        let lost = call.replace("{\\\"city\\\": \\\"Paris\\\"}", "{}");
        let torn = call.replace("{\\\"city\\\": \\\"Paris\\\"}", "{\\\"city\\\":");
        let text = |text: &str| message(&serde_json::json!({"role": "assistant", "content": text}).to_string(), "stop");
        for (feature, answer, expected) in [
            (Feature::Tools, message(call, "tool_calls"), "works"),
            (Feature::Tools, message(call, "stop"), "translated"),
            (Feature::Tools, message(&lost, "tool_calls"), "bad: its arguments are lost"),
            (Feature::Tools, message(&torn, "tool_calls"), "bad: its arguments are not JSON"),
            (Feature::Tools, text("<tool_call>\n{\"name\": \"get_weather\"}"), "bad: the call came as text"),
            (Feature::Tools, text("I do not know."), "bad: no call came"),
            (Feature::Tools, message(r#"{"content":null,"reasoning":"hm"}"#, "length"), "cut"),
            (Feature::Tools, message(r#"{"content":"<think>\nhm"}"#, "length"), "cut"),
            (Feature::Tools, message(r#"{"content":"hm","reasoning":"hm"}"#, "length"), "bad: no call came"),
            (Feature::Tools, message(r#"{"content":null,"reasoning":"hm"}"#, "stop"), "bad: no call came"),
            (Feature::JsonObject, message(r#"{"content":"","reasoning_content":"hm"}"#, "length"), "cut"),
            (Feature::JsonSchema, message(r#"{"content":null,"reasoning_content":"hm"}"#, "length"), "cut"),
            (Feature::JsonSchema, message(r#"{"content":"{\"city\":\"Pa"}"#, "length"), "bad: the text is not JSON"),
            (Feature::JsonObject, text("{\"city\":\"Paris\"}"), "works"),
            (Feature::JsonObject, text("```json\n{}\n```"), "bad: the text is not a JSON object"),
            (Feature::JsonObject, text("[1]"), "bad: the text is not a JSON object"),
            (Feature::JsonSchema, text("{\"city\":\"Paris\",\"code\":\"QX-17\"}"), "works"),
            (Feature::JsonSchema, text("{\"city\":\"Paris\",\"code\":\"FR\"}"), "bad: the schema is not followed"),
            (Feature::JsonSchema, text("Paris"), "bad: the text is not JSON"),
            (Feature::Developer, text("Four"), "works"),
            (Feature::Developer, text(""), "bad: an empty answer"),
            (Feature::Thinking, text("4"), "works"),
            (Feature::Thinking, text("<think>\nhm\n</think>\n\n4"), "translated, advised"),
            (
                Feature::Thinking,
                text("hm\n</think>\n\n4"),
                "bad: only its end tag comes in the text, which cannot be removed from a stream",
            ),
            (Feature::Thinking, message(r#"{"content":"4","reasoning":"hm"}"#, "stop"), "translated"),
            (Feature::Thinking, message(r#"{"content":null,"reasoning_content":"hm"}"#, "length"), "translated"),
            (Feature::Responses, answer(200, r#"{"object":"response","output":[{"type":"message"}]}"#), "works"),
            (
                Feature::Responses,
                answer(200, r#"{"object":"response","output":[]}"#),
                "bad: its answer is not a response with output",
            ),
            (Feature::Responses, answer(404, r#"{"detail":"Not Found"}"#), "bad: 404: Not Found"),
            (Feature::Developer, answer(401, ""), "locked: 401"),
            (Feature::Developer, answer(503, ""), "silent: 503: the backend answered 503"),
            (Feature::Developer, answer(200, "<html>"), "bad: its answer is not JSON"),
        ] {
            assert_eq!(word(&judge(feature, &answer)), expected, "{feature:?} {answer:?}");
        }
    }

    #[test]
    fn streams_are_judged() {
        let first = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
        let call = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"get_weather","arguments":"{\"city\""}}]}}]}"#;
        let rest = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":null,"arguments":": \"Paris\"}"}}]}}]}"#;
        let single = r#"{"choices":[{"delta":{"tool_calls":{"index":0,"function":{"name":"get_weather","arguments":"{\"city\": \"Paris\"}"}}}}]}"#;
        let empty = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"get_weather","arguments":"{}"}}]}}]}"#;
        let finish = r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#;
        let thought = r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#;
        let cut = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
        for (feature, events, expected) in [
            (Feature::ToolsStreamed, vec![first, call, rest, finish, "[DONE]"], "works"),
            (Feature::ToolsStreamed, vec![first, call, rest, "[DONE]"], "translated"),
            (Feature::ToolsStreamed, vec![single, finish, "[DONE]"], "works"),
            (Feature::ToolsStreamed, vec![first, thought, cut, "[DONE]"], "cut"),
            (Feature::ToolsStreamed, vec![first, thought, finish, "[DONE]"], "bad: no call came"),
            (Feature::ToolsStreamed, vec![first, empty, finish], "bad: its arguments are lost"),
            (Feature::ToolsStreamed, vec![first, finish], "bad: no call came"),
            (
                Feature::ToolsStreamed,
                vec![r#"{"error":{"message":"no tools","http_status_code":422}}"#, "[DONE]"],
                "bad: no tools",
            ),
            (Feature::ToolsStreamed, vec![r#"{"error":{"message":"full","code":503}}"#, "[DONE]"], "silent: full"),
            (Feature::ToolsStreamed, vec![], "bad: its stream has no event"),
            (Feature::Usage, vec![first, usage, "[DONE]"], "works"),
            (Feature::Usage, vec![first, "[DONE]"], "bad: its streams have no usage, so their cost is unknown"),
        ] {
            assert_eq!(word(&judge(feature, &stream(&events))), expected, "{events:?}");
        }
    }

    const NO_MODEL: &str = r#"{"error":{"message":"The model `x` does not exist. Valid aliases: qwen.","type":"NotFoundError","param":"model","code":404}}"#;

    #[test]
    fn refusals_are_judged() {
        let own = r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}"#;
        for (feature, status, body, expected) in [
            (Feature::ErrorShape, 400, own, "works"),
            (
                Feature::ErrorShape,
                400,
                r#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#,
                "translated",
            ),
            (Feature::ErrorShape, 422, "Failed to deserialize", "translated"),
            (Feature::ErrorShape, 200, "{}", "bad: it accepts a temperature that is not a number"),
            (Feature::ErrorShape, 500, "", "bad: it answers an invalid request with a 5xx"),
            (Feature::Tools, 404, NO_MODEL, "no model: 404: The model `x` does not exist. Valid aliases: qwen."),
            (Feature::Context, 404, NO_MODEL, "no model: 404: The model `x` does not exist. Valid aliases: qwen."),
            (Feature::ErrorShape, 404, NO_MODEL, "no model: 404: The model `x` does not exist. Valid aliases: qwen."),
            (
                Feature::JsonSchema,
                400,
                r#"{"object":"error","message":"LoRA adapter 'a:b' was requested, but LoRA is not enabled.","code":400}"#,
                "no model: 400: LoRA adapter 'a:b' was requested, but LoRA is not enabled.",
            ),
            (Feature::Tools, 404, r#"{"detail":"Not Found"}"#, "bad: 404: Not Found"),
            (Feature::Context, 400, own, "translated"),
            (Feature::Context, 200, "{}", "bad: it accepts a prompt over its context, and may cut it"),
            (
                Feature::Tools,
                400,
                r#"{"error":{"message":"\"auto\" tool choice requires"}}"#,
                "bad: 400: \"auto\" tool choice requires",
            ),
        ] {
            assert_eq!(word(&judge(feature, &answer(status, body))), expected, "{status} {body}");
        }
    }
}
