//! Closed lists: reasons for the choice of a backend, reasons for pinning, and ends of a request.

/// Reason for which this backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The split chose it.
    Split,
    /// It holds the state that the request refers to.
    Affinity,
    /// The request named it.
    Override,
    /// The chosen candidate was withdrawn; the baseline serves.
    RolledBack,
    /// The chosen candidate is at a limit; the baseline serves.
    Overload,
    /// The chosen candidate asked for a pause; the baseline serves.
    Cooldown,
    /// The chosen candidate's breaker is open; the baseline serves.
    Breaker,
    /// The chosen candidate failed; the baseline serves.
    Failover(Cause),
    /// The request belongs to the baseline.
    Pinned(Pin),
    /// No backend: shiftgate answers.
    Refused(Refusal),
}

/// Cause of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The connection failed.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection was closed early.
    Reset,
    /// A timeout passed.
    Timeout,
    /// The backend answered with an error status.
    Status,
    /// A stream contained an error before its first content.
    ErrorEvent,
    /// The answer is not one of OpenAI's API.
    BadAnswer,
}

/// Reason for which the draw does not decide: the request goes to the baseline, or for [`Pin::Residency`] to a backend
/// that may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// The endpoint is never split.
    Endpoint,
    /// It uses state on OpenAI's servers.
    Stateful,
    /// The body is larger than `server.max_body`.
    BodyOverCap,
    /// The body is not one JSON object.
    Unparsable,
    /// `models` has no match.
    Model,
    /// It contains images.
    Vision,
    /// It contains or asks for audio.
    Audio,
    /// It contains files.
    File,
    /// Its tools do not work at the candidate.
    Tools,
    /// It uses tools that OpenAI hosts.
    Hosted,
    /// It asks for several choices.
    Choices,
    /// It asks for logprobs.
    Logprobs,
    /// It uses `logit_bias`.
    LogitBias,
    /// Its response format does not work at the candidate.
    Format,
    /// It does not fit into the candidate's context.
    Context,
    /// It uses a field that the candidate does not know.
    UnknownField,
    /// Its translation would change the answer, and `translate` is strict.
    Strict,
    /// It needs a feature that the probe found missing.
    Probe,
    /// The application's SDK retries it, so a candidate may have failed it before.
    Retry,
    /// A residency rule forbids the backend that was chosen; the one that serves may be a candidate.
    Residency,
}

/// Reason for which shiftgate answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The path is unknown or malformed.
    Path,
    /// The method is unknown.
    Method,
    /// The request breaks HTTP or OpenAI's rules.
    Request,
    /// The head or the target is larger than allowed.
    Head,
    /// A limit of the process or of the baseline is reached.
    Overload,
    /// The override header does not name a backend.
    Override,
    /// The application sent its request too slowly.
    Timeout,
    /// Residency rules leave no backend that could serve it.
    Residency,
}

/// End of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The answer was sent completely.
    Complete,
    /// The application closed the connection.
    ClientGone,
    /// The backend failed.
    UpstreamError,
    /// A timeout passed.
    Timeout,
    /// shiftgate answered itself.
    Refused,
    /// The process ended first.
    Drained,
}

impl Reason {
    /// Value in the header, `/status`, metrics and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Affinity => "affinity",
            Self::Override => "override",
            Self::RolledBack => "rolled_back",
            Self::Overload => "overload",
            Self::Cooldown => "cooldown",
            Self::Breaker => "breaker",
            Self::Failover(cause) => cause.failover(),
            Self::Pinned(pin) => pin.pinned(),
            Self::Refused(refusal) => refusal.refused(),
        }
    }

    /// True if the split chose: such requests count in the shares asked and got.
    pub const fn is_share(self) -> bool {
        !matches!(self, Self::Pinned(_) | Self::Refused(_) | Self::Override | Self::Affinity)
    }
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Tls, Self::Reset, Self::Timeout, Self::Status, Self::ErrorEvent, Self::BadAnswer];

    /// Value after `failover:`.
    pub fn as_str(self) -> &'static str {
        let word = self.failover();
        word.strip_prefix("failover:").unwrap_or(word)
    }

    const fn failover(self) -> &'static str {
        match self {
            Self::Connect => "failover:connect",
            Self::Tls => "failover:tls",
            Self::Reset => "failover:reset",
            Self::Timeout => "failover:timeout",
            Self::Status => "failover:status",
            Self::ErrorEvent => "failover:error_event",
            Self::BadAnswer => "failover:bad_answer",
        }
    }
}

macro_rules! pins {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        impl Pin {
            /// Every pin.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Value after `pinned:`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            const fn pinned(self) -> &'static str {
                match self { $(Self::$variant => concat!("pinned:", $word)),+ }
            }
        }
    };
}

pins! {
    Endpoint = "endpoint",
    Stateful = "stateful",
    BodyOverCap = "body_over_cap",
    Unparsable = "unparsable",
    Model = "model",
    Vision = "vision",
    Audio = "audio",
    File = "file",
    Tools = "tools",
    Hosted = "hosted",
    Choices = "choices",
    Logprobs = "logprobs",
    LogitBias = "logit_bias",
    Format = "format",
    Context = "context",
    UnknownField = "unknown_field",
    Strict = "strict",
    Probe = "probe",
    Retry = "retry",
    Residency = "residency",
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 8] = [
        Self::Path,
        Self::Method,
        Self::Request,
        Self::Head,
        Self::Overload,
        Self::Override,
        Self::Timeout,
        Self::Residency,
    ];

    const fn refused(self) -> &'static str {
        match self {
            Self::Path => "refused:path",
            Self::Method => "refused:method",
            Self::Request => "refused:request",
            Self::Head => "refused:head",
            Self::Overload => "refused:overload",
            Self::Override => "refused:override",
            Self::Timeout => "refused:timeout",
            Self::Residency => "refused:residency",
        }
    }
}

impl End {
    /// Every end.
    pub const ALL: [Self; 6] =
        [Self::Complete, Self::ClientGone, Self::UpstreamError, Self::Timeout, Self::Refused, Self::Drained];

    /// Value in metrics and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamError => "upstream_error",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Drained => "drained",
        }
    }
}
