//! The party that ended an attempt before its backend did.

/// The party that ended an attempt early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelledBy {
    /// The application left.
    Client,
    /// A deadline passed.
    Deadline,
    /// The process ended.
    Drain,
    /// A limit of the process was reached.
    Shed,
}

impl CancelledBy {
    /// Every party, in the order of [`CancelledBy::index`].
    pub const ALL: [Self; 4] = [Self::Client, Self::Deadline, Self::Drain, Self::Shed];

    /// The label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Deadline => "deadline",
            Self::Drain => "drain",
            Self::Shed => "shed",
        }
    }

    /// Position in [`CancelledBy::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
