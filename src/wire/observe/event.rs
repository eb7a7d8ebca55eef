//! Reads the events of a stream: first content, usage, an error, the end.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Instant;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::wire::answer_facts::AnswerFacts;
use crate::wire::usage::Counts;

/// Searchers for the words that make an event worth parsing, built once.
static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    usage: Finder::new(b"\"usage\""),
    error: Finder::new(b"\"error\""),
    finish_reason: Finder::new(b"\"finish_reason\":"),
    response: Finder::new(b"\"response."),
});

struct Words {
    usage: Finder<'static>,
    error: Finder<'static>,
    finish_reason: Finder<'static>,
    response: Finder<'static>,
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

/// The whole answer, as the first and last events of `/v1/responses` contain it.
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

/// True if the event may have a finish reason or end an answer of `/v1/responses`.
fn says_end(data: &[u8]) -> bool {
    match WORDS.finish_reason.find(data) {
        Some(at) => !is_null(data, at + WORDS.finish_reason.needle().len()),
        None => WORDS.response.find(data).is_some(),
    }
}

/// True if the event may have usage; servers that send it at the end send `null` before.
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

/// Adds the facts of one event, which came at `now`.
pub(super) fn read_event(seen: &mut AnswerFacts, data: &[u8], now: Instant) {
    if data == b"[DONE]" {
        seen.done = true;
        return;
    }
    if seen.first_content.is_some() && !seen.finished() {
        seen.pace.get_or_insert_default().chunk(now);
    }
    // Once content has begun, only events that may hold usage, an error or the end are parsed.
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
    if let Some(usage) = usage.and_then(|usage| Counts::read(usage.get())?.usage()) {
        seen.usage = Some(usage);
    }
}
