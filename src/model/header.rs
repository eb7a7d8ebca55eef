//! Names of headers that are looked up in every request; built once, since a name given as text is parsed each time.

use http::HeaderName;

/// The caller's span (W3C Trace Context).
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Vendors' data beside `traceparent`.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Timeout of the application's SDK, in seconds.
pub(crate) const STAINLESS_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-timeout");
/// Read timeout of the Python SDK, in seconds.
pub(crate) const STAINLESS_READ_TIMEOUT: HeaderName = HeaderName::from_static("x-stainless-read-timeout");
/// Number of retries that the SDK has made of this request.
pub(crate) const STAINLESS_RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");
/// Id that OpenAI gives to a request.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Backend that the application names, and that an answer came from.
pub(crate) const SHIFTGATE_BACKEND: HeaderName = HeaderName::from_static("x-shiftgate-backend");
/// The application's wish about a copy of its request: `off`, or `on` where overrides are allowed.
pub(crate) const SHIFTGATE_SHADOW: HeaderName = HeaderName::from_static("x-shiftgate-shadow");
