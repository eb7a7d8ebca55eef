//! Positions in the closed lists, so that counters can be arrays.

use super::reason::{Cause, End, Pin, Reason, Refusal};

const FAILOVERS: usize = 7;
const PINS: usize = FAILOVERS + Cause::ALL.len();
const REFUSALS: usize = PINS + Pin::ALL.len();

impl Reason {
    /// Number of reasons.
    pub const COUNT: usize = REFUSALS + Refusal::ALL.len();

    /// Every reason, in the order of [`Reason::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Split,
            Self::Affinity,
            Self::Override,
            Self::RolledBack,
            Self::Overload,
            Self::Cooldown,
            Self::Breaker,
        ];
        plain
            .into_iter()
            .chain(Cause::ALL.into_iter().map(Self::Failover))
            .chain(Pin::ALL.iter().copied().map(Self::Pinned))
            .chain(Refusal::ALL.into_iter().map(Self::Refused))
    }

    /// Position in [`Reason::all`], below [`Reason::COUNT`].
    pub const fn index(self) -> usize {
        match self {
            Self::Split => 0,
            Self::Affinity => 1,
            Self::Override => 2,
            Self::RolledBack => 3,
            Self::Overload => 4,
            Self::Cooldown => 5,
            Self::Breaker => 6,
            Self::Failover(cause) => FAILOVERS + cause as usize,
            Self::Pinned(pin) => PINS + pin as usize,
            Self::Refused(refusal) => REFUSALS + refusal as usize,
        }
    }
}

impl Pin {
    /// Position in [`Pin::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Cause {
    /// Position in [`Cause::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl End {
    /// Position in [`End::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Refusal {
    /// Position in [`Refusal::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_lists() {
        for (position, reason) in Reason::all().enumerate() {
            assert_eq!(reason.index(), position, "{reason:?}");
        }
        assert_eq!(Reason::all().count(), Reason::COUNT);
        assert!(End::ALL.iter().enumerate().all(|(position, end)| end.index() == position));
    }
}
