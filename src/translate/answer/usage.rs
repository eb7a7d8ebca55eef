//! Counts of tokens as engines tell them, and as OpenAI does: both details always there, for code that reads them unasked.

use bytes::{BufMut, BytesMut};
use serde::Deserialize;

use super::json::put_number;
use crate::wire::answer_facts::{MAX_TOKENS, Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TokenCounts {
    input: u64,
    cached: Option<u64>,
    cache_written: u64,
    output: u64,
    reasoning: Option<u64>,
    total: u64,
}

#[derive(Deserialize)]
struct UsageFields {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    /// SGLang's place for it.
    reasoning_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<UsageDetails>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<UsageDetails>,
}

#[derive(Deserialize, Default)]
struct UsageDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl TokenCounts {
    /// `None` where there are no counts to be read.
    pub(super) fn read(json: &str) -> Option<Self> {
        let told: UsageFields = serde_json::from_str(json).ok()?;
        let (input, output) = (told.prompt_tokens?, told.completion_tokens.unwrap_or(0));
        if input.max(output) > MAX_TOKENS {
            return None;
        }
        let input_details = told.prompt_tokens_details.unwrap_or_default();
        let reasoning = told.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        Some(Self {
            input,
            cached: input_details.cached_tokens,
            cache_written: input_details.cache_write_tokens.unwrap_or(0),
            output,
            reasoning: reasoning.or(told.reasoning_tokens),
            total: told.total_tokens.unwrap_or_else(|| input.saturating_add(output)),
        })
    }

    pub(super) const fn seen(self) -> Usage {
        Usage { input: self.input, cached_input: self.cached, output: self.output, reasoning: self.reasoning }
    }

    pub(super) fn put_chat(self, out: &mut BytesMut) {
        for (name, number) in [
            (&b"{\"prompt_tokens\":"[..], self.input),
            (b",\"completion_tokens\":", self.output),
            (b",\"total_tokens\":", self.total),
            (b",\"prompt_tokens_details\":{\"cached_tokens\":", self.cached.unwrap_or(0)),
            (b",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":", self.reasoning.unwrap_or(0)),
        ] {
            out.put_slice(name);
            put_number(out, number);
        }
        out.put_slice(b",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}");
    }

    /// As `/v1/responses` tells them.
    pub(super) fn to_responses(self) -> serde_json::Value {
        serde_json::json!({
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached.unwrap_or(0), "cache_write_tokens": self.cache_written},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning.unwrap_or(0)},
            "total_tokens": self.total,
        })
    }
}
