//! Token counts as engines report them, written as OpenAI's: with both details, which some code reads without a check.

use bytes::{BufMut, BytesMut};
use serde::Deserialize;

use super::json::put_number;
use crate::wire::answer_facts::{MAX_TOKENS, Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TokenCounts {
    input: u64,
    cached: Option<u64>,
    cache_written: Option<u64>,
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
    /// SGLang's field for the tokens of thoughts.
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
    /// Reads the counts; `None` if there are none, or above [`MAX_TOKENS`].
    pub(super) fn read(json: &str) -> Option<Self> {
        let fields: UsageFields = serde_json::from_str(json).ok()?;
        let (input, output) = (fields.prompt_tokens?, fields.completion_tokens.unwrap_or(0));
        if input.max(output) > MAX_TOKENS {
            return None;
        }
        let input_details = fields.prompt_tokens_details.unwrap_or_default();
        let reasoning = fields.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        Some(Self {
            input,
            cached: input_details.cached_tokens,
            cache_written: input_details.cache_write_tokens,
            output,
            reasoning: reasoning.or(fields.reasoning_tokens),
            total: fields.total_tokens.unwrap_or_else(|| input.saturating_add(output)),
        })
    }

    pub(super) const fn seen(self) -> Usage {
        Usage {
            input: self.input,
            cached_input: self.cached,
            cache_written: self.cache_written,
            output: self.output,
            reasoning: self.reasoning,
        }
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

    /// Returns the counts as `/v1/responses` writes them.
    pub(super) fn to_responses(self) -> serde_json::Value {
        serde_json::json!({
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached.unwrap_or(0), "cache_write_tokens": self.cache_written.unwrap_or(0)},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning.unwrap_or(0)},
            "total_tokens": self.total,
        })
    }
}
