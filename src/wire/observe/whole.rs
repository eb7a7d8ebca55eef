//! Reads an unstreamed answer: its ids and reasons, and whether it is an answer at all.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::wire::answer_facts::{AnswerFacts, AnswerIds, MAX_REASONS};
use crate::wire::usage;

/// Searchers for the names of the fields that are read, built once.
static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    id: Finder::new(b"\"id\""),
    model: Finder::new(b"\"model\""),
    reason: Finder::new(b"\"finish_reason\""),
});

struct Words {
    id: Finder<'static>,
    model: Finder<'static>,
    reason: Finder<'static>,
}

/// Reads the facts of a complete answer; with `is_brief` only usage and model.
pub(super) fn read(seen: &mut AnswerFacts, body: &[u8], is_brief: bool) {
    seen.usage = usage::of_answer(body);
    if is_brief {
        let model = text_after(&WORDS.model, body);
        seen.told.name(None, model.as_ref().map(|(model, _)| model.as_ref()));
    } else {
        seen.told = told_by(body);
    }
}

/// Fields of which an answer has at least one.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    error: Option<IgnoredAny>,
    choices: Option<IgnoredAny>,
    output: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
}

/// Returns the reason why a body with status 200 is not an answer of OpenAI's API; `None` if it is one.
pub(crate) fn wrong_with(body: &[u8]) -> Option<&'static str> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Some("the body is not a JSON object");
    }
    match serde_json::from_slice::<Answer<'_>>(body) {
        Err(_) => Some("the body is not a JSON object"),
        Ok(answer) if answer.error.is_some() || answer.object.as_deref() == Some("error") => {
            Some("the status is 200 and the body is an error")
        }
        Ok(Answer { object: None, choices: None, output: None, data: None, .. }) => {
            Some("the body has none of the fields of an answer: object, choices, output, data")
        }
        Ok(_) => None,
    }
}

/// Reads id, model and finish reasons of an unstreamed answer without parsing all of it.
pub(crate) fn told_by(body: &[u8]) -> AnswerIds {
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

/// Returns the string value of the first field of this name, and the bytes after the name. The name cannot be part of a
/// string, where its quotes would be escaped.
fn text_after<'a>(name: &Finder<'static>, body: &'a [u8]) -> Option<(Cow<'a, str>, &'a [u8])> {
    let rest = body.get(name.find(body)? + name.needle().len()..)?;
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    Some((Cow::deserialize(&mut serde_json::Deserializer::from_slice(value)).ok()?, rest))
}
