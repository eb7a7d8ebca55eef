//! Log probabilities of tokens: OpenAI's fields, all of them, and no others.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::read::Text;

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[derive(Deserialize)]
struct LogprobsField<'a> {
    #[serde(borrow)]
    content: Option<Vec<LogprobEntry<'a>>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct LogprobEntry<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    top_logprobs: Option<Vec<TopLogprob<'a>>>,
}

#[derive(Deserialize, Serialize)]
struct TopLogprob<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
}

impl LogprobEntry<'_> {
    pub(super) fn token(&self) -> &Cow<'_, str> {
        &self.token.0
    }
}

/// One for each token; none where there is nothing that OpenAI's clients could read.
pub(super) fn entries(raw: Option<&RawValue>) -> Vec<LogprobEntry<'_>> {
    let told = raw.and_then(|raw| serde_json::from_str::<LogprobsField<'_>>(raw.get()).ok());
    let mut entries = told.and_then(|told| told.content).unwrap_or_default();
    for entry in &mut entries {
        entry.top_logprobs.get_or_insert_default();
    }
    entries
}

/// The entries with commas between, as they stand in the list.
pub(super) fn joined(entries: &[LogprobEntry<'_>]) -> Vec<u8> {
    // A list of texts and numbers always serialises.
    let list = serde_json::to_vec(entries).unwrap_or_default();
    list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")).unwrap_or_default().to_vec()
}
