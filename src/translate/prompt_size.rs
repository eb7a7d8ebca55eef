//! Estimate of a prompt's length in tokens, from the texts and tools that the backend receives.

use memchr::memchr_iter;
use serde_json::Value;

use super::answer_spec::Kind;
use super::draft::Draft;
use super::json;

/// Bytes of UTF-8 per token. Qwen's tokenizer needs fewer tokens, in every language.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that a chat template adds to a message, for its role and its delimiters.
const PER_MESSAGE: u64 = 8;
/// Tokens that a chat template adds to a conversation.
const PER_PROMPT: u64 = 64;
/// Tokens with which a chat template introduces the tools.
const PER_TOOLS: u64 = 256;
/// Bytes of text, and messages, that translation adds at most to a conversation.
const ADDED: (u64, u64) = (256, 2);
/// Bytes that translation adds at most to an object in a tool.
const ADDED_TO_OBJECT: u64 = 64;

/// Size of a prompt: the quantities that its tokens are estimated from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PromptSize {
    text_bytes: u64,
    messages: u64,
    /// Bytes of the tools as compact JSON; `None` without tools.
    tool_bytes: Option<u64>,
}

impl PromptSize {
    /// Measures the prompt of a translated request.
    pub(super) fn of(draft: &Draft<'_>, kind: Kind) -> Self {
        let mut size = Self { tool_bytes: draft.get("tools").map(compact), ..Self::default() };
        match kind {
            Kind::Chat => size.add_conversation(draft.get("messages")),
            Kind::Responses => {
                size.add_conversation(draft.get("instructions"));
                size.add_conversation(draft.get("input"));
            }
            Kind::Completions => {
                size.text_bytes = draft.get("prompt").map_or(0, longest);
                size.messages = 1;
            }
        }
        size
    }

    /// Returns a size that the translated request does not exceed, without taking the request apart. `get` returns a
    /// field of the request as JSON; `wording` is the length of the backend's own wording, in bytes.
    pub(super) fn at_most<'t>(wording: u64, get: impl Fn(&str) -> Option<&'t str>) -> Self {
        let objects = |json: &str| memchr_iter(b'{', json.as_bytes()).count() as u64;
        let mut size = Self { text_bytes: ADDED.0 + wording, messages: ADDED.1, tool_bytes: None };
        for field in ["messages", "instructions", "input", "prompt", "response_format"] {
            let Some(json) = get(field) else { continue };
            size.text_bytes += json.len() as u64;
            size.messages += objects(json);
        }
        let tools = ["tools", "functions"].into_iter().filter_map(get);
        let bytes = |json: &str| json.len() as u64 + ADDED_TO_OBJECT * objects(json);
        size.tool_bytes = tools.map(bytes).reduce(u64::saturating_add);
        size
    }

    /// Returns the estimate, in tokens. It is above what servers count.
    pub(super) fn tokens(self) -> u64 {
        let tools = self.tool_bytes.map_or(0, |bytes| PER_TOOLS + bytes.div_ceil(BYTES_PER_TOKEN));
        self.text_bytes.div_ceil(BYTES_PER_TOKEN) + PER_MESSAGE * self.messages + PER_PROMPT + tools
    }

    /// Adds one text, or a list of messages or items.
    fn add_conversation(&mut self, json: Option<&str>) {
        let Some(json) = json else { return };
        let Some(items) = json::items(json) else {
            self.messages += 1;
            self.text_bytes += text(json);
            return;
        };
        self.messages += items.len() as u64;
        self.text_bytes += items.into_iter().map(of_message).sum::<u64>();
    }
}

/// Returns the bytes of a message's texts, those of its calls included.
fn of_message(message: &str) -> u64 {
    let fields = json::fields(message).unwrap_or_default();
    let is_call = fields.iter().any(|(name, _)| name == "arguments");
    let bytes = fields.iter().map(|(name, value)| match name.as_ref() {
        "content" | "output" => content(value),
        "tool_calls" => json::items(value).unwrap_or_default().into_iter().map(of_call).sum(),
        "arguments" => text(value),
        "name" if is_call => text(value),
        _ => 0,
    });
    bytes.sum()
}

fn of_call(call: &str) -> u64 {
    let call = json::fields(call).unwrap_or_default();
    let function = call.iter().find(|(name, _)| name == "function");
    function.map_or(0, |(_, function)| of_message(function))
}

/// Returns the bytes of a content's texts: one text, or the texts among its parts.
fn content(json: &str) -> u64 {
    let Some(parts) = json::items(json) else { return text(json) };
    let of_part = |part: &str| match json::fields(part) {
        Some(fields) => {
            let texts = fields.iter().filter(|(name, _)| name == "text" || name == "refusal");
            texts.map(|(_, value)| text(value)).sum()
        }
        None => text(part),
    };
    parts.into_iter().map(of_part).sum()
}

/// Returns the bytes of a text as UTF-8, or those of other JSON as it is; 0 for null.
fn text(json: &str) -> u64 {
    match json::string(json) {
        Some(text) => text.len() as u64,
        None if json == "null" => 0,
        None => json.len() as u64,
    }
}

/// Returns the bytes of JSON without white space and needless escapes.
fn compact(json: &str) -> u64 {
    serde_json::from_str::<Value>(json).map_or(json.len(), |json| json.to_string().len()) as u64
}

/// Returns the bytes of the longest prompt; a token id counts as one token.
fn longest(prompt: &str) -> u64 {
    let Some(items) = json::items(prompt) else { return text(prompt) };
    let is_ids = items.first().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_digit()));
    if is_ids {
        return items.len() as u64 * BYTES_PER_TOKEN;
    }
    let of_list = |list: &str| json::items(list).map(|ids| ids.len() as u64 * BYTES_PER_TOKEN);
    items.into_iter().map(|item| of_list(item).unwrap_or_else(|| text(item))).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn size(body: &Value, kind: Kind) -> PromptSize {
        PromptSize::of(&Draft::parse(&body.to_string()).unwrap(), kind)
    }

    #[test]
    fn texts_are_counted_in_bytes_and_rounded_up() {
        let chat = |messages: Value| size(&json!({"messages": messages}), Kind::Chat);
        let hi = chat(json!([{"role": "user", "content": "hi"}]));
        assert_eq!((hi, hi.tokens()), (PromptSize { text_bytes: 2, messages: 1, tool_bytes: None }, 1 + 8 + 64));
        let parts =
            json!([{"type": "text", "text": "four"}, {"type": "image_url", "image_url": {"url": "data:,AAAA"}}]);
        let call = json!({"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{\"a\":1}"}});
        for (messages, text_bytes) in [
            (json!([{"role": "user", "content": "日本 \" \n"}]), 10),
            (json!([{"role": "user", "name": "anna", "content": parts}]), 4),
            (json!([{"role": "assistant", "content": null, "tool_calls": [call]}]), 10),
            (json!("no list"), 7),
        ] {
            assert_eq!(chat(messages.clone()).text_bytes, text_bytes, "{messages}");
        }
        let escaped = Draft::parse(r#"{"messages":[{"content":"\u00e9\ud83d\ude00\ud83d"}]}"#).unwrap();
        assert_eq!(PromptSize::of(&escaped, Kind::Chat).text_bytes, 26, "half a character counts as it is written");
    }

    #[test]
    fn tools_are_counted_as_compact_json() {
        let body = r#"{"messages":[],"tools":[ {"type" : "function", "function":{"name":"\u00e9"}} ]}"#;
        let size = PromptSize::of(&Draft::parse(body).unwrap(), Kind::Chat);
        let bytes = r#"[{"type":"function","function":{"name":"é"}}]"#.len() as u64;
        assert_eq!((size.tool_bytes, size.tokens()), (Some(bytes), 64 + 256 + bytes.div_ceil(3)));
    }

    #[test]
    fn other_apis_have_other_fields() {
        let item = json!([{"role": "user", "content": [{"type": "input_text", "text": "ab"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "abc"}]);
        for (body, kind, text_bytes, messages) in [
            (json!({"input": "abc", "instructions": "de"}), Kind::Responses, 5, 2),
            (json!({"input": item}), Kind::Responses, 8, 3),
            (json!({"prompt": "abc"}), Kind::Completions, 3, 1),
            (json!({"prompt": ["a", "abcd"]}), Kind::Completions, 4, 1),
            (json!({"prompt": [1, 2]}), Kind::Completions, 6, 1),
            (json!({"prompt": [[1], [1, 2]]}), Kind::Completions, 6, 1),
        ] {
            let expected = PromptSize { text_bytes, messages, tool_bytes: None };
            assert_eq!(size(&body, kind), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn the_cheap_size_is_never_below(texts in proptest::collection::vec(any::<String>(), 0..6), name: String) {
            let turns: Vec<Value> = texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
            let tools = json!([{"type": "function", "function": {"name": name}}]);
            let json = json!({"messages": turns, "tools": tools}).to_string();
            let draft = Draft::parse(&json).unwrap();
            let most = PromptSize::at_most(0, |field| draft.get(field));
            prop_assert!(PromptSize::of(&draft, Kind::Chat).tokens() <= most.tokens());
        }
    }
}
