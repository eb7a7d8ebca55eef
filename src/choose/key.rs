//! The sticky key of a request: the first source of the `sticky` chain that the request has.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::Hasher;

use http::HeaderMap;
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::config::KeySource;
use crate::wire::scan::Scan;

/// A key and its source. `Debug` does not show the value: it may name a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Key<'a> {
    /// Index into the `sticky` chain.
    pub source: usize,
    /// Bytes that are hashed.
    pub value: Cow<'a, [u8]>,
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The key of one request, looked for when it is first needed.
pub(super) struct Keyed<'a> {
    sources: &'a [KeySource],
    headers: &'a HeaderMap,
    body: Option<&'a Scan<'a>>,
    found: OnceCell<Option<Key<'a>>>,
}

impl<'a> Keyed<'a> {
    pub(super) const fn new(sources: &'a [KeySource], headers: &'a HeaderMap, body: Option<&'a Scan<'a>>) -> Self {
        Self { sources, headers, body, found: OnceCell::new() }
    }

    /// Returns the key; `None` if the request has none.
    pub(super) fn get(&self) -> Option<&Key<'a>> {
        self.found.get_or_init(|| find(self.sources, self.headers, self.body)).as_ref()
    }
}

/// Returns the first source that is present and not empty.
pub fn find<'a>(sources: &[KeySource], headers: &'a HeaderMap, body: Option<&Scan<'a>>) -> Option<Key<'a>> {
    sources.iter().enumerate().find_map(|(source, kind)| {
        let value = match kind {
            KeySource::Header(name) => Cow::Borrowed(headers.get(name)?.as_bytes().trim_ascii()),
            KeySource::Field(path) => match body?.field(path)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            KeySource::Conversation => Cow::Owned(conversation(body?)?.to_vec()),
        };
        (!value.is_empty()).then_some(Key { source, value })
    })
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// The beginning of a conversation: system texts up to the first user message, and that message.
#[derive(Default)]
struct Opening<'a> {
    system: Vec<Option<&'a RawValue>>,
    /// Content of the first user message.
    user: Option<Option<&'a RawValue>>,
}

impl<'a> Opening<'a> {
    /// Reads a list of turns; entries that are not turns are skipped.
    fn read(turns: &'a str) -> Self {
        let mut opening = Self::default();
        // serde reports stopping early as an error, which is expected here.
        let read = serde_json::Deserializer::from_str(turns).deserialize_seq(Reading(&mut opening));
        if read.is_err() && opening.user.is_none() {
            opening = Self::default();
            let turns = serde_json::from_str::<Vec<&RawValue>>(turns).unwrap_or_default();
            let mut turns = turns.iter().filter_map(|turn| serde_json::from_str(turn.get()).ok());
            while turns.next().is_some_and(|turn| opening.take(turn)) {}
        }
        opening
    }

    /// Adds a turn. Returns true if reading goes on.
    fn take(&mut self, turn: Turn<'a>) -> bool {
        match turn.role.and_then(text).as_deref() {
            Some("system" | "developer") => self.system.push(turn.content),
            Some("user") => self.user = Some(turn.content),
            _ => {}
        }
        self.user.is_none()
    }
}

struct Reading<'o, 'a>(&'o mut Opening<'a>);

impl<'a> Visitor<'a> for Reading<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of turns")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut turns: A) -> Result<(), A::Error> {
        while let Some(turn) = turns.next_element()? {
            if !self.0.take(turn) {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    name: Option<String>,
    function: Option<Named>,
}

/// Hashes the parts that do not change from turn to turn: system text, first user message and tool names, in order.
/// `None` without a user message.
fn conversation(body: &Scan<'_>) -> Option<[u8; 16]> {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    let mut write = |kind: u8, text: &str| {
        hasher.write(&[kind]);
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text.as_bytes());
    };
    if let Some(text) = body.get("instructions").and_then(content_text) {
        write(b's', &text);
    }
    let turns = body.get("messages").or_else(|| body.get("input"))?;
    let user = if turns.get().starts_with('[') {
        let opening = Opening::read(turns.get());
        for content in &opening.system {
            write(b's', &content.and_then(content_text).unwrap_or_default());
        }
        opening.user.flatten().and_then(content_text)
    } else {
        content_text(turns)
    };
    write(b'u', &user.filter(|text| !text.is_empty())?);
    for list in ["tools", "functions"] {
        let tools = body.get(list).and_then(|tools| serde_json::from_str::<Vec<&RawValue>>(tools.get()).ok());
        for tool in tools.unwrap_or_default().iter().filter_map(|tool| serde_json::from_str::<Tool>(tool.get()).ok()) {
            if let Some(name) = tool.function.and_then(|function| function.name).or(tool.name) {
                write(b't', &name);
            }
        }
    }
    Some(hasher.finish128().as_bytes())
}

/// Returns the text of a JSON string; `None` for other values.
fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    let inner = json.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(json.get()).ok().map(Cow::Owned)
}

/// Returns a string, or the joined text parts of a list.
fn content_text(content: &RawValue) -> Option<Cow<'_, str>> {
    if let Some(text) = text(content) {
        return Some(text);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(content.get()).ok()?;
    let texts: Vec<String> =
        parts.iter().filter_map(|part| serde_json::from_str::<Part>(part.get()).ok()?.text).collect();
    (!texts.is_empty()).then(|| Cow::Owned(texts.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::scan::scan;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn hash(body: &str) -> Option<[u8; 16]> {
        conversation(&scan(body.as_bytes()).unwrap())
    }

    #[test]
    fn first_present_source_wins_and_empty_is_absent() {
        let chain = [
            KeySource::Header(HeaderName::from_static("x-session-id")),
            KeySource::Field(vec!["user".to_owned()]),
            KeySource::Conversation,
        ];
        let body = scan(br#"{"model":"m","user":"u1","messages":[{"role":"user","content":"hi"}]}"#).unwrap();
        let mut headers = HeaderMap::new();
        let found = find(&chain, &headers, Some(&body)).unwrap();
        assert_eq!((found.source, found.value.as_ref()), (1, b"u1".as_slice()));
        headers.insert("x-session-id", HeaderValue::from_static("  "));
        assert_eq!(find(&chain, &headers, Some(&body)).unwrap().source, 1);
        headers.insert("x-session-id", HeaderValue::from_static(" s "));
        let key = find(&chain, &headers, Some(&body)).unwrap();
        assert_eq!((key.source, key.value.as_ref()), (0, b"s".as_slice()));
        assert!(!format!("{key:?}").contains("115"), "the value is not shown");
        assert!(find(&chain, &HeaderMap::new(), None).is_none());
    }

    /// Reference implementation that parses whole trees.
    fn plainly(body: &str) -> Option<[u8; 16]> {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let of = |content: &serde_json::Value| match content {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Array(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
                (!texts.is_empty()).then(|| texts.join("\n"))
            }
            _ => None,
        };
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        let mut write = |kind: u8, text: &str| {
            hasher.write(&[kind]);
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text.as_bytes());
        };
        let mut user = None;
        for turn in body["messages"].as_array()? {
            match turn["role"].as_str() {
                Some("system" | "developer") => write(b's', &of(&turn["content"]).unwrap_or_default()),
                Some("user") => {
                    user = of(&turn["content"]);
                    break;
                }
                _ => {}
            }
        }
        write(b'u', &user.filter(|text| !text.is_empty())?);
        Some(hasher.finish128().as_bytes())
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_stands(
            turns in prop::collection::vec((
                prop::sample::select(vec!["\"system\"", "\"user\"", "\"us\\u0065r\"", "\"assistant\"", "null", "7"]),
                prop::sample::select(vec![
                    "\"text\"", "\"with \\\"quotes\\\" and \\n\"", "\"\"", "null", "[]", "{}", "3",
                    "[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"é\\u0041\"},{\"x\":1}]",
                ]),
                prop::bool::weighted(0.1),
            ), 0..5),
        ) {
            let turn = |(role, content, odd): &(&str, &str, bool)| match odd {
                true => "\"no turn\"".to_owned(),
                false => format!("{{\"role\": {role} ,\"content\":{content}}}"),
            };
            let turns: Vec<String> = turns.iter().map(turn).collect();
            let body = format!("{{\"messages\": [ {} ]}}", turns.join(" , "));
            prop_assert_eq!(hash(&body), plainly(&body), "{}", body);
        }
    }

    #[test]
    fn a_conversation_keeps_its_hash_from_turn_to_turn() {
        let first = hash(r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#);
        let later = hash(
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hi"}]},
                {"role":"assistant","content":null},{"role":"system","content":"late"},{"role":"user","content":"x"}]}"#,
        );
        assert!(first.is_some());
        assert_eq!(first, later);
        for other in [
            r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"}]}"#,
            r#"{"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}],"tools":[{"function":{"name":"f"}}]}"#,
        ] {
            assert_ne!(hash(other), first, "{other}");
        }
        for none in [r#"{"messages":[]}"#, r#"{"messages":7}"#, r#"{"messages":[{"role":"user","content":""}]}"#, "{}"]
        {
            assert_eq!(hash(none), None, "{none}");
        }
    }
}
