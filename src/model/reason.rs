//! The closed lists: why a backend answers, why a request was pinned, how it ended.

/// Why this backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Split,
    Affinity,
    Override,
    RolledBack,
    Overload,
    Cooldown,
    Breaker,
    Failover(Cause),
    Pinned(Pin),
    Refused(Refusal),
}

/// What made an attempt fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    Connect,
    Tls,
    Reset,
    Timeout,
    Status,
    ErrorEvent,
    BadAnswer,
}

/// Why a request belongs to the baseline whatever the percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    Endpoint,
    Stateful,
    BodyOverCap,
    Unparsable,
    Model,
    Vision,
    Audio,
    File,
    Tools,
    Hosted,
    Choices,
    Logprobs,
    LogitBias,
    Format,
    Context,
    UnknownField,
    Strict,
    Probe,
    Retry,
}

/// Why shiftgate answered itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such path here.
    Path,
    Method,
    /// The request breaks HTTP or OpenAI's rules.
    Request,
    /// The head or the target is larger than allowed.
    Head,
    /// A process limit or the baseline's own is reached.
    Overload,
    /// The override header names no backend.
    Override,
    /// The application was too slow.
    Timeout,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    Complete,
    ClientGone,
    UpstreamError,
    Timeout,
    Refused,
    Drained,
}

impl Reason {
    /// The word of the header, `/status`, metrics and log.
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

    /// Whether the split chose: what counts in shares asked and got.
    pub const fn is_share(self) -> bool {
        !matches!(self, Self::Pinned(_) | Self::Refused(_) | Self::Override | Self::Affinity)
    }
}

impl Cause {
    pub const ALL: [Self; 7] =
        [Self::Connect, Self::Tls, Self::Reset, Self::Timeout, Self::Status, Self::ErrorEvent, Self::BadAnswer];

    /// The word after `failover:`.
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
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word after `pinned:`.
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
}

impl Refusal {
    pub const ALL: [Self; 7] =
        [Self::Path, Self::Method, Self::Request, Self::Head, Self::Overload, Self::Override, Self::Timeout];

    const fn refused(self) -> &'static str {
        match self {
            Self::Path => "refused:path",
            Self::Method => "refused:method",
            Self::Request => "refused:request",
            Self::Head => "refused:head",
            Self::Overload => "refused:overload",
            Self::Override => "refused:override",
            Self::Timeout => "refused:timeout",
        }
    }
}

impl End {
    pub const ALL: [Self; 6] =
        [Self::Complete, Self::ClientGone, Self::UpstreamError, Self::Timeout, Self::Refused, Self::Drained];

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
