//! Answers of shiftgate's own, and headers that it adds to backends' answers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::answer::AnswerBody;
use super::progress::Progress;
use crate::backend::{Failure, headers};
use crate::exchange::{LegError, Opened, OpenedBody, Plan};
use crate::model::header::{SHIFTGATE_BACKEND, X_REQUEST_ID};
use crate::model::{End, Limit, Reason, Refusal};
use crate::translate::answer::BackendError;
use crate::wire::error_body::ApiError;
use crate::wire::head::Wrong;

const REASON: HeaderName = HeaderName::from_static("x-shiftgate-reason");
const GENERATION: HeaderName = HeaderName::from_static("x-shiftgate-generation");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
const MODEL: HeaderName = HeaderName::from_static("x-shiftgate-model");
const TRANSLATED: HeaderName = HeaderName::from_static("x-shiftgate-translated");
const TRACE_ID: HeaderName = HeaderName::from_static("x-shiftgate-trace-id");
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Reason for an answer of shiftgate's own.
#[derive(Debug)]
pub(super) enum LocalReply {
    /// CONNECT, in any version, and methods that no API uses.
    Method,
    /// The head violates HTTP, or is meant for another host.
    Wrong(Wrong),
    /// `OPTIONS *`, which is answered and not refused.
    OptionsStar,
    TargetTooLong,
    HeadTooLarge(usize),
    TooManyFields(usize),
    MalformedPath,
    UnknownPath(String),
    UnknownOverride,
    ClientBody(String),
    /// The client disconnected: the answer is not read.
    ClientLeft,
    /// The backends, or any backend, cannot serve the request.
    Untranslatable(Box<ApiError>),
    /// Residency rules leave no backend that could serve the request.
    Residency(String),
    /// The client stopped sending its body.
    SlowBody,
    Overload(Limit),
    /// A backend did not answer.
    Failed(Failure),
    /// A candidate's own error, with its status.
    Rejected {
        status: StatusCode,
        retry_after: Option<HeaderValue>,
        error: ApiError,
    },
    /// A candidate answered as if its URL, key or model name were wrong in the file.
    Misconfigured(StatusCode),
}

impl LocalReply {
    /// Creates the reply for a failed leg.
    pub(super) fn of(error: LegError) -> Self {
        match error {
            LegError::Failed(Failure::ClientBody(cause)) => Self::ClientBody(cause),
            LegError::Failed(Failure::ClientSlow) => Self::SlowBody,
            LegError::Failed(Failure::ClientLeft | Failure::ClientDeadline) => Self::ClientLeft,
            LegError::Failed(failure) => Self::Failed(failure),
            LegError::Rejected { status, error, .. } if !is_told(status, &error) => Self::Misconfigured(status),
            LegError::Rejected { retry_after, error, .. } => Self::Rejected {
                status: StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY),
                retry_after,
                error: error.error,
            },
            LegError::NoRoom => Self::Overload(Limit::BodyBytes),
        }
    }

    /// True if [`LocalReply::of`] passes the backend's own error on.
    pub(super) fn tells(error: &LegError) -> bool {
        matches!(error, LegError::Rejected { status, error, .. } if is_told(*status, error))
    }

    /// Status, error and the reason of the closed list; no reason where a backend is to blame, or the application left.
    fn explain(&self) -> (StatusCode, ApiError, Option<Refusal>) {
        match self {
            Self::SlowBody => (
                StatusCode::REQUEST_TIMEOUT,
                invalid("no more of the request's body came in time", "request_timeout"),
                Some(Refusal::Timeout),
            ),
            Self::UnknownOverride => (
                StatusCode::BAD_REQUEST,
                invalid(
                    "x-shiftgate-backend names no backend of rollout.toml; send one of its names, or leave it out",
                    "unknown_backend",
                ),
                Some(Refusal::Override),
            ),
            Self::ClientBody(cause) => (
                StatusCode::BAD_REQUEST,
                invalid(format!("the request's body could not be read: {cause}"), "client_body"),
                Some(Refusal::Request),
            ),
            Self::ClientLeft => {
                (StatusCode::BAD_REQUEST, invalid("the request's body ended before it was whole", "client_body"), None)
            }
            Self::Residency(message) => (
                StatusCode::SERVICE_UNAVAILABLE,
                ApiError::server(message.clone(), "residency"),
                Some(Refusal::Residency),
            ),
            Self::Untranslatable(error) => (StatusCode::BAD_REQUEST, error.as_ref().clone(), Some(Refusal::Request)),
            Self::Overload(limit) => (
                StatusCode::SERVICE_UNAVAILABLE,
                ApiError::server(limit.explain(), "overloaded"),
                Some(Refusal::Overload),
            ),
            Self::Failed(_) | Self::Rejected { .. } | Self::Misconfigured(_) => {
                let (status, error) = self.explain_backend();
                (status, error, None)
            }
            _ => {
                let (status, error, refusal) = self.explain_head();
                (status, error, Some(refusal))
            }
        }
    }

    /// Explains a refusal by the head alone.
    fn explain_head(&self) -> (StatusCode, ApiError, Refusal) {
        let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        match self {
            Self::Wrong(wrong) => (wrong.status, invalid(wrong.what, wrong.code), Refusal::Request),
            Self::OptionsStar => {
                (StatusCode::NO_CONTENT, ApiError::invalid_request(String::new(), None), Refusal::Method)
            }
            Self::TargetTooLong => {
                let error = invalid("the request's target is longer than 8 KiB", "uri_too_long");
                (StatusCode::URI_TOO_LONG, error, Refusal::Head)
            }
            Self::HeadTooLarge(limit) => {
                let message = format!("the request's head is larger than limits.head, {limit} bytes");
                (too_large, invalid(message, "head_too_large"), Refusal::Head)
            }
            Self::TooManyFields(limit) => {
                let message = format!("the request's head has more than {limit} fields");
                (too_large, invalid(message, "head_too_large"), Refusal::Head)
            }
            Self::UnknownPath(path) => {
                let message = format!(
                    "Unknown request URL: {path}. shiftgate serves paths under /v1: check the client's base_url"
                );
                (StatusCode::NOT_FOUND, invalid(message, "unknown_url"), Refusal::Path)
            }
            Self::Method => {
                let message = format!("this method is not served here: send one of {METHODS}");
                (StatusCode::METHOD_NOT_ALLOWED, invalid(message, "method_not_allowed"), Refusal::Method)
            }
            _ => {
                let message = "the path has dot segments, empty segments or encoded slashes";
                (StatusCode::BAD_REQUEST, invalid(message, "invalid_path"), Refusal::Request)
            }
        }
    }

    /// End of the request with this reply.
    const fn end(&self) -> End {
        match self {
            Self::ClientLeft => End::ClientGone,
            Self::Failed(failure) if failure.is_timeout() => End::Timeout,
            Self::Failed(_) | Self::Misconfigured(_) => End::UpstreamError,
            Self::Rejected { .. } => End::Complete,
            _ => End::Refused,
        }
    }

    /// Adds headers that advise the client: retry, wait, or close.
    fn advise(&self, head: &mut HeaderMap) {
        match self {
            Self::Overload(_) => {
                head.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                head.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
            }
            Self::Rejected { retry_after, status, .. } => {
                let is_final = status.is_client_error()
                    && !matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                let is_busy = matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                let wait = retry_after.clone().filter(|_| !is_final);
                if let Some(value) = wait.or_else(|| is_busy.then(|| HeaderValue::from_static("1"))) {
                    head.insert(RETRY_AFTER, value);
                    head.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
                }
            }
            Self::Misconfigured(_) | Self::Residency(_) => {
                head.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Self::Method => {
                head.insert(ALLOW, HeaderValue::from_static(METHODS));
            }
            Self::SlowBody | Self::Wrong(Wrong { closes: true, .. }) => {
                head.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }

    /// Returns status and error if a backend is to blame. Only `x-shiftgate-backend` names the backend; the message
    /// does not name it.
    fn explain_backend(&self) -> (StatusCode, ApiError) {
        match self {
            Self::Failed(failure) if failure.is_timeout() => {
                (StatusCode::GATEWAY_TIMEOUT, ApiError::server(format!("upstream: {failure}"), "upstream_timeout"))
            }
            Self::Failed(failure) => {
                (StatusCode::BAD_GATEWAY, ApiError::server(format!("upstream: {failure}"), "upstream_error"))
            }
            Self::Rejected { status, error, .. } => (*status, error.clone()),
            Self::Misconfigured(status) => (
                StatusCode::BAD_GATEWAY,
                ApiError::server(
                    format!(
                        "upstream: it answered {}: check its url, api_key and models in rollout.toml",
                        status.as_u16()
                    ),
                    "upstream_misconfigured",
                ),
            ),
            _ => (StatusCode::BAD_GATEWAY, ApiError::server("no backend answered", "upstream_error")),
        }
    }
}

fn invalid(message: impl Into<String>, code: &'static str) -> ApiError {
    ApiError::invalid_request(message, Some(code))
}

/// True if a backend's refusal is the application's to hear: not one of our own key, model or URL.
fn is_told(status: StatusCode, error: &BackendError) -> bool {
    !error.misconfigured && !status.is_informational() && !status.is_redirection()
}

/// Ends a request without a backend's answer.
pub(super) fn reply(mut progress: Box<Progress>, local: &LocalReply) -> Response<AnswerBody> {
    let (status, error, refusal) = local.explain();
    let body = if status == StatusCode::NO_CONTENT { Bytes::new() } else { error.to_json() };
    let end = local.end();
    if let Some(refusal) = refusal {
        progress.refuse(refusal);
    }
    if let LocalReply::Overload(limit) = local {
        progress.shed(*limit);
    }
    progress.head_leaves(status);
    let mut head = HeaderMap::with_capacity(8);
    if !body.is_empty() {
        head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    local.advise(&mut head);
    if let Ok(id) = HeaderValue::from_str(&format!("req_{}", progress.trace_id())) {
        head.insert(X_REQUEST_ID, id);
    }
    mark(&mut head, &progress);
    if matches!(local, LocalReply::ClientLeft) {
        // A client that closed only its sending side reads the answer; for counters it has left.
        head.insert(REASON, HeaderValue::from_static(Reason::Refused(Refusal::Request).as_str()));
    }
    let mut response = Response::new(AnswerBody::local(body, progress, end));
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}

/// Ends a request whose client has given up: its connection is closed without an answer.
pub(super) fn hang_up(progress: Box<Progress>) -> Response<AnswerBody> {
    progress.finish(End::ClientGone);
    Response::new(AnswerBody::hang_up())
}

/// Passes a backend's answer on.
pub(super) fn pass_on(opened: Opened, plan: &Plan, mut progress: Box<Progress>) -> Response<AnswerBody> {
    let Opened { mut head, body } = opened;
    let is_chunked = head.headers.contains_key(TRANSFER_ENCODING);
    headers::strip_hop_by_hop(&mut head.headers);
    progress.note_quota(&head, plan);
    progress.pass_on();
    progress.head_leaves(head.status);
    match &body {
        OpenedBody::Whole(bytes) => {
            if plan.made_openais().is_some() {
                as_openai(&mut head.headers, &progress, progress.answered_model());
            }
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        OpenedBody::Stream(stream) => {
            if plan.made_openais().is_some() {
                as_openai(&mut head.headers, &progress, stream.model());
            }
            // Chunked framing overrides a length (RFC 9112 §6.3), and a rewritten answer may differ in length.
            if stream.ends_by_itself() || is_chunked {
                head.headers.remove(CONTENT_LENGTH);
            }
        }
    }
    mark(&mut head.headers, &progress);
    head.version = http::Version::HTTP_11;
    let body = match body {
        OpenedBody::Whole(bytes) => AnswerBody::whole_leg(bytes, progress),
        OpenedBody::Stream(stream) => AnswerBody::relay(*stream, progress),
    };
    Response::from_parts(head, body)
}

/// Replaces the head of another engine's answer by OpenAI's headers.
fn as_openai(head: &mut HeaderMap, progress: &Progress, model: Option<&str>) {
    head.clear();
    let kind = if progress.is_stream() { "text/event-stream; charset=utf-8" } else { "application/json" };
    head.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(&format!("req_{}", progress.trace_id())) {
        head.insert(X_REQUEST_ID, id);
    }
    let took = progress.clock.began_at.elapsed().as_millis();
    head.insert(PROCESSING_MS, HeaderValue::from(u64::try_from(took).unwrap_or(u64::MAX)));
    if let Some(model) = model.and_then(|model| HeaderValue::from_str(model).ok()) {
        head.insert(MODEL, model);
    }
}

/// Adds the headers that name the backend and the reason.
pub(super) fn mark(head: &mut HeaderMap, progress: &Progress) {
    if let Some(name) = progress.backend_name() {
        head.insert(SHIFTGATE_BACKEND, name.clone());
    }
    if let Some(reason) = progress.reason() {
        head.insert(REASON, HeaderValue::from_static(reason.as_str()));
    }
    head.insert(GENERATION, progress.in_force.snapshot.generation_header.clone());
    if let Some(translated) = progress.translated() {
        head.insert(TRANSLATED, translated);
    }
    if let Ok(id) = HeaderValue::from_str(progress.trace_id()) {
        head.insert(TRACE_ID, id);
    }
}

/// Adds the headers of an early head, which does not name a backend.
pub(super) fn mark_early(head: &mut HeaderMap, progress: &Progress) {
    head.insert(REASON, HeaderValue::from_static("early"));
    head.insert(GENERATION, progress.in_force.snapshot.generation_header.clone());
    if let Ok(id) = HeaderValue::from_str(progress.trace_id()) {
        head.insert(TRACE_ID, id);
    }
}

/// Returns raw bytes for a connection without a request: one over the limit (503), or a slow head (408).
pub(super) fn without_request(status: StatusCode) -> Arc<[u8]> {
    let (error, reason, more) = if status == StatusCode::REQUEST_TIMEOUT {
        let error = ApiError::invalid_request("the request's head did not come in time", Some("request_timeout"));
        (error, "refused:timeout", "")
    } else {
        let error = ApiError::server(
            "shiftgate has as many connections as limits.connections of rollout.toml allows: try again shortly, or \
             raise the limit",
            "overloaded",
        );
        (error, "refused:overload", "retry-after: 1\r\nx-should-retry: true\r\n")
    };
    let body = error.to_json();
    let mut text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{more}\
         x-shiftgate-reason: {reason}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    text.extend_from_slice(&body);
    text.into()
}
