//! The limits at which a request is refused.

/// A limit of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `limits.in_flight`: requests of the process.
    InFlight,
    /// `limits.body_bytes`: bytes of bodies and answers held.
    BodyBytes,
    /// A backend's `max_in_flight`.
    MaxInFlight,
}

impl Limit {
    /// Every limit, in the order of [`Limit::index`].
    pub const ALL: [Self; 3] = [Self::InFlight, Self::BodyBytes, Self::MaxInFlight];

    /// The key of the file, as messages and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "limits.in_flight",
            Self::BodyBytes => "limits.body_bytes",
            Self::MaxInFlight => "max_in_flight",
        }
    }

    /// Explains a request that is refused at the limit: the key, its place in rollout.toml, and a cure.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::InFlight => {
                "shiftgate has as many requests in flight as limits.in_flight of rollout.toml allows: try again shortly, \
                 or raise the limit"
            }
            Self::BodyBytes => {
                "shiftgate holds as many bytes of bodies and answers as limits.body_bytes of rollout.toml allows: try \
                 again shortly, or raise the limit"
            }
            Self::MaxInFlight => {
                "the backend has as many requests in flight as max_in_flight of its section in rollout.toml allows: try \
                 again shortly, or raise the limit"
            }
        }
    }

    /// Position in [`Limit::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
