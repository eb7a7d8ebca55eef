//! One event of a simulated stream.

use bytes::Bytes;
use serde_json::Value;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// One event of a stream, as bytes. An event with a token is sent at the pace of tokens, any other at once.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) bytes: Bytes,
    pub(super) is_token: bool,
}

impl Step {
    /// An event with data only.
    pub(super) fn event(value: &Value, is_token: bool) -> Self {
        Self { bytes: Bytes::from(format!("data: {value}\n\n")), is_token }
    }

    /// An event with a name, as `/v1/responses` sends them.
    pub(super) fn named(value: &Value, is_token: bool) -> Self {
        let name = value.get("type").and_then(Value::as_str).unwrap_or_default();
        Self { bytes: Bytes::from(format!("event: {name}\ndata: {value}\n\n")), is_token }
    }

    /// A comment, which servers send to keep a connection alive.
    pub(super) fn comment() -> Self {
        Self { bytes: Bytes::from_static(b":\n\n"), is_token: false }
    }

    /// The end of a stream.
    pub(super) fn done() -> Self {
        Self { bytes: Bytes::from_static(DONE), is_token: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.bytes.as_ref() == DONE
    }

    /// True if the event has a finish reason.
    pub(super) fn has_finish(&self) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        let value = text.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
        value.is_some_and(|value| value.pointer("/choices/0/finish_reason").is_some_and(|finish| !finish.is_null()))
    }
}
