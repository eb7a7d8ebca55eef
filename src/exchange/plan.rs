//! Plan of one request to one backend: its translation, and everything needed to send it and read its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Uri};

use super::deadlines::Deadlines;
use super::inbound::Inbound;
use crate::backend::headers::{self, Own, OwnTrace};
use crate::backend::{RequestBody, Target};
use crate::model::header::TRACEPARENT;
use crate::model::{SpanId, TraceContext};
use crate::outcome::{LegKind, Role, Trail};
use crate::translate::{self, AnswerSpec, Ledger, Owner, TranslateError, TranslateInput};
use crate::wire::scan::Scan;

/// Default limit of an answer held whole, in bytes; a larger answer fails the leg.
const MAX_WHOLE: u64 = 32 << 20;

/// One request to one backend. Owns everything it needs.
#[derive(Debug)]
pub struct Plan {
    inbound: Arc<Inbound>,
    target: Arc<Target>,
    uri: Uri,
    body: Option<Bytes>,
    model: String,
    ledger: Option<Ledger>,
    answer: Option<Arc<AnswerSpec>>,
    role: Role,
    /// True if the answer passes byte for byte: not held, checked or rewritten.
    passes_unheld: bool,
    /// True if the application's cookies and `OpenAI-*` headers are sent along.
    sees_account: bool,
    /// True if the answer's usage and ending are read while it passes.
    is_observed: bool,
    trace: Option<TraceContext>,
    reads_ids: bool,
    max_whole: u64,
    /// Value of the backend's affinity header.
    affinity: Option<HeaderValue>,
    /// True if the client's deadlines bound the backend.
    is_bound_by_client: bool,
}

/// Reason for which no request can be sent.
#[derive(Debug)]
pub enum PlanError {
    /// The backend, or any backend, cannot serve the request.
    Untranslatable(TranslateError),
    /// The path cannot be appended to the backend's.
    MalformedPath,
}

impl Plan {
    /// Translates a request for a backend.
    pub fn new(inbound: &Arc<Inbound>, target: &Arc<Target>, role: Role) -> Result<Self, PlanError> {
        let mut plan = Self::verbatim(inbound, target, role)?;
        let is_baseline = role == Role::Baseline;
        if let (Some(body), Some(scan)) = (inbound.body(), inbound.scan()) {
            plan.translate(body, scan, is_baseline)?;
        }
        plan.is_observed |= plan.answer.is_some();
        plan.passes_unheld = is_baseline && plan.made_openais().is_none();
        Ok(plan)
    }

    /// Plans the request with its body unchanged, for any engine.
    pub fn verbatim(inbound: &Arc<Inbound>, target: &Arc<Target>, role: Role) -> Result<Self, PlanError> {
        let own_path = own_path(inbound.uri(), Owner::of(&target.config.name));
        let uri = target.uri_for(own_path.as_ref().unwrap_or_else(|| inbound.uri())).ok_or(PlanError::MalformedPath)?;
        let is_baseline = role == Role::Baseline;
        Ok(Self {
            inbound: Arc::clone(inbound),
            target: Arc::clone(target),
            uri,
            body: inbound.body().cloned(),
            model: String::new(),
            ledger: None,
            answer: None,
            role,
            passes_unheld: is_baseline,
            sees_account: is_baseline,
            is_observed: inbound.endpoint().operation().is_some(),
            trace: None,
            reads_ids: false,
            max_whole: MAX_WHOLE,
            affinity: None,
            is_bound_by_client: role == Role::Candidate,
        })
    }

    fn translate(&mut self, body: &Bytes, scan: &Scan<'_>, is_baseline: bool) -> Result<(), PlanError> {
        let endpoint = self.inbound.endpoint();
        let (backend, facts) = (&self.target.config, &self.target.facts);
        let (max_model_len, max_input_tokens) = (facts.max_model_len(), facts.max_input_tokens());
        let ask = TranslateInput { body, scan, endpoint, backend, is_baseline, max_model_len, max_input_tokens };
        if ask.passes_untouched() {
            self.model = scan.model().map(|model| model.to_string()).unwrap_or_default();
            return Ok(());
        }
        let done = translate::request(&ask).map_err(PlanError::Untranslatable)?;
        let injects = backend.inject_usage && done.answer_spec.streamed && !done.answer_spec.usage_chunk;
        let is_rewritten = endpoint.is_generation() && (!backend.engine.facts().speaks_openai || injects);
        self.answer = is_rewritten.then(|| Arc::new(done.answer_spec));
        (self.body, self.model, self.ledger) = (Some(done.body), done.model, Some(done.ledger));
        Ok(())
    }

    /// Makes the plan return the backend's answer as it is, with any status: for probes.
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.answer = None;
        self.passes_unheld = true;
        self
    }

    /// Adds the backend to `trace` if its `propagate` allows it. `reads_ids` is true if spans need the answer's ids and
    /// finish reasons.
    #[must_use]
    pub fn traced(mut self, trace: Option<TraceContext>, reads_ids: bool) -> Self {
        self.trace = trace.filter(|_| self.target.config.propagate.contains(&TRACEPARENT));
        self.reads_ids = reads_ids;
        self
    }

    /// Adds the hash of the request's key for the backend's affinity header, if it takes one.
    #[must_use]
    pub fn with_affinity(mut self, key_hash: Option<u64>) -> Self {
        let takes_one = self.target.config.affinity.is_some();
        let value = |hash| HeaderValue::try_from(format!("{hash:016x}")).ok();
        self.affinity = key_hash.filter(|_| takes_one).and_then(value);
        self
    }

    /// Frees the backend from the client's deadlines, because pings reach the client.
    #[must_use]
    pub const fn without_client_deadlines(mut self) -> Self {
        self.is_bound_by_client = false;
        self
    }

    /// Sets the limit of an answer held whole, in bytes.
    #[must_use]
    pub const fn with_max_whole(mut self, max_whole: u64) -> Self {
        self.max_whole = max_whole;
        self
    }

    /// Creates the leg's trail, which takes the ledger.
    pub fn trail(&mut self, kind: LegKind) -> Trail {
        let backend = (&self.target.labels, &self.target.stats);
        let mut trail = Trail::new(kind, self.role, backend, &self.model, self.inbound.is_stream());
        trail.ledger = self.ledger.take();
        trail
    }

    /// Name of the model that is sent; empty if the request names none.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Length, in bytes, of the body that is sent.
    pub fn body_len(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The backend's handle.
    pub const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The backend's part in the rollout.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Steps of the translation; `None` if the bytes are unchanged.
    pub const fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// The request behind the plan.
    pub const fn inbound(&self) -> &Arc<Inbound> {
        &self.inbound
    }

    pub(super) const fn max_whole(&self) -> u64 {
        self.max_whole
    }

    pub(super) const fn passes_unheld(&self) -> bool {
        self.passes_unheld
    }

    pub(super) const fn is_observed(&self) -> bool {
        self.is_observed
    }

    pub(super) const fn reads_ids(&self) -> bool {
        self.reads_ids
    }

    /// Spec for rewriting the answer; `None` if it is not rewritten.
    pub(super) const fn answer(&self) -> Option<&Arc<AnswerSpec>> {
        self.answer.as_ref()
    }

    /// Spec of an answer whose engine does not speak OpenAI's format.
    pub fn made_openais(&self) -> Option<&Arc<AnswerSpec>> {
        self.answer.as_ref().filter(|spec| !spec.engine.facts().speaks_openai)
    }

    /// Deadlines of an exchange that begins now, for a request that began at `started`.
    pub(super) fn deadlines(&self, started: Instant) -> Deadlines {
        let begins = (started, Instant::now());
        let client = self.is_bound_by_client.then(|| self.inbound.sdk_timeouts());
        Deadlines::new(&self.target.config.timeout, client, self.inbound.is_stream(), begins)
    }

    /// Builds the request for an attempt with this span. `stream` is a body that was not read; it can be sent once.
    pub fn request(&self, stream: Option<RequestBody>, span: SpanId) -> Request<RequestBody> {
        let method = self.inbound.method();
        let body = stream.unwrap_or_else(|| RequestBody::whole(self.body.clone().unwrap_or_default()));
        let is_empty = http_body::Body::is_end_stream(&body);
        // hyper omits the length of an empty body, and some servers answer 411 then (RFC 9110 §8.6).
        let needs_length = is_empty && matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        // hyper sends a body with these methods only if its framing is set.
        let needs_framing = !is_empty
            && matches!(*method, Method::GET | Method::HEAD)
            && http_body::Body::size_hint(&body).exact().is_none();
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri.clone();
        let own = Own { trace: self.own_trace(span), affinity: self.affinity.clone() };
        let app = self.inbound.headers();
        *request.headers_mut() = headers::for_backend(app, &self.target, self.sees_account, self.is_observed, own);
        if self.made_openais().is_some() {
            // Some servers reject JSON with another content type, or without one.
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if needs_length {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if needs_framing {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }

    fn own_trace(&self, span: SpanId) -> Option<OwnTrace> {
        let trace = self.trace.as_ref()?;
        let traceparent = HeaderValue::try_from(trace.traceparent(span)).ok()?;
        Some(OwnTrace { traceparent, begins_here: trace.parent.is_none() })
    }
}

/// Returns the path of a stored response under its owner's id; the application knows it under shiftgate's id.
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
