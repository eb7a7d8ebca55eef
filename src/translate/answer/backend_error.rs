//! Errors of backends in OpenAI's envelope and status.
//!
//! Owns: the dialects of errors. Invariant: of a backend's message at most one short line is passed on, and nothing
//! about its keys and models.

use std::borrow::Cow;

use serde_json::Value;

use super::pydantic;
use crate::model::{Engine, ErrorDialect};
use crate::wire::error_body::ApiError;

/// Limit, in characters, on a backend's message; the rest is cut off.
const MAX_MESSAGE: usize = 2000;
const MAX_NAME: usize = 64;

/// Texts by which engines report that a request does not fit their context.
const OVER_CONTEXT: [&str; 9] = [
    "maximum context length is",
    "cannot be greater than max_model_len",
    "is longer than the model's context length",
    "Requested token count exceeds",
    "max_completion_tokens is too large",
    "`inputs` tokens + `max_new_tokens` must be <=",
    "`inputs` must have less than",
    "Range of input length should be",
    "context_length_exceeded",
];

/// Error of a backend, fit to be sent to an OpenAI client.
#[derive(Debug, Clone)]
pub struct BackendError {
    /// Status for the client.
    pub status: u16,
    /// Error for the client, in OpenAI's envelope.
    pub error: ApiError,
    /// The backend answered 4xx, but not because of the client.
    pub unusable: bool,
    /// The request does not fit into the backend's context.
    pub context: bool,
    /// The configuration is wrong: the key, the model's name, the URL; or a bill was not paid.
    pub misconfigured: bool,
}

impl BackendError {
    /// Replaces the model's name in the message by the name that the application used.
    pub fn rename_model(&mut self, served: &str, asked: &str) {
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_/:.".contains(c);
        let pieces = self.error.message.split_inclusive(|c| !in_name(c));
        let renamed = pieces.map(|piece| match piece.strip_prefix(served) {
            Some(rest) if !rest.trim_start_matches('.').starts_with(in_name) => Cow::Owned(format!("{asked}{rest}")),
            _ => Cow::Borrowed(piece),
        });
        self.error.message = renamed.collect();
    }
}

/// Fields of an error body or event.
#[derive(Default)]
struct ErrorFields {
    message: String,
    param: Option<String>,
    code: Option<String>,
    /// TGI's `error_type`.
    kind: String,
    /// Status that an error event contains.
    status: Option<u16>,
}

/// Reads the body of an answer whose status is not 2xx.
pub fn refusal(engine: Engine, status: u16, body: &[u8]) -> BackendError {
    let found = match serde_json::from_slice::<Value>(body) {
        Ok(value) => ErrorFields::of(&value),
        Err(_) => ErrorFields { message: plain(body), ..ErrorFields::default() },
    };
    found.judge(engine, status)
}

/// Reads an error event, or the body of a 200 that is an error.
pub(super) fn of_event(engine: Engine, data: &[u8]) -> BackendError {
    let found = serde_json::from_slice::<Value>(data).map(|value| ErrorFields::of(&value)).unwrap_or_default();
    let status = found.status.unwrap_or(500);
    found.judge(engine, status)
}

/// Returns the error for an answer that came with 200 and cannot be used: 502 `upstream_error`.
pub(super) fn failed(message: &'static str) -> BackendError {
    BackendError {
        status: 502,
        error: ApiError::server(message, "upstream_error"),
        unusable: false,
        context: false,
        misconfigured: false,
    }
}

/// Returns the message of a body that is not JSON: none for a proxy's HTML page, the `message` for JSON that was cut
/// off (some bodies have 39,000 characters).
fn plain(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.trim_start().bytes().next() {
        Some(b'{' | b'[') => torn_message(&text).unwrap_or_default(),
        Some(b'<') => String::new(),
        _ => text.into_owned(),
    }
}

/// Returns the `message` in JSON that was cut off, up to its end or the cut; `None` if the cut is in its first line.
fn torn_message(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"message\":")?;
    let rest = rest.trim_start().strip_prefix('"')?;
    let read = |end: usize| serde_json::from_str::<String>(&format!("\"{}\"", rest.get(..end)?)).ok();
    let mut is_escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    // The cut may be within an escape, or between the two of one character.
    let backslashes = || rest.rmatch_indices('\\').map(|(at, _)| at).take(3);
    let cut = || std::iter::once(rest.len()).chain(backslashes()).find_map(read).filter(|read| read.contains('\n'));
    match end {
        Some(end) => read(end),
        None => cut(),
    }
}

impl ErrorFields {
    fn of(value: &Value) -> Self {
        let error = value.get("response").and_then(|response| response.get("error")).or_else(|| value.get("error"));
        let inside = error.filter(|error| error.is_object()).unwrap_or(value);
        let text = |name: &str| inside.get(name).and_then(Value::as_str).map(str::to_owned);
        let alone = error.or_else(|| value.get("detail")).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| inside.get(name).and_then(Value::as_u64);
        let status = number("http_status_code").or_else(|| number("code")).or_else(|| number("status_code"));
        Self {
            message: text("message").or(alone).unwrap_or_default(),
            param: text("param"),
            code: text("code"),
            kind: value.get("error_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            status: status.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status)),
        }
    }

    fn judge(mut self, engine: Engine, answered: u16) -> BackendError {
        // A list of validation errors also holds the client's input, whose words say nothing about the error.
        if let Some(first) = pydantic::first_error(&self.message) {
            (self.message, self.param) = (first.message, first.param);
        }
        let code = self.code.as_deref().unwrap_or_default();
        let has = |word: &str| code == word || self.message.contains(word);
        if OVER_CONTEXT.iter().any(|text| has(text)) {
            let mut error = self.error(400);
            (error.param, error.code) = (Some("messages".to_owned()), Some("context_length_exceeded".into()));
            return BackendError { status: 400, error, unusable: false, context: true, misconfigured: false };
        }
        let dialect = engine.facts().errors;
        let dashscope = dialect == ErrorDialect::DashScope;
        if dashscope && (has("DataInspectionFailed") || has("data_inspection_failed")) {
            let mut error = self.error(400);
            error.code = Some("content_filter".into());
            return BackendError { status: 400, error, unusable: false, context: false, misconfigured: false };
        }
        // A 404 for an id that the application sent is the client's error; any other is about the model or the path.
        let is_own_id = self.param.as_deref().is_some_and(|param| param.ends_with("response_id"));
        if (matches!(answered, 401..=405) && !is_own_id) || (dashscope && (has("Arrearage") || has("InvalidApiKey"))) {
            let message = format!("the backend refused shiftgate's key, model or path ({answered})");
            let error = ApiError::server(message, "upstream_misconfigured");
            return BackendError { status: 502, error, unusable: true, context: false, misconfigured: true };
        }
        // A stream's status is 200, so DashScope's code tells that it is throttled.
        let throttled = dashscope && (code.starts_with("Throttling") || code == "limit_requests");
        let status = match dialect {
            _ if throttled => 429,
            ErrorDialect::Tgi => self.tgi_status(answered),
            ErrorDialect::Status | ErrorDialect::DashScope => shown_status(answered),
        };
        let unusable = answered < 500 && status >= 500;
        BackendError { status, error: self.error(status), unusable, context: false, misconfigured: false }
    }

    /// Returns the status by the message, since TGI answers 422 for every error, above all in its streams.
    fn tgi_status(&self, answered: u16) -> u16 {
        let says = |text: &str| self.message.starts_with(text);
        if says("Tool error: Failed to parse generated text")
            || says("Request failed during generation")
            || says("Incomplete generation")
            || matches!(self.kind.as_str(), "generation" | "incomplete_generation")
        {
            500
        } else if says("Model is overloaded") || self.kind == "overloaded" {
            429
        } else {
            shown_status(answered)
        }
    }

    fn error(&self, status: u16) -> ApiError {
        let message = first_line(&self.message);
        let message = if message.is_empty() { format!("the backend answered {status}") } else { message };
        let own = self.code.as_deref().filter(|code| is_openai_code(code)).map(Into::into);
        let (kind, usual) = match status {
            429 => ("rate_limit_error", Some("rate_limit_exceeded")),
            400..=499 => ("invalid_request_error", None),
            _ => ("server_error", Some("upstream_error")),
        };
        ApiError { message, kind, param: self.param(), code: own.or_else(|| usual.map(Into::into)) }
    }

    /// Returns the field as OpenAI names it; `None` for a position in the JSON text.
    fn param(&self) -> Option<String> {
        let param = self.param.as_deref()?;
        if param.starts_with("body.") {
            return pydantic::field_of(param).map(|field| field.chars().take(MAX_NAME).collect());
        }
        let names_field = param.bytes().any(|byte| byte.is_ascii_alphabetic()) && param != "body";
        names_field.then(|| param.chars().take(MAX_NAME).collect())
    }
}

/// True for lower-case words, as OpenAI's codes are.
fn is_openai_code(code: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !code.is_empty()
        && code.len() <= MAX_NAME
        && code.bytes().all(plain)
        && !code.starts_with(|c: char| c.is_ascii_digit())
}

const fn shown_status(answered: u16) -> u16 {
    match answered {
        422 | 501 => 400,
        424 => 500,
        400..=599 => answered,
        _ => 502,
    }
}

/// Returns the first line without paths of the server's files.
fn first_line(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let is_path = |word: &&str| {
        let bare = word.trim_start_matches(['\'', '"', '`', '(']);
        let is_file = word.contains('.') || (bare.starts_with('/') && !bare.starts_with("/v1/"));
        word.matches('/').count() > 1 && is_file && !word.contains("://")
    };
    let line = if line.contains('/') {
        Cow::Owned(line.split(' ').filter(|word| !is_path(word)).collect::<Vec<_>>().join(" "))
    } else {
        Cow::Borrowed(line)
    };
    line.chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rest of the table is in `tests/data/answers/errors.jsonl`.
    #[test]
    fn of_a_message_the_first_line_without_paths() {
        for (body, message) in [
            (r#"{"message":"bad\n\n  File \"x.py\", line 3"}"#, "bad"),
            (r#"{"message":"Failed: [1] /project/cpp/conv.cc:4175: Unsupported"}"#, "Failed: [1] Unsupported"),
            (r#"{"message":"see https://a.b/c/d.html"}"#, "see https://a.b/c/d.html"),
            (r#"{"message":"29 \"validation\" errors:\n  {'type': 'stri"#, "29 \"validation\" errors:"),
            (r#"{"message":"whole","type":"torn\n"#, "whole"),
            (r#"{"message":"torn"#, "the backend answered 400"),
            (r#"{"message":"no images for '/srv/models/Qwen3-8B' now"}"#, "no images for now"),
            (r#"{"message":"use /v1/completions and/or/so"}"#, "use /v1/completions and/or/so"),
            ("\n\ntext\nmore", "text"),
            ("[1]", "the backend answered 400"),
        ] {
            assert_eq!(refusal(Engine::Sglang, 400, body.as_bytes()).error.message, message, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(10_000));
        assert_eq!(refusal(Engine::Vllm, 400, long.as_bytes()).error.message.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn an_event_tells_its_status() {
        let flat = r#"{"code":"Throttling.RateQuota","message":"m","request_id":"r"}"#;
        assert_eq!(of_event(Engine::DashScope, flat.as_bytes()).status, 429);
        for (event, status) in [
            (r#"{"error":{"message":"Model is overloaded","http_status_code":422}}"#, 429),
            (r#"{"error":{"message":"Request failed during generation: x","http_status_code":422}}"#, 500),
            (r#"{"error":{"message":"Input validation error: `top_p`","http_status_code":422}}"#, 400),
            (r#"{"error":{"object":"error","message":"full","code":503}}"#, 503),
            (r#"{"error":{"message":"died"}}"#, 500),
            (r#"{"error":{"message":"odd","code":7}}"#, 500),
        ] {
            assert_eq!(of_event(Engine::Tgi, event.as_bytes()).status, status, "{event}");
        }
    }
}
