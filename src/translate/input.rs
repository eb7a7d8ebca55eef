//! One request to be translated, and the backend that it is translated for.

use bytes::Bytes;

use crate::config::Backend;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// What is to be translated, and for whom.
#[derive(Debug, Clone, Copy)]
pub struct TranslateInput<'a> {
    pub body: &'a Bytes,
    pub scan: &'a Scan<'a>,
    pub endpoint: Endpoint,
    pub backend: &'a Backend,
    /// One that speaks OpenAI's own API then gets the bytes as they came.
    pub is_baseline: bool,
    /// What the server said of itself, where the file says nothing.
    pub max_model_len: Option<u64>,
}

impl TranslateInput<'_> {
    /// Whether anything may be changed at all.
    pub fn passes_untouched(&self) -> bool {
        self.as_it_came() && !(self.backend.inject_usage && self.scan.stream())
    }

    pub(super) fn as_it_came(&self) -> bool {
        self.is_baseline && self.backend.engine.facts().speaks_openai
    }
}
