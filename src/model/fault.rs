//! Causes of failure, by the values of `error.type`: a closed list and the status codes.

use std::borrow::Cow;

/// Cause for which an attempt or a whole request has no complete good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The application closed the connection.
    ClientGone,
    /// The application's body broke off or was malformed.
    ClientBody,
    /// The backend refused the connection or did not accept it in time.
    Connect,
    /// The TLS handshake with the backend failed.
    Tls,
    /// The backend's name was not resolved.
    Dns,
    /// The first content did not come within `timeout.ttft`.
    TtftTimeout,
    /// The next piece did not come within `timeout.idle`.
    IdleTimeout,
    /// The attempt did not end within `timeout.total`.
    Deadline,
    /// The backend closed the connection before the end of the answer.
    UpstreamReset,
    /// The backend's answer is not one of OpenAI's API.
    BadUpstream,
    /// A 200 whose stream or body contains an error.
    SseError,
    /// A limit of the process or of a backend was reached.
    Shed,
    /// The process ended before the answer.
    Drained,
    /// The backend answered with this error status.
    Status(u16),
}

impl Fault {
    /// Value of `error.type`.
    pub fn as_str(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::ClientGone => "client_gone",
            Self::ClientBody => "client_body",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::TtftTimeout => "ttft_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Deadline => "deadline",
            Self::UpstreamReset => "upstream_reset",
            Self::BadUpstream => "bad_upstream",
            Self::SseError => "sse_error",
            Self::Shed => "shed",
            Self::Drained => "drained",
            Self::Status(code) => return Cow::Owned(code.to_string()),
        })
    }
}
