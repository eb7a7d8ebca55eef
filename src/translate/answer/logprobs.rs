//! Log probabilities of tokens, with all of OpenAI's fields and no others.

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

/// Returns an entry for each token; none if the value is not in OpenAI's format.
pub(super) fn entries(raw: Option<&RawValue>) -> Vec<LogprobEntry<'_>> {
    let field = raw.and_then(|raw| serde_json::from_str::<LogprobsField<'_>>(raw.get()).ok());
    let mut entries = field.and_then(|field| field.content).unwrap_or_default();
    for entry in &mut entries {
        entry.top_logprobs.get_or_insert_default();
    }
    entries
}

/// Returns the entries as JSON joined by commas, without brackets.
pub(super) fn joined(entries: &[LogprobEntry<'_>]) -> Vec<u8> {
    // A list of texts and numbers always serialises.
    let list = serde_json::to_vec(entries).unwrap_or_default();
    list.strip_prefix(b"[").and_then(|list| list.strip_suffix(b"]")).unwrap_or_default().to_vec()
}
