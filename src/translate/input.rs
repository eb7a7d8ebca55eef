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
}

impl TranslateInput<'_> {
    /// True if no byte of the request may change.
    pub fn passes_untouched(&self) -> bool {
        self.as_it_came() && !(self.backend.inject_usage && self.scan.stream())
    }

    pub(super) fn as_it_came(&self) -> bool {
        self.is_baseline && self.backend.engine.facts().speaks_openai
    }
}
