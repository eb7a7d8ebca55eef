//! Chat answers as engines write them, borrowed from the bytes they came in.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Reads JSON that may hold bytes that are not UTF-8, in texts only.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    // Checked once, names and numbers are not checked again one by one.
    match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(json),
    }
}

/// Text of a JSON string. Half a surrogate pair, as servers cut it between two events, is replaced.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(text_of_bytes(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text_of_bytes(bytes).into_owned()))
    }
}

fn text_of_bytes(bytes: &[u8]) -> Cow<'_, str> {
    // Checking alone is faster than looking for bytes that have to be replaced.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Chunk of a stream, or whole answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) object: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) created: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    message: Option<IgnoredAny>,
    code: Option<IgnoredAny>,
}

impl Answer<'_> {
    pub(super) fn is_error(&self) -> bool {
        let is_flat = self.choices.is_none() && self.message.is_some() && self.code.is_some();
        is_flat || self.error.is_some() || self.object.as_ref().is_some_and(|object| object.0 == "error")
    }

    /// Returns the time in seconds since 1970; `None` for milliseconds and zeros.
    pub(super) fn created(&self) -> Option<i64> {
        let seconds = self.created?.get().parse().ok()?;
        (1_000_000_000..10_000_000_000).contains(&seconds).then_some(seconds)
    }
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, alias = "delta")]
    pub(super) message: Option<Message<'a>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
}

/// Message, or the delta of a chunk.
#[derive(Deserialize, Default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Calls<'a>>,
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

impl<'a> Message<'a> {
    pub(super) fn content(&self) -> &str {
        text_of(self.content.as_ref())
    }

    pub(super) fn refusal(&self) -> Option<&str> {
        Some(text_of(self.refusal.as_ref())).filter(|text| !text.is_empty())
    }

    /// Returns the thought. Some engines fill both fields with the same text.
    pub(super) fn reasoning(&self) -> &str {
        let newer = text_of(self.reasoning.as_ref());
        if newer.is_empty() { text_of(self.reasoning_content.as_ref()) } else { newer }
    }

    /// Takes the calls, in either spelling.
    pub(super) fn take_calls(&mut self) -> Vec<Call<'a>> {
        let calls = self.tool_calls.take().map(|calls| calls.0).unwrap_or_default();
        match self.function_call.take() {
            Some(function) if calls.is_empty() => {
                vec![Call { index: Some(0), id: Loose::default(), function: Some(function) }]
            }
            _ => calls,
        }
    }
}

fn text_of<'t>(text: Option<&'t Text<'_>>) -> &'t str {
    text.map_or("", |text| &text.0)
}

/// List of calls, or one call alone (TGI up to 2.4).
struct Calls<'a>(Vec<Call<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Calls<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CallsVisitor).map(Calls)
    }
}

struct CallsVisitor;

impl<'de> Visitor<'de> for CallsVisitor {
    type Value = Vec<Call<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tool calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut calls = Vec::new();
        while let Some(call) = list.next_element()? {
            calls.push(call);
        }
        Ok(calls)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(vec![Call::deserialize(MapAccessDeserializer::new(map))?])
    }
}

#[derive(Deserialize)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) id: Loose<'a>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

impl<'a> Function<'a> {
    pub(super) fn name(&self) -> &str {
        text_of(self.name.as_ref())
    }

    /// Returns the arguments as text, also if the server wrote an object.
    pub(super) fn arguments(&self) -> Cow<'a, str> {
        let Some(raw) = self.arguments else { return Cow::Borrowed("") };
        if raw.get().starts_with('"') {
            return serde_json::from_str::<Text<'_>>(raw.get()).map(|text| text.0).unwrap_or_default();
        }
        Cow::Borrowed(raw.get())
    }
}

/// Text, or any other value, which counts as none.
#[derive(Default)]
pub(super) struct Loose<'a>(pub(super) Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Loose)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
