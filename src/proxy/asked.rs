//! A request as the application sent it, and what becomes of it for one backend.
//!
//! Invariant: for an OpenAI baseline the body's bytes are those that came.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Uri, request};

use super::deadlines::{Deadlines, SdkTimeouts};
use super::record::Record;
use crate::backend::headers::{self, OwnTrace};
use crate::backend::{RequestBody, Target};
use crate::live::Snapshot;
use crate::model::Engine;
use crate::translate::{self, AnswerSpec, Ledger, Owner, TranslateError, TranslateInput};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::Scan;

/// What the application asked.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) head: &'a request::Parts,
    /// The body, where it was read.
    pub(super) bytes: Option<&'a Bytes>,
    pub(super) scanned: Option<&'a Scan<'a>>,
}

/// The request as one backend gets it, before anything is sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) backend: usize,
    body: Option<Bytes>,
    /// What the backend calls the model.
    model: String,
    /// `None` where the bytes are those that came.
    ledger: Option<Ledger>,
    /// What its answer has to be made into; `None` where it passes as it comes.
    wants: Option<Arc<AnswerSpec>>,
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
    pub(super) wants: Option<Arc<AnswerSpec>>,
    /// Sent twice it costs, but does no harm.
    pub(super) replay_safe: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn replay_safe(&self) -> bool {
        self.bytes.is_some()
            && (self.endpoint.replay_safe_by_path()
                || self.scanned.is_some_and(|scan| self.endpoint.replay_safe_by_body(scan)))
    }

    /// Translates for `backend`; who cannot take the request says why.
    pub(super) fn prepare(&self, snapshot: &Snapshot, backend: usize) -> Result<Prepared, TranslateError> {
        let target = &snapshot.targets[backend];
        let (Some(body), Some(scan)) = (self.bytes, self.scanned) else {
            let body = self.bytes.cloned();
            return Ok(Prepared { backend, body, model: String::new(), ledger: None, wants: None });
        };
        let ask = TranslateInput {
            body,
            scan,
            endpoint: self.endpoint,
            backend: &target.config,
            is_baseline: backend == snapshot.baseline(),
            max_model_len: target.facts.max_model_len(),
        };
        if ask.passes_untouched() {
            let model = scan.model().map(|model| model.to_string()).unwrap_or_default();
            return Ok(Prepared { backend, body: Some(body.clone()), model, ledger: None, wants: None });
        }
        let done = translate::request(&ask)?;
        let rewrites = target.config.engine != Engine::OpenAi
            || (target.config.inject_usage && done.answer_spec.streamed && !done.answer_spec.usage_chunk);
        let wants = (self.endpoint.is_generation() && rewrites).then(|| Arc::new(done.answer_spec));
        Ok(Prepared { backend, body: Some(done.body), model: done.model, ledger: Some(done.ledger), wants })
    }

    /// `None` when the path cannot be put behind the backend's.
    pub(super) fn leg(&self, snapshot: &'a Snapshot, prepared: Prepared, record: &mut Record) -> Option<Leg<'a>> {
        let target = &snapshot.targets[prepared.backend];
        let is_baseline = prepared.backend == snapshot.baseline();
        let uri = match own_path(&self.head.uri, Owner::of(&target.config.name)) {
            Some(own) => target.uri_for(&own)?,
            None => target.uri_for(&self.head.uri)?,
        };
        let streamed = self.scanned.is_some_and(Scan::stream);
        record.sent_as(prepared.model, prepared.ledger.as_ref(), &target.stats);
        let patience = SdkTimeouts::of(&self.head.headers);
        let begins = (record.watch.started, Instant::now());
        Some(Leg {
            target,
            is_baseline,
            observed: self.endpoint.operation().is_some() || prepared.wants.is_some(),
            streamed,
            deadlines: Deadlines::new(&target.config.timeout, patience, streamed, begins),
            head: self.head,
            uri,
            body: prepared.body,
            wants: prepared.wants,
            replay_safe: self.replay_safe(),
        })
    }
}

impl Leg<'_> {
    /// What the answer is made into, where it is one of another engine.
    pub(super) fn made_openais(&self) -> Option<&AnswerSpec> {
        self.wants.as_deref().filter(|wants| wants.engine != Engine::OpenAi)
    }

    /// What is sent; `stream` is a body that was not read, and may be given once.
    pub(super) fn request(&self, stream: Option<RequestBody>, trace: Option<OwnTrace>) -> Request<RequestBody> {
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
        *request.headers_mut() =
            headers::for_backend(&self.head.headers, self.target, self.is_baseline, self.observed, trace);
        if self.wants.is_some() && self.target.config.engine != Engine::OpenAi {
            // Some refuse JSON under another name, or under none.
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if says_none {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if is_unusual {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}

/// A stored response under the id that its owner gave it: the application knows it by one of ours.
fn own_path(asked: &Uri, owner: Owner) -> Option<Uri> {
    const STORED: &str = "/v1/responses/";
    let (id, rest) =
        asked.path().strip_prefix(STORED).map(|rest| rest.split_at(rest.find('/').unwrap_or(rest.len())))?;
    let (_, own) = translate::owner_of_response(id).filter(|(named, _)| *named == owner)?;
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{STORED}{own}{rest}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_response_is_asked_for_by_its_owners_id() {
        let owner = Owner::of("qwen");
        let id = translate::response_id(owner, "resp_1a");
        let own = |path: String, owner| own_path(&path.parse().unwrap(), owner).map(|uri| uri.to_string());
        assert_eq!(own(format!("/v1/responses/{id}"), owner).unwrap(), "/v1/responses/resp_1a");
        assert_eq!(own(format!("/v1/responses/{id}/cancel?x=1"), owner).unwrap(), "/v1/responses/resp_1a/cancel?x=1");
        assert_eq!(own(format!("/v1/responses/{id}"), Owner::of("other")), None);
        assert_eq!(own("/v1/responses/resp_68aa".to_owned(), owner), None);
        assert_eq!(own(format!("/v1/files/{id}"), owner), None);
    }
}
