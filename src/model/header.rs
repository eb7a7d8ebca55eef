//! Names of header fields that every request is asked for: made once, since a name in text is parsed at each look.

use http::HeaderName;

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(crate) const STAINLESS_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-timeout");
pub(crate) const STAINLESS_READ_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-read-timeout");
pub(crate) const STAINLESS_RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const SHIFTGATE_BACKEND: HeaderName = HeaderName::from_static("x-shiftgate-backend");
