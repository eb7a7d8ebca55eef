//! One request to be translated, and the backend that it is translated for.

use bytes::Bytes;

use crate::config::Backend;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// Request to be translated, and the backend that gets it.
#[derive(Debug, Clone, Copy)]
pub struct TranslateInput<'a> {
    /// Body of the request.
    pub body: &'a Bytes,
    /// Fields of that body.
    pub scan: &'a Scan<'a>,
    /// API that the request is for.
    pub endpoint: Endpoint,
    /// Backend that gets the request.
    pub backend: &'a Backend,
    /// A baseline that speaks OpenAI's API receives the request's bytes unchanged.
    pub is_baseline: bool,
    /// Context length in tokens as the server reports it; a value in the file goes before it.
    pub max_model_len: Option<u64>,
    /// Longest prompt, in tokens, as the server reports it, where that is less than its context.
    pub max_input_tokens: Option<u64>,
}

/// Limits of a backend, in tokens; `None` where one is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContextLimits {
    /// Prompt and answer together.
    pub(super) max_model_len: Option<u64>,
    /// Prompt alone.
    pub(super) max_input_tokens: Option<u64>,
}

impl ContextLimits {
    /// True if no limit is known, so that every prompt fits.
    pub(super) const fn are_unknown(self) -> bool {
        self.max_model_len.is_none() && self.max_input_tokens.is_none()
    }

    /// True if a prompt of `prompt` tokens fits and leaves `room` tokens for the answer.
    pub(super) fn hold(self, prompt: u64, room: u64) -> bool {
        self.max_model_len.is_none_or(|most| prompt.saturating_add(room) <= most)
            && self.max_input_tokens.is_none_or(|most| prompt <= most)
    }
}

impl TranslateInput<'_> {
    /// True if no byte of the request may change.
    pub fn passes_untouched(&self) -> bool {
        self.as_it_came() && !(self.backend.inject_usage && self.scan.stream())
    }

    pub(super) fn limits(&self) -> ContextLimits {
        ContextLimits {
            max_model_len: self.backend.translation.max_model_len.or(self.max_model_len),
            max_input_tokens: self.max_input_tokens,
        }
    }

    pub(super) fn as_it_came(&self) -> bool {
        self.is_baseline && self.backend.engine.facts().speaks_openai
    }
}
