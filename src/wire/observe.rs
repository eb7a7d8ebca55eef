//! What an answer says of itself: first content, usage, an error event. Read on the side of the bytes that pass.
//!
//! Owns: reading answers. Refuses: changing them, waiting for them. Invariant: whatever comes, reading costs a bounded
//! amount of memory and never fails the answer.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::answer_facts::{AnswerFacts, AnswerIds, MAX_REASONS, MAX_TOKENS, Usage};
use super::sse::{self, Framer};

/// Of an unstreamed answer at most this much is read; above it its usage is not known.
const MAX_WHOLE: usize = 1 << 20;

/// What is looked for in every event, made ready once.
static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    usage: Finder::new(b"\"usage\""),
    error: Finder::new(b"\"error\""),
    finish_reason: Finder::new(b"\"finish_reason\":"),
    response: Finder::new(b"\"response."),
    id: Finder::new(b"\"id\""),
    model: Finder::new(b"\"model\""),
    reason: Finder::new(b"\"finish_reason\""),
});

struct Words {
    usage: Finder<'static>,
    error: Finder<'static>,
    finish_reason: Finder<'static>,
    response: Finder<'static>,
    id: Finder<'static>,
    model: Finder<'static>,
    reason: Finder<'static>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Observer {
    pub seen: AnswerFacts,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream(Framer),
    Whole { chunks: Vec<Bytes>, length: usize, is_brief: bool },
    Off,
}

impl Observer {
    pub fn stream() -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Stream(Framer::default()) }
    }

    pub fn whole() -> Self {
        Self::of_whole(false)
    }

    /// Of an unstreamed answer only what metrics tell: usage and model.
    pub fn brief() -> Self {
        Self::of_whole(true)
    }

    fn of_whole(is_brief: bool) -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Whole { chunks: Vec::new(), length: 0, is_brief } }
    }

    pub fn off() -> Self {
        Self { seen: AnswerFacts::default(), kind: Kind::Off }
    }

    pub fn push(&mut self, chunk: &Bytes, now: Instant) {
        match &mut self.kind {
            Kind::Stream(framer) => {
                let seen = &mut self.seen;
                framer.push(chunk, |data| read_event(seen, data, now));
            }
            Kind::Whole { chunks, length, .. } => {
                *length += chunk.len();
                if *length > MAX_WHOLE {
                    self.kind = Kind::Off;
                } else {
                    chunks.push(chunk.clone());
                }
            }
            Kind::Off => {}
        }
    }

    pub const fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Stream(_))
    }

    /// Whether anything was learnt.
    pub fn has_seen(&self) -> bool {
        self.seen.first_content.is_some() || self.seen.usage.is_some() || self.seen.error_event
    }

    /// The answer is complete: an unstreamed one is read now.
    pub fn finish(&mut self) {
        if let Kind::Whole { chunks, is_brief, .. } = std::mem::replace(&mut self.kind, Kind::Off) {
            match chunks.as_slice() {
                [] => {}
                [one] => self.seen.read(one, is_brief),
                many => self.seen.read(&many.concat(), is_brief),
            }
        }
    }
}

impl AnswerFacts {
    fn read(&mut self, whole: &[u8], is_brief: bool) {
        self.usage = read_usage(whole);
        if is_brief {
            let model = text_after(&WORDS.model, whole);
            self.told.name(None, model.as_ref().map(|(model, _)| model.as_ref()));
        } else {
            self.told = told_by(whole);
        }
    }
}

#[derive(Deserialize)]
struct Counts {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl Counts {
    /// `None` where nothing was counted, or nonsense.
    fn read(json: &RawValue) -> Option<Usage> {
        let counts: Self = serde_json::from_str(json.get()).ok()?;
        counts.usage()
    }

    fn usage(self) -> Option<Usage> {
        let known = self.prompt_tokens.or(self.completion_tokens).is_some();
        let usage = Usage {
            input: self.prompt_tokens.unwrap_or(0),
            cached_input: self.prompt_tokens_details.and_then(|details| details.cached_tokens),
            output: self.completion_tokens.unwrap_or(0),
            reasoning: self.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        };
        let details = [usage.cached_input, usage.reasoning].map(Option::unwrap_or_default);
        let largest = details.into_iter().fold(usage.input.max(usage.output), u64::max);
        (known && largest <= MAX_TOKENS).then_some(usage)
    }
}

/// What an unstreamed answer with status 200 must be, to be one.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    error: Option<IgnoredAny>,
    choices: Option<IgnoredAny>,
    output: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
}

/// Why this body is no answer of OpenAI's API, though it came with 200; `None` when it is one.
pub fn wrong_with(body: &[u8]) -> Option<&'static str> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Some("the body is no JSON object");
    }
    match serde_json::from_slice::<Answer<'_>>(body) {
        Err(_) => Some("the body is no JSON object"),
        Ok(answer) if answer.error.is_some() || answer.object.as_deref() == Some("error") => Some("200 with an error"),
        Ok(Answer { object: None, choices: None, output: None, data: None, .. }) => Some("the body says nothing"),
        Ok(_) => None,
    }
}

/// Where the first event of `events` that is an error ends.
pub fn end_of_error(events: &[u8], now: Instant) -> Option<usize> {
    let mut observer = Observer::stream();
    let mut start = 0;
    for end in sse::event_ends(events) {
        observer.push(&Bytes::copy_from_slice(events.get(start..end)?), now);
        if observer.seen.error_event {
            return Some(end);
        }
        start = end;
    }
    None
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// What an unstreamed answer says of itself, without reading all of it.
pub fn told_by(body: &[u8]) -> AnswerIds {
    let mut told = AnswerIds::default();
    let (id, model) = (text_after(&WORDS.id, body), text_after(&WORDS.model, body));
    told.name(id.as_ref().map(|(id, _)| id.as_ref()), model.as_ref().map(|(model, _)| model.as_ref()));
    let mut rest = body;
    while let Some((reason, after)) = text_after(&WORDS.reason, rest).filter(|_| told.reasons.len() < MAX_REASONS) {
        told.reason(&reason);
        rest = after;
    }
    told
}

/// The text of the first field of this name, and what comes after its name: inside a text the quotes would be escaped.
fn text_after<'a>(name: &Finder<'static>, body: &'a [u8]) -> Option<(Cow<'a, str>, &'a [u8])> {
    let rest = body.get(name.find(body)? + name.needle().len()..)?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    Some((Cow::deserialize(&mut serde_json::Deserializer::from_slice(value)).ok()?, rest))
}

/// Where the body says "usage" once, only that is read: inside a text the quotes would be escaped.
fn read_usage(body: &[u8]) -> Option<Usage> {
    let usage = &WORDS.usage;
    let at = usage.find(body)?;
    let rest = body.get(at + usage.needle().len()..)?;
    if usage.find(rest).is_none()
        && let Some(value) = rest.trim_ascii_start().strip_prefix(b":")
        && let Ok(counts) = Counts::deserialize(&mut serde_json::Deserializer::from_slice(value))
    {
        return counts.usage();
    }
    serde_json::from_slice::<Whole<'_>>(body).ok()?.usage.and_then(Counts::read)
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<Response<'a>>,
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
}

/// What `/v1/responses` says of the whole in its first and last events.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    tool_calls: Option<Vec<IgnoredAny>>,
    function_call: Option<IgnoredAny>,
}

impl Event<'_> {
    fn has_content(&self) -> bool {
        fn said(text: &Option<Cow<'_, str>>) -> bool {
            text.as_ref().is_some_and(|text| !text.is_empty())
        }
        self.kind.as_ref().is_some_and(|kind| kind.ends_with(".delta"))
            || self.choices.iter().any(|choice| {
                said(&choice.text)
                    || choice.delta.as_ref().is_some_and(|delta| {
                        said(&delta.content)
                            || said(&delta.reasoning)
                            || said(&delta.reasoning_content)
                            || said(&delta.refusal)
                            || delta.function_call.is_some()
                            || delta.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
                    })
            })
    }
}

/// A finish reason that is not null, or an event of `/v1/responses` that ends it.
fn says_end(data: &[u8]) -> bool {
    match WORDS.finish_reason.find(data) {
        Some(at) => !is_null(data, at + WORDS.finish_reason.needle().len()),
        None => WORDS.response.find(data).is_some(),
    }
}

/// Servers that tell usage at the end say null before.
fn says_usage(data: &[u8]) -> bool {
    match WORDS.usage.find(data) {
        Some(at) => data
            .get(at + WORDS.usage.needle().len()..)
            .and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"))
            .is_none_or(|value| !is_null(value, 0)),
        None => false,
    }
}

fn is_null(data: &[u8], at: usize) -> bool {
    data.get(at..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"null"))
}

fn read_event(seen: &mut AnswerFacts, data: &[u8], now: Instant) {
    if data == b"[DONE]" {
        seen.done = true;
        return;
    }
    if seen.first_content.is_some() && !seen.finished() {
        seen.pace.get_or_insert_default().chunk(now);
    }
    // Once content has begun, only events that can hold usage, an error or an end are worth parsing.
    if seen.first_content.is_some() && !says_end(data) && !says_usage(data) && WORDS.error.find(data).is_none() {
        return;
    }
    let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else { return };
    if seen.first_content.is_none() && event.has_content() {
        seen.first_content = Some(now);
        seen.pace.get_or_insert_default().chunk(now);
    }
    let response = event.response.as_ref();
    seen.told.name(
        event.id.as_deref().or_else(|| response?.id.as_deref()),
        event.model.as_deref().or_else(|| response?.model.as_deref()),
    );
    for reason in event.choices.iter().filter_map(|choice| choice.finish_reason.as_deref()) {
        seen.told.reason(reason);
    }
    let ended = matches!(event.kind.as_deref(), Some("response.completed" | "response.incomplete"));
    if ended || event.choices.iter().any(|choice| choice.finish_reason.is_some()) {
        seen.has_reason = true;
    }
    if ended && let Some(status) = response.and_then(|response| response.status.as_deref()) {
        seen.told.reason(status);
    }
    let says_error = event.object.as_deref() == Some("error") || event.kind.as_deref() == Some("error");
    if event.error.is_some() || says_error || event.kind.as_deref() == Some("response.failed") {
        seen.error_event = true;
    }
    let usage = event.usage.or_else(|| event.response.and_then(|response| response.usage));
    if let Some(usage) = usage.and_then(Counts::read) {
        seen.usage = Some(usage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(stream: &str) -> AnswerFacts {
        let mut observer = Observer::stream();
        observer.push(&Bytes::from(stream.to_owned()), Instant::now());
        observer.finish();
        observer.seen
    }

    #[test]
    fn first_content_is_no_role_chunk() {
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
        assert!(watch(role).first_content.is_none());
        for delta in [
            r#"{"content":"x"}"#,
            r#"{"reasoning":"x"}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"reasoning_content":"é\u0041"}"#,
        ] {
            let stream = format!("{role}data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
            assert!(watch(&stream).first_content.is_some(), "{delta}");
        }
        assert!(watch("data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n").first_content.is_some());
    }

    #[test]
    fn usage_and_errors_are_seen_after_content_too() {
        let seen = watch(concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,",
            "\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\ndata: [DONE]\n\n"
        ));
        assert_eq!(seen.usage, Some(Usage { input: 7, cached_input: Some(2), output: 3, reasoning: None }));
        assert!(!seen.error_event);
        let seen =
            watch("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"m\"}}\n\n");
        assert!(seen.error_event);
    }

    #[test]
    fn counts_that_are_none_are_not_known_and_cost_nothing_else() {
        for usage in [
            "{}",
            "{\"total_tokens\":3}",
            "{\"prompt_tokens\":\"x\"}",
            "[1]",
            "{\"prompt_tokens\":18446744073709551615}",
        ] {
            let seen =
                watch(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"x\"}}}}],\"usage\":{usage}}}\n\n"));
            assert!(seen.first_content.is_some() && seen.usage.is_none(), "{usage}");
            assert_eq!(read_usage(format!("{{\"usage\":{usage}}}").as_bytes()), None, "{usage}");
        }
    }

    #[test]
    fn a_whole_answer_in_pieces() {
        let mut observer = Observer::whole();
        for part in ["{\"usage\":{\"prompt_tokens\":1,", "\"completion_tokens\":2,\"prompt_tokens_details\":null}}"] {
            observer.push(&Bytes::from_static(part.as_bytes()), Instant::now());
        }
        observer.finish();
        assert_eq!(observer.seen.usage, Some(Usage { input: 1, cached_input: None, output: 2, reasoning: None }));
        assert_eq!(read_usage(b"<html>"), None);
    }

    #[test]
    fn names_and_reasons_are_those_of_the_backend() {
        let mut observer = Observer::whole();
        observer.push(
            &Bytes::from_static(
                br#"{"id":"c-1","model": "m","choices":[{"message":{"content":"a \"model\": \"x\""},"finish_reason":"stop"},{"finish_reason":"length"}]}"#,
            ),
            Instant::now(),
        );
        observer.finish();
        let told = AnswerIds {
            id: Some("c-1".to_owned()),
            model: Some("m".to_owned()),
            reasons: vec!["stop".to_owned(), "length".to_owned()],
        };
        assert_eq!(observer.seen.told, told);
        let seen = watch(concat!(
            "data: {\"id\":\"c-1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            "data: {\"id\":\"c-1\",\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n",
            "data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        ));
        assert_eq!(seen.told, AnswerIds { reasons: vec!["stop".to_owned()], ..told });
        assert_eq!(seen.pace.unwrap().gaps(), 2);
        let long = format!("data: {{\"model\":\"{}\",\"choices\":[]}}\n\n", "é".repeat(500));
        assert_eq!(watch(&long).told.model.unwrap().chars().count(), 128);
        let seen = watch(concat!(
            "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"status\":\"in_progress\"}}\n\n",
            "data: {\"type\":\"response.incomplete\",\"response\":{\"id\":\"resp_1\",\"status\":\"incomplete\"}}\n\n",
        ));
        assert_eq!((seen.told.id.as_deref(), seen.told.reasons), (Some("resp_1"), vec!["incomplete".to_owned()]));
    }
}
