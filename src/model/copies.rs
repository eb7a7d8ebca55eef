//! Closed lists of shadows: results of requests chosen for a copy, and of pairs of answers.

/// Result of one request that was chosen for a copy, for one receiver. Where several apply, the first one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CopyResult {
    /// The copy was sent.
    Sent,
    /// The application declined it by a header.
    OptedOut,
    /// Requests of this kind are not copied.
    Ineligible,
    /// Residency rules keep it from the receiver.
    Residency,
    /// The receiver's engine cannot serve it.
    Untranslatable,
    /// The receiver is failing, busy, or near its rate limit.
    Unwell,
    /// `shadow.max_in_flight` copies are running.
    InFlight,
    /// The copy does not fit into `shadow.max_bytes`.
    Bytes,
    /// `shadow.budget_usd_per_hour` does not cover it.
    Budget,
}

impl CopyResult {
    /// Every result, in the order in which they are looked for, after [`CopyResult::Sent`].
    pub const ALL: [Self; 9] = [
        Self::Sent,
        Self::OptedOut,
        Self::Ineligible,
        Self::Residency,
        Self::Untranslatable,
        Self::Unwell,
        Self::InFlight,
        Self::Bytes,
        Self::Budget,
    ];

    /// Label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::OptedOut => "opted_out",
            Self::Ineligible => "ineligible",
            Self::Residency => "residency",
            Self::Untranslatable => "untranslatable",
            Self::Unwell => "unwell",
            Self::InFlight => "in_flight",
            Self::Bytes => "bytes",
            Self::Budget => "budget",
        }
    }

    /// Position in [`CopyResult::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Result of a pair whose copy was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairResult {
    /// Both answers are complete and were compared.
    Compared,
    /// One of the answers is not complete.
    Failed,
    /// The copy took longer than `shadow.timeout`.
    Timeout,
    /// The application left, another attempt answered it, or the process ended.
    Cancelled,
    /// The served answer could not be handed over in time.
    Lagged,
    /// One of the answers is larger than what is kept.
    OverCap,
    /// Too many pairs waited for the comparison.
    CompareFull,
}

impl PairResult {
    /// Every result, in the order of [`PairResult::index`].
    pub const ALL: [Self; 7] =
        [Self::Compared, Self::Failed, Self::Timeout, Self::Cancelled, Self::Lagged, Self::OverCap, Self::CompareFull];

    /// Label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compared => "compared",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Lagged => "lagged",
            Self::OverCap => "over_cap",
            Self::CompareFull => "compare_full",
        }
    }

    /// Position in [`PairResult::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_lists() {
        assert!(CopyResult::ALL.iter().enumerate().all(|(position, one)| one.index() == position));
        assert!(PairResult::ALL.iter().enumerate().all(|(position, one)| one.index() == position));
    }
}
