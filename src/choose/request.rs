//! The request and the facts that a choice is made of.

use bytes::Bytes;
use http::HeaderMap;

use crate::config::Config;
use crate::model::{BackendId, MissingFeatures, Pin};
use crate::translate::{self, TranslateInput};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// The part of a request's body that is at hand.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// The body is a JSON object.
    Scanned(&'a Scan<'a>),
    /// The body is not a JSON object.
    Unparsable,
    /// The body is larger than `max_body` and streams by unread.
    OverCap,
    /// The endpoint's body is never read.
    NotRead,
}

/// A request, as far as the choice depends on it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The endpoint of its path.
    pub endpoint: &'a Endpoint,
    /// Its path, without the query.
    pub path: &'a str,
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
    /// The scan of the body, where it is a JSON object.
    pub(super) const fn scan(&self) -> Option<&'a Scan<'a>> {
        match self.body {
            Body::Scanned(scan) => Some(scan),
            Body::Unparsable | Body::OverCap | Body::NotRead => None,
        }
    }
}

/// Properties that a backend reported or a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Longest context in tokens, as the server reported it.
    pub max_model_len: Option<u64>,
    /// Features that a probe found missing.
    pub missing: MissingFeatures,
    /// True if a probe has looked: features that it did not miss work.
    pub is_probed: bool,
}

/// Whether a candidate may be asked at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Availability {
    /// It may be asked.
    #[default]
    Free,
    /// Its load or its requests in flight are at a limit.
    Overload,
    /// It answered 429 and is left alone for a while.
    Cooldown,
    /// Its breaker is open.
    Breaker,
}

/// Facts about backends at the moment of the choice.
pub trait Facts {
    /// Properties of a backend.
    fn known(&self, _backend: BackendId) -> Known {
        Known::default()
    }

    /// Whether a candidate may be asked now. Not called for the baseline.
    fn availability(&self, _backend: BackendId) -> Availability {
        Availability::Free
    }

    /// The feature of the request that a candidate cannot serve; told before the draw.
    fn cannot(&self, config: &Config, request: &Request<'_>, backend: BackendId) -> Option<Pin> {
        let Body::Scanned(scan) = request.body else { return None };
        // The answer does not depend on the body's text.
        let body = &Bytes::new();
        let max_model_len = self.known(backend).max_model_len;
        let (endpoint, backend) = (*request.endpoint, &config[backend]);
        let ask = TranslateInput { body, scan, endpoint, backend, is_baseline: false, max_model_len };
        translate::pin_exactly(&ask).map(|pinned| pinned.pin)
    }
}

/// Nothing is known and every candidate may be asked: the file alone decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileOnly;

impl Facts for FileOnly {}
