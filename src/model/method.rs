//! Names HTTP methods by OpenTelemetry's conventions.

use http::Method;

/// Methods with a name of their own; others are [`OTHER_METHOD`].
pub(crate) const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// Name of every other method.
pub(crate) const OTHER_METHOD: &str = "_OTHER";

/// Returns the method for logs, metrics and spans. An unknown one is replaced: it may be as long as a whole head.
pub(crate) fn told_method(method: &Method) -> Method {
    match METHODS.contains(&method.as_str()) {
        true => method.clone(),
        false => Method::from_bytes(OTHER_METHOD.as_bytes()).unwrap_or_default(),
    }
}
