//! HTTP's methods, as OpenTelemetry's conventions tell them.

use http::Method;

/// Others are [`OTHER_METHOD`].
pub(crate) const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// The word of the conventions.
pub(crate) const OTHER_METHOD: &str = "_OTHER";

/// The method as it is told: one that nobody knows may be as long as a head.
pub(crate) fn told_method(method: &Method) -> Method {
    match METHODS.contains(&method.as_str()) {
        true => method.clone(),
        false => Method::from_bytes(OTHER_METHOD.as_bytes()).unwrap_or_default(),
    }
}
