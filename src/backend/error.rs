//! Why an attempt failed.

use std::io;

use super::request_body::BodyError;
use crate::model::{Cause, Fault};

/// One attempt's failure. `Display` names no secret: addresses come from the file, causes from the crates below.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no connection within {}", seconds(*.0))]
    ConnectTimeout(std::time::Duration),
    #[error("the proxy made no tunnel: {0}")]
    Proxy(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("the connection broke before an answer: {0}")]
    Reset(String),
    #[error("no valid HTTP answer: {0}")]
    BadAnswer(String),
    #[error("no answer within {}", seconds(*.0))]
    Timeout(std::time::Duration),
    #[error("the application's body broke off: {0}")]
    ClientBody(String),
    #[error("the application stopped sending its body")]
    ClientSlow,
    #[error("the application left before its body was whole")]
    ClientLeft,
    #[error("the stream began with an error event")]
    ErrorEvent,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

impl Failure {
    /// The closed word for it; `None` when the client did it.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Connect(_) | Self::Proxy(_) => Some(Cause::Connect),
            Self::ConnectTimeout(_) | Self::Timeout(_) => Some(Cause::Timeout),
            Self::Tls(_) => Some(Cause::Tls),
            Self::Reset(_) => Some(Cause::Reset),
            Self::BadAnswer(_) | Self::TooLarge(_) => Some(Cause::BadAnswer),
            Self::ErrorEvent => Some(Cause::ErrorEvent),
            Self::ClientBody(_) | Self::ClientSlow | Self::ClientLeft => None,
        }
    }

    /// The same for spans and metrics. `begun` is whether a stream had generated anything, `streamed` whether it is one.
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
            Self::ClientLeft => Fault::ClientGone,
        }
    }

    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout(_) | Self::Timeout(_))
    }

    /// What hyper says of a request that got no answer.
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

/// Whether what came is no HTTP; else nothing more came.
pub(crate) fn is_malformed(error: &hyper::Error) -> bool {
    // What is wrong with a chunk comes as an error of reading.
    let is_invalid =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    error.is_parse() || cause.is_some_and(is_invalid)
}

/// `1.5 s`, whatever the clock's grain made of it.
fn seconds(duration: std::time::Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 1e3).round() / 1e3)
}

/// An error with the causes below it, on one line.
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
