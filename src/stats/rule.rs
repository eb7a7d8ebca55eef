//! Counters of one residency rule.

use super::count::Count;

/// Result of a residency rule for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The chosen backend may see the request.
    Kept,
    /// It may not, and another backend serves.
    Moved,
    /// No backend that may see the request can serve it.
    Refused,
}

impl Placement {
    /// Every result.
    pub const ALL: [Self; 3] = [Self::Kept, Self::Moved, Self::Refused];

    /// Value in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Moved => "moved",
            Self::Refused => "refused",
        }
    }
}

/// Requests that a rule matched, by result.
#[derive(Debug, Default)]
pub struct RuleStats([Count; Placement::ALL.len()]);

impl RuleStats {
    /// Counts a request.
    pub fn placed(&self, placement: Placement) {
        if let Some(count) = self.0.get(placement as usize) {
            count.add(1);
        }
    }

    /// Requests by result.
    pub fn counts(&self) -> impl Iterator<Item = (Placement, u64)> {
        Placement::ALL.into_iter().zip(self.0.iter().map(Count::get))
    }
}
