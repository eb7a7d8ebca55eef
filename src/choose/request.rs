//! A request and the facts about backends, as input of the choice.

use bytes::Bytes;
use http::HeaderMap;

use crate::config::Config;
use crate::model::{BackendId, MissingFeatures, Pin};
use crate::translate::{self, TranslateInput};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// The available part of a request's body.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// The body is a JSON object.
    Scanned(&'a Scan<'a>),
    /// The request has no body.
    Empty,
    /// The body is not a JSON object.
    Unparsable,
    /// The body is larger than `max_body` and streams through unread.
    OverCap,
    /// The endpoint's body is never read.
    NotRead,
}

/// The part of a request that the choice depends on.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The endpoint of its path.
    pub endpoint: &'a Endpoint,
    /// Its path, without the query.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: Body<'a>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("endpoint", self.endpoint).finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// The scan of the body, if it is a JSON object.
    pub(super) const fn scan(&self) -> Option<&'a Scan<'a>> {
        match self.body {
            Body::Scanned(scan) => Some(scan),
            Body::Empty | Body::Unparsable | Body::OverCap | Body::NotRead => None,
        }
    }
}

/// Properties that a backend reported or a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Longest context in tokens, as the server reported it.
    pub max_model_len: Option<u64>,
    /// Longest prompt in tokens, as the server reported it.
    pub max_input_tokens: Option<u64>,
    /// Features that a probe found missing.
    pub missing: MissingFeatures,
    /// True if a probe has run: features that it did not report missing work.
    pub is_probed: bool,
}

/// Availability of a candidate at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Availability {
    /// Available.
    #[default]
    Free,
    /// Its load or its requests in flight are at a limit.
    Overload,
    /// It answered 429 and gets no requests for a while.
    Cooldown,
    /// Its breaker is open.
    Breaker,
}

/// Facts about backends at the time of the choice.
pub trait Facts {
    /// Properties of a backend.
    fn known(&self, _backend: BackendId) -> Known {
        Known::default()
    }

    /// Availability of a candidate. Not called for the baseline.
    fn availability(&self, _backend: BackendId) -> Availability {
        Availability::Free
    }

    /// Returns the feature of the request that a candidate cannot serve; checked before the draw.
    fn cannot(&self, config: &Config, request: &Request<'_>, backend: BackendId) -> Option<Pin> {
        let Body::Scanned(scan) = request.body else { return None };
        // The result does not depend on the body's text.
        let body = &Bytes::new();
        let Known { max_model_len, max_input_tokens, .. } = self.known(backend);
        let (endpoint, backend) = (*request.endpoint, &config[backend]);
        let ask = TranslateInput { body, scan, endpoint, backend, is_baseline: false, max_model_len, max_input_tokens };
        translate::pin_exactly(&ask).map(|pinned| pinned.pin)
    }
}

/// Facts without knowledge: every candidate is available, and the file alone decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileOnly;

impl Facts for FileOnly {}
