//! What went wrong, in the words of `error.type`: a closed list beside the status codes.

use std::borrow::Cow;

/// Why an attempt, or a whole request, gave no complete good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    ClientGone,
    /// The application's body broke off or was malformed.
    ClientBody,
    Connect,
    Tls,
    Dns,
    TtftTimeout,
    IdleTimeout,
    Deadline,
    UpstreamReset,
    BadUpstream,
    /// A 200 whose stream or body said an error.
    SseError,
    /// A limit of the process or of a backend.
    Shed,
    /// Running answers were cut at the end of the process.
    Drained,
    Status(u16),
}

impl Fault {
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
