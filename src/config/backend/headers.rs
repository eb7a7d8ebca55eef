//! Reads names of headers that are sent to a backend: `headers`, `propagate`, `affinity`.

use http::HeaderName;

use super::super::problem::Problems;
use super::super::reader::{Value, Wrong, string, wrong};
use crate::model::Engine;

/// Default of `affinity`: routers in front of vLLM read it.
const AFFINITY: HeaderName = HeaderName::from_static("x-session-id");
/// Headers, besides those of [`FORBIDDEN`], that have a meaning of their own at a backend.
const NOT_FOR_AFFINITY: [&str; 6] =
    ["content-type", "content-encoding", "accept", "accept-encoding", "expect", "user-agent"];
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

/// Reads `affinity`; by default self-hosted engines get it. `engine` is `None` if it could not be read.
pub(super) fn affinity(value: Option<&Value<'_>>, engine: Option<Engine>, p: &mut Problems<'_>) -> Option<HeaderName> {
    let is_for = engine.is_none_or(Engine::self_hosted);
    let Some(value) = value else { return engine.filter(|engine| engine.self_hosted()).map(|_| AFFINITY) };
    if value.get_ref().as_str() == Some("") {
        return None;
    }
    let read = string(value).and_then(|text| {
        let name = name(text)?;
        let is_ours = name.as_str().starts_with("x-shiftgate-") || name.as_str().starts_with("x-stainless-");
        let traces = ["traceparent", "tracestate", "baggage", "x-request-id"].contains(&name.as_str());
        match is_ours || traces || FORBIDDEN.contains(&name.as_str()) || NOT_FOR_AFFINITY.contains(&name.as_str()) {
            true => wrong(
                format!("is {text:?}, which has another meaning"),
                "choose a header of its own, such as \"x-session-id\"",
            ),
            false if is_for => Ok(name),
            false => wrong(
                "is for servers that you run yourself",
                "leave it out: this engine gets no header that names a conversation",
            ),
        }
    });
    match read {
        Ok(name) => Some(name),
        Err(wrong) => {
            p.add(&value.span(), format!("affinity {}", wrong.what), wrong.cure);
            None
        }
    }
}
