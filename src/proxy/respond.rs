//! Answers that shiftgate gives itself, and what it adds to those of backends.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::answer::AnswerBody;
use super::attempt::LegError;
use super::record::Record;
use crate::backend::Failure;
use crate::model::header::{SHIFTGATE_BACKEND, X_REQUEST_ID};
use crate::model::{End, Refusal};
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

/// Why a request gets no backend's answer.
#[derive(Debug)]
pub(super) enum LocalReply {
    /// CONNECT, in any version, and methods that no API uses.
    Method,
    /// What the head says breaks HTTP's rules, or is not for us.
    Wrong(Wrong),
    /// `OPTIONS *`: answered, not refused.
    OptionsStar,
    TargetTooLong,
    HeadTooLarge(usize),
    TooManyFields(usize),
    MalformedPath,
    UnknownPath(String),
    UnknownOverride,
    ClientBody(String),
    /// Nobody reads the answer.
    ClientLeft,
    /// No backend can do what is asked, or nobody ever could.
    Untranslatable(Box<ApiError>),
    /// The application stopped sending.
    SlowBody,
    Overload(&'static str),
    /// A backend had no answer.
    Failed(Failure),
    /// A candidate's own words, with its status.
    Rejected {
        status: StatusCode,
        retry_after: Option<HeaderValue>,
        error: ApiError,
    },
    /// A candidate answered as if its address, key or model name were wrong: our configuration's fault.
    Misconfigured(StatusCode),
}

impl LocalReply {
    /// What the application is told when nobody else may answer.
    pub(super) fn of(missed: LegError) -> Self {
        match missed {
            LegError::Failed(Failure::ClientBody(cause)) => Self::ClientBody(cause),
            LegError::Failed(Failure::ClientSlow) => Self::SlowBody,
            LegError::Failed(Failure::ClientLeft) => Self::ClientLeft,
            LegError::Failed(failure) => Self::Failed(failure),
            LegError::Rejected { told, said, .. }
                if said.misconfigured || told.is_informational() || told.is_redirection() =>
            {
                Self::Misconfigured(told)
            }
            LegError::Rejected { retry_after, said, .. } => Self::Rejected {
                status: StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_GATEWAY),
                retry_after,
                error: said.error,
            },
            LegError::NoRoom => Self::Overload("limits.body_bytes"),
        }
    }

    /// Status, error and the reason of the closed list; no reason where a backend is to blame.
    fn explain(&self) -> (StatusCode, ApiError, Option<Refusal>) {
        fn invalid(message: impl Into<String>, code: Option<&'static str>) -> ApiError {
            ApiError::invalid_request(message, code)
        }
        match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                invalid(format!("this method is not served here: send one of {METHODS}"), Some("method_not_allowed")),
                Some(Refusal::Method),
            ),
            Self::Wrong(wrong) => (wrong.status, invalid(wrong.what, Some(wrong.code)), Some(Refusal::Request)),
            Self::SlowBody => (
                StatusCode::REQUEST_TIMEOUT,
                invalid("no more of the request's body came in time", Some("request_timeout")),
                Some(Refusal::Timeout),
            ),
            Self::OptionsStar => (StatusCode::NO_CONTENT, invalid("", None), Some(Refusal::Method)),
            Self::TargetTooLong => (
                StatusCode::URI_TOO_LONG,
                invalid("the request's target is longer than 8 KiB", Some("uri_too_long")),
                Some(Refusal::Head),
            ),
            Self::HeadTooLarge(limit) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                invalid(
                    format!("the request's head is larger than limits.head, {limit} bytes"),
                    Some("head_too_large"),
                ),
                Some(Refusal::Head),
            ),
            Self::TooManyFields(limit) => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                invalid(format!("the request's head has more than {limit} fields"), Some("head_too_large")),
                Some(Refusal::Head),
            ),
            Self::MalformedPath => (
                StatusCode::BAD_REQUEST,
                invalid("the path has dot segments, empty segments or encoded slashes", Some("invalid_path")),
                Some(Refusal::Request),
            ),
            Self::UnknownPath(path) => (
                StatusCode::NOT_FOUND,
                invalid(
                    format!(
                        "Unknown request URL: {path}. shiftgate serves paths under /v1: check the client's base_url"
                    ),
                    Some("unknown_url"),
                ),
                Some(Refusal::Path),
            ),
            Self::UnknownOverride => (
                StatusCode::BAD_REQUEST,
                invalid(
                    "x-shiftgate-backend names no backend of rollout.toml; send one of its names, or leave it out",
                    Some("unknown_backend"),
                ),
                Some(Refusal::Override),
            ),
            Self::ClientBody(cause) => (
                StatusCode::BAD_REQUEST,
                invalid(format!("the request's body could not be read: {cause}"), Some("client_body")),
                Some(Refusal::Request),
            ),
            Self::ClientLeft => (
                StatusCode::BAD_REQUEST,
                invalid("the request's body ended before it was whole", Some("client_body")),
                Some(Refusal::Request),
            ),
            Self::Untranslatable(error) => (StatusCode::BAD_REQUEST, error.as_ref().clone(), Some(Refusal::Request)),
            Self::Overload(limit) => (
                StatusCode::SERVICE_UNAVAILABLE,
                ApiError::server(format!("shiftgate is at its limit ({limit}); try again shortly"), "overloaded"),
                Some(Refusal::Overload),
            ),
            Self::Failed(_) | Self::Rejected { .. } | Self::Misconfigured(_) => {
                let (status, error) = self.explain_backend();
                (status, error, None)
            }
        }
    }

    /// The same, where a backend is to blame. Its name stands in `x-shiftgate-backend` and nowhere else: the application
    /// is not told whom it speaks to.
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

/// Ends a request without a backend's answer.
pub(super) fn refuse(mut record: Box<Record>, refused: &LocalReply) -> Response<AnswerBody> {
    let (status, error, refusal) = refused.explain();
    let body = if status == StatusCode::NO_CONTENT { Bytes::new() } else { error.to_json() };
    let end = match (refusal, refused) {
        (Some(refusal), _) => {
            let end = if matches!(refused, LocalReply::ClientLeft) { End::ClientGone } else { End::Refused };
            record.refuse(refusal, end);
            if let LocalReply::Overload(limit) = refused {
                record.shed(limit);
            }
            end
        }
        (None, LocalReply::Failed(failure)) if failure.is_timeout() => End::Timeout,
        (None, LocalReply::Rejected { .. }) => End::Complete,
        (None, _) => End::UpstreamError,
    };
    if !matches!(refused, LocalReply::Rejected { .. }) {
        record.speak();
    }
    record.answered(status, Instant::now());
    let mut headers = HeaderMap::with_capacity(8);
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    match refused {
        LocalReply::Overload(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
        }
        LocalReply::Rejected { retry_after, status, .. } => {
            let busy = matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if let Some(value) = retry_after.clone().or_else(|| busy.then(|| HeaderValue::from_static("1"))) {
                headers.insert(RETRY_AFTER, value);
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
            }
        }
        LocalReply::Misconfigured(_) => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        LocalReply::Method => {
            headers.insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        LocalReply::SlowBody | LocalReply::Wrong(Wrong { closes: true, .. }) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    if let Ok(id) = HeaderValue::from_str(&format!("req_{}", record.trace_id())) {
        headers.insert(X_REQUEST_ID, id);
    }
    mark(&mut headers, &record);
    let mut response = Response::new(AnswerBody::whole(body, record, end));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The head of an answer that another engine gave, as OpenAI's would look: nothing of the engine's stays.
pub(super) fn as_openai(headers: &mut HeaderMap, record: &Record, streamed: bool) {
    headers.clear();
    let kind = if streamed { "text/event-stream; charset=utf-8" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(id) = HeaderValue::from_str(&format!("req_{}", record.trace_id())) {
        headers.insert(X_REQUEST_ID, id);
    }
    let took = Instant::now().saturating_duration_since(record.watch.started).as_millis();
    headers.insert(PROCESSING_MS, HeaderValue::from(u64::try_from(took).unwrap_or(u64::MAX)));
    if let Some(model) = &record.real_model {
        headers.insert(MODEL, model.clone());
    }
}

/// Tells who answered and why.
pub(super) fn mark(headers: &mut HeaderMap, record: &Record) {
    if let Some(name) = record.backend_name() {
        headers.insert(SHIFTGATE_BACKEND, name.clone());
    }
    headers.insert(REASON, HeaderValue::from_static(record.reason.as_str()));
    headers.insert(GENERATION, record.snapshot.generation_header.clone());
    if let Some(translated) = &record.translated {
        headers.insert(TRANSLATED, translated.clone());
    }
    if let Ok(id) = HeaderValue::from_str(record.trace_id()) {
        headers.insert(TRACE_ID, id);
    }
}

/// An answer in bytes for a connection of which no request was read: one too many (503), or one that is too slow (408).
pub(super) fn without_request(status: StatusCode) -> Arc<[u8]> {
    let (error, reason, more) = if status == StatusCode::REQUEST_TIMEOUT {
        let error = ApiError::invalid_request("the request's head did not come in time", Some("request_timeout"));
        (error, "refused:timeout", "")
    } else {
        let error = ApiError::server("shiftgate is at its limit (limits.connections); try again shortly", "overloaded");
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
