//! Reads names of headers that are sent to a backend.

use http::HeaderName;

use super::super::reader::{Wrong, wrong};

/// Headers that `headers` cannot list: credentials, and fields that belong to one connection or one body.
const FORBIDDEN: [&str; 16] = [
    "authorization",
    "x-api-key",
    "api-key",
    "openai-organization",
    "openai-project",
    "cookie",
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
];

/// Reads one entry of `propagate`.
pub(super) fn name(text: &str) -> Result<HeaderName, Wrong> {
    text.parse().or_else(|_| wrong(format!("is {text:?}, which is not a header name"), "write a name that HTTP allows"))
}

/// Reads one entry of `headers`.
pub(super) fn extra(text: &str) -> Result<HeaderName, Wrong> {
    let name = name(text)?;
    if FORBIDDEN.contains(&name.as_str()) || name.as_str().starts_with("x-shiftgate-") {
        return wrong(format!("is {text:?}, which is never forwarded"), "leave it out: keys belong into api_key");
    }
    Ok(name)
}
