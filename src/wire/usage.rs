//! Reads token counts, as OpenAI and every engine write them.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer_facts::{MAX_TOKENS, Usage};

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Counts of one `usage` object; `None` for a count that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Prompt tokens.
    pub input: Option<u64>,
    /// Prompt tokens that were read from a cache.
    pub cached_input: Option<u64>,
    /// Prompt tokens that were written to a cache.
    pub cache_written: Option<u64>,
    /// Generated tokens.
    pub output: Option<u64>,
    /// Generated tokens that are thoughts.
    pub reasoning: Option<u64>,
    /// Sum as the server counted it.
    pub total: Option<u64>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    /// SGLang writes it here.
    reasoning_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

impl Counts {
    /// Reads a `usage` object; `None` if it is not one, or if a count is above [`MAX_TOKENS`].
    pub(crate) fn read(json: &str) -> Option<Self> {
        serde_json::from_str::<Fields>(json).ok()?.counts()
    }

    /// Returns the counts if the server counted its input or its output; a missing one of the two is 0.
    pub(crate) fn usage(self) -> Option<Usage> {
        self.input.or(self.output)?;
        Some(Usage {
            input: self.input.unwrap_or(0),
            cached_input: self.cached_input,
            cache_written: self.cache_written,
            output: self.output.unwrap_or(0),
            reasoning: self.reasoning,
        })
    }
}

impl Fields {
    fn counts(self) -> Option<Counts> {
        let input = self.prompt_tokens_details.unwrap_or_default();
        let output = self.completion_tokens_details.unwrap_or_default();
        let counts = Counts {
            input: self.prompt_tokens,
            cached_input: input.cached_tokens,
            cache_written: input.cache_write_tokens,
            output: self.completion_tokens,
            reasoning: output.reasoning_tokens.or(self.reasoning_tokens),
            total: self.total_tokens,
        };
        let Counts { input, cached_input, cache_written, output, reasoning, total: _ } = counts;
        let largest = [input, cached_input, cache_written, output, reasoning].into_iter().flatten().max();
        (largest.unwrap_or(0) <= MAX_TOKENS).then_some(counts)
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads the usage of an unstreamed answer. If the name occurs once in the body, only its value is parsed: the name cannot
/// be part of a string, where its quotes would be escaped.
pub(crate) fn of_answer(body: &[u8]) -> Option<Usage> {
    let at = USAGE.find(body)?;
    let rest = body.get(at + USAGE.needle().len()..)?;
    if USAGE.find(rest).is_none()
        // As text its names need no check of their own.
        && let Ok(rest) = std::str::from_utf8(rest)
        && let Some(value) = rest.trim_ascii_start().strip_prefix(':')
        && let Ok(fields) = Fields::deserialize(&mut serde_json::Deserializer::from_str(value))
    {
        return fields.counts()?.usage();
    }
    Counts::read(serde_json::from_slice::<Answer<'_>>(body).ok()?.usage?.get())?.usage()
}
