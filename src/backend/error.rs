//! The failures of one attempt.

use std::io;

use super::request_body::BodyError;
use crate::model::{Cause, Fault};

/// Failure of one attempt. `Display` shows no secret: addresses come from the file, causes from the libraries.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// DNS, TCP or the proxy refused the connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection was not open within this timeout.
    #[error("no connection within {}", seconds(*.0))]
    ConnectTimeout(std::time::Duration),
    /// The proxy did not open a tunnel.
    #[error("the proxy did not open a tunnel: {0}")]
    Proxy(String),
    /// The TLS handshake failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection closed before the answer was complete.
    #[error("the connection closed before the answer was complete: {0}")]
    Reset(String),
    /// The answer is not valid HTTP, or not the kind of answer that was asked for.
    #[error("invalid answer: {0}")]
    BadAnswer(String),
    /// The head, the first token or the next byte missed this timeout.
    #[error("no answer within {}", seconds(*.0))]
    Timeout(std::time::Duration),
    /// Reading the application's body failed.
    #[error("the application's body broke off: {0}")]
    ClientBody(String),
    /// The application paused within its body for too long.
    #[error("the application stopped sending its body")]
    ClientSlow,
    /// The application disconnected within its body.
    #[error("the application left before its body was whole")]
    ClientLeft,
    /// The application's own deadline passed, and it was not seen to leave.
    #[error("the application's own deadline passed")]
    ClientDeadline,
    /// The first event of the stream was an error.
    #[error("the stream began with an error event")]
    ErrorEvent,
    /// The answer exceeds this limit, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

impl Failure {
    /// Returns the cause of a failover; `None` if the client is to blame.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Connect(_) | Self::Proxy(_) => Some(Cause::Connect),
            Self::ConnectTimeout(_) | Self::Timeout(_) => Some(Cause::Timeout),
            Self::Tls(_) => Some(Cause::Tls),
            Self::Reset(_) => Some(Cause::Reset),
            Self::BadAnswer(_) | Self::TooLarge(_) => Some(Cause::BadAnswer),
            Self::ErrorEvent => Some(Cause::ErrorEvent),
            Self::ClientBody(_) | Self::ClientSlow | Self::ClientLeft | Self::ClientDeadline => None,
        }
    }

    /// Returns the `error.type` of spans and metrics. `begun` is true if a stream had generated anything.
    pub fn fault(&self, streamed: bool, begun: bool) -> Fault {
        match self {
            Self::Connect(text) if text.starts_with("dns") => Fault::Dns,
            Self::Connect(_) | Self::ConnectTimeout(_) | Self::Proxy(_) => Fault::Connect,
            Self::Tls(_) => Fault::Tls,
            Self::Reset(_) => Fault::UpstreamReset,
            Self::BadAnswer(_) | Self::TooLarge(_) => Fault::BadUpstream,
            Self::Timeout(_) if !streamed => Fault::Deadline,
            Self::Timeout(_) if begun => Fault::IdleTimeout,
            Self::Timeout(_) => Fault::TtftTimeout,
            Self::ErrorEvent => Fault::SseError,
            Self::ClientBody(_) | Self::ClientSlow => Fault::ClientBody,
            Self::ClientLeft | Self::ClientDeadline => Fault::ClientGone,
        }
    }

    /// True if a deadline passed.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout(_) | Self::Timeout(_))
    }

    /// Converts hyper's error for a request that got no answer.
    pub fn of_exchange(error: &hyper::Error) -> Self {
        if error.is_user() {
            return match std::error::Error::source(error).and_then(|cause| cause.downcast_ref()) {
                Some(BodyError::Slow) => Self::ClientSlow,
                Some(BodyError::Broken(broken)) if !is_malformed(broken) => Self::ClientLeft,
                _ => Self::ClientBody(with_source(error)),
            };
        }
        match is_malformed(error) {
            true => Self::BadAnswer(with_source(error)),
            false => Self::Reset(with_source(error)),
        }
    }
}

/// True if the peer sent bytes that are not valid HTTP; false if the bytes stopped.
pub(crate) fn is_malformed(error: &hyper::Error) -> bool {
    // hyper reports a malformed chunk as an I/O error.
    let is_invalid =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    error.is_parse() || cause.is_some_and(is_invalid)
}

/// Formats a duration as `1.5 s`, rounded to milliseconds.
fn seconds(duration: std::time::Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 1e3).round() / 1e3)
}

/// Formats an error with its sources, on one line.
pub(super) fn with_source(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
