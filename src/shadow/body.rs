//! The body of a copy: the application's, without what would store or bill something at the receiver.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// Limit of the body of a request that is copied, in bytes; larger ones are ineligible.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Fields that no copy has. They store, label or bill at the vendor's.
const NEVER: [&str; 3] = ["metadata", "service_tier", "store"];
/// Fields that name the application's user: the baseline knows them already.
const BASELINE_ONLY: [&str; 3] = ["user", "safety_identifier", "prompt_cache_key"];
/// Fields of `/v1/responses` that refer to stored state.
const STATEFUL: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// True if requests like this are copied: a chat, or a response that stores nothing, with one choice and without
/// images.
pub(super) fn is_eligible(endpoint: Endpoint, scan: &Scan<'_>) -> bool {
    let is_stateless = match endpoint {
        Endpoint::ChatCompletions => true,
        Endpoint::Responses => {
            endpoint.replay_safe_by_body(scan) && !STATEFUL.iter().any(|name| is_given(scan.get(name)))
        }
        _ => false,
    };
    let has_one_choice = scan.get("n").is_none_or(|n| matches!(n.get(), "1" | "null"));
    is_stateless && has_one_choice && !["messages", "input"].iter().any(|name| has_image(scan.get(name)))
}

/// Writes the body of a copy. Fields that stay keep their bytes.
pub(super) fn of_copy(endpoint: Endpoint, scan: &Scan<'_>, to_baseline: bool) -> Bytes {
    let mut body =
        String::with_capacity(scan.fields().iter().map(|(name, value)| name.len() + value.get().len() + 8).sum());
    let mut put = |name: &str, value: &str| {
        body.push(if body.is_empty() { '{' } else { ',' });
        body.push_str(&Value::from(name).to_string());
        body.push(':');
        body.push_str(value);
    };
    let is_chat_stream = endpoint == Endpoint::ChatCompletions && scan.stream();
    for (name, value) in scan.fields() {
        let name = name.as_ref();
        let is_replaced = is_chat_stream && name == "stream_options";
        if is_replaced || NEVER.contains(&name) || (!to_baseline && BASELINE_ONLY.contains(&name)) {
            continue;
        }
        put(name, value.get());
    }
    if is_chat_stream {
        put("stream_options", &with_usage(scan.get("stream_options")));
    }
    if endpoint == Endpoint::Responses {
        put("store", "false");
    }
    if body.is_empty() {
        body.push('{');
    }
    body.push('}');
    Bytes::from(body)
}

/// Largest number of tokens that the answer may have, as the application limits it.
pub(super) fn max_tokens(scan: &Scan<'_>) -> Option<u64> {
    let number = |name| scan.get(name)?.get().parse().ok();
    number("max_completion_tokens").or_else(|| number("max_tokens")).or_else(|| number("max_output_tokens"))
}

/// True if a message has a part that is an image.
fn has_image(messages: Option<&RawValue>) -> bool {
    // Most requests hold no such word at all.
    let text = messages.map_or("", RawValue::get);
    if !text.contains("image") {
        return false;
    }
    let messages: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    // The output of a function call in `/v1/responses` has parts too.
    let lists = messages.iter().flat_map(|message| [message.get("content"), message.get("output")]).flatten();
    let parts = lists.filter_map(Value::as_array).flatten();
    let mut kinds = parts.filter_map(|part| part.get("type")?.as_str());
    kinds.any(|kind| matches!(kind, "image_url" | "input_image"))
}

fn is_given(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| value.get() != "null")
}

fn with_usage(given: Option<&RawValue>) -> String {
    let mut options: Map<String, Value> =
        given.and_then(|given| serde_json::from_str(given.get()).ok()).unwrap_or_default();
    options.insert("include_usage".to_owned(), Value::Bool(true));
    Value::Object(options).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::scan;

    fn copied(endpoint: Endpoint, body: &str, to_baseline: bool) -> String {
        String::from_utf8(of_copy(endpoint, &scan(body.as_bytes()).unwrap(), to_baseline).to_vec()).unwrap()
    }

    #[test]
    fn a_copy_stores_nothing_and_names_no_one() {
        let chat = r#"{"model":"m","messages":[ {"role":"user","content":"x"} ],"metadata":{"a":"b"},"user":"u","store":true,"service_tier":"flex","safety_identifier":"s","prompt_cache_key":"k","temperature":1.50}"#;
        assert_eq!(
            copied(Endpoint::ChatCompletions, chat, false),
            r#"{"model":"m","messages":[ {"role":"user","content":"x"} ],"temperature":1.50}"#
        );
        assert_eq!(
            copied(Endpoint::ChatCompletions, chat, true),
            r#"{"model":"m","messages":[ {"role":"user","content":"x"} ],"user":"u","safety_identifier":"s","prompt_cache_key":"k","temperature":1.50}"#
        );
        assert_eq!(
            copied(Endpoint::Responses, r#"{"model":"m","store":false}"#, false),
            r#"{"model":"m","store":false}"#
        );
        assert_eq!(copied(Endpoint::ChatCompletions, r#"{"store":true}"#, true), "{}");
    }

    #[test]
    fn a_streamed_chat_is_asked_for_its_usage() {
        let with = |options: &str| copied(Endpoint::ChatCompletions, &format!(r#"{{"stream":true{options}}}"#), false);
        for options in ["", r#","stream_options":null"#, r#","stream_options":{"include_usage":false}"#] {
            assert_eq!(with(options), r#"{"stream":true,"stream_options":{"include_usage":true}}"#, "{options}");
        }
        assert_eq!(
            with(r#","stream_options":{"x":1}"#),
            r#"{"stream":true,"stream_options":{"x":1,"include_usage":true}}"#
        );
    }

    #[test]
    fn only_stateless_requests_of_one_choice_without_images_are_eligible() {
        let is = |endpoint, body: &str| is_eligible(endpoint, &scan(body.as_bytes()).unwrap());
        let chat = Endpoint::ChatCompletions;
        assert!(is(chat, r#"{"messages":[]}"#) && is(chat, r#"{"n":1}"#) && is(chat, r#"{"n":null}"#));
        assert!(!is(chat, r#"{"n":2}"#) && !is(Endpoint::Embeddings, "{}") && !is(Endpoint::Completions, "{}"));
        let image = r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}]}"#;
        assert!(!is(chat, image) && is(chat, r#"{"messages":[{"role":"user","content":"an image"}]}"#));
        let output = r#"{"store":false,"input":[{"type":"function_call_output","output":[{"type":"input_image","image_url":"data:,"}]}]}"#;
        assert!(!is(Endpoint::Responses, output));
        assert!(is(Endpoint::Responses, r#"{"store":false,"input":"x"}"#));
        assert!(!is(Endpoint::Responses, r#"{"input":"x"}"#));
        assert!(!is(Endpoint::Responses, r#"{"store":false,"previous_response_id":"r"}"#));
    }

    #[test]
    fn the_limit_of_tokens_is_the_applications() {
        let of = |body: &str| max_tokens(&scan(body.as_bytes()).unwrap());
        assert_eq!(of(r#"{"max_completion_tokens":5,"max_tokens":7}"#), Some(5));
        assert_eq!((of(r#"{"max_tokens":7}"#), of(r#"{"max_output_tokens":9}"#), of("{}")), (Some(7), Some(9), None));
    }
}
