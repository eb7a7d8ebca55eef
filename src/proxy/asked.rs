//! A request as the application sent it, and what becomes of it for one backend.
//!
//! Invariant: for an OpenAI baseline the body's bytes are those that came.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Uri, request};

use super::deadlines::{ClientPatience, Deadlines};
use super::record::Record;
use crate::backend::{RequestBody, Target, headers};
use crate::live::Snapshot;
use crate::model::Engine;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;
use crate::wire::splice;

/// What the application asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) head: &'a request::Parts,
    /// The body, where it was read.
    pub(super) bytes: Option<&'a Bytes>,
    pub(super) scanned: Option<&'a Scan<'a>>,
}

/// The same, towards one backend.
pub(super) struct Leg<'a> {
    pub(super) target: &'a Arc<Target>,
    pub(super) is_baseline: bool,
    /// Its usage and end are read on the side.
    pub(super) observed: bool,
    pub(super) streamed: bool,
    pub(super) deadlines: Deadlines,
    head: &'a request::Parts,
    uri: Uri,
    body: Option<Bytes>,
    /// Sent twice it costs, but does no harm.
    pub(super) replay_safe: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn replay_safe(&self) -> bool {
        self.bytes.is_some()
            && (self.endpoint.replay_safe_by_path()
                || self.scanned.is_some_and(|scan| self.endpoint.replay_safe_by_body(scan)))
    }

    /// `None` when the path cannot be put behind the backend's.
    pub(super) fn leg(&self, snapshot: &'a Snapshot, backend: usize, record: &mut Record) -> Option<Leg<'a>> {
        let target = &snapshot.targets[backend];
        let is_baseline = backend == snapshot.baseline();
        let uri = target.uri_for(&self.head.uri)?;
        let streamed = self.scanned.is_some_and(Scan::stream);
        let body = match (self.bytes, self.scanned) {
            (Some(bytes), Some(scan)) => Some(translated(target, is_baseline, bytes, scan, record)),
            (bytes, _) => bytes.cloned(),
        };
        let patience = ClientPatience::of(&self.head.headers);
        let begins = (record.watch.started, Instant::now());
        Some(Leg {
            target,
            is_baseline,
            observed: self.endpoint.split_candidate(),
            streamed,
            deadlines: Deadlines::new(&target.config.timeout, patience, streamed, begins),
            head: self.head,
            uri,
            body,
            replay_safe: self.replay_safe(),
        })
    }
}

impl Leg<'_> {
    /// What is sent; `stream` is a body that was not read, and may be given once.
    pub(super) fn request(&self, stream: Option<RequestBody>) -> Request<RequestBody> {
        let body = stream.unwrap_or_else(|| RequestBody::whole(self.body.clone().unwrap_or_default()));
        // hyper says no length where there is no body, and some servers then answer 411 (RFC 9110 §8.6).
        let says_none = http_body::Body::is_end_stream(&body)
            && matches!(self.head.method, Method::POST | Method::PUT | Method::PATCH);
        // And sends none with these methods unless told how it is framed.
        let is_unusual = matches!(self.head.method, Method::GET | Method::HEAD)
            && !http_body::Body::is_end_stream(&body)
            && http_body::Body::size_hint(&body).exact().is_none();
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers::for_backend(&self.head.headers, self.target, self.is_baseline, self.observed);
        if says_none {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if is_unusual {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}

/// The body as `target` gets it: for an OpenAI baseline as it came, else with the model's name replaced.
fn translated(target: &Target, is_baseline: bool, bytes: &Bytes, scan: &Scan<'_>, record: &mut Record) -> Bytes {
    let Some(model) = scan.model() else { return bytes.clone() };
    let as_it_came = is_baseline && target.config.engine == Engine::OpenAi;
    let name = if as_it_came { model.as_ref() } else { target.config.model_for(model).unwrap_or(model) };
    record.model = name.to_owned();
    match (as_it_came || matches!(model, Cow::Borrowed(same) if *same == name), scan.model_span()) {
        (false, Some(span)) => splice::replace(bytes, span, name),
        _ => bytes.clone(),
    }
}
