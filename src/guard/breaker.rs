//! The memory of a candidate's breaker: how often it opened, and for how long it has not closed. A candidate that is simply
//! dead never trips the test of failures, because the breaker takes its requests away.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Number of openings that withdraws the candidate.
pub(super) const OPENINGS: usize = 5;
/// Time within which they have to be.
pub(super) const WITHIN: Duration = Duration::from_secs(600);
/// Time without a closed breaker that withdraws the candidate.
pub(super) const NOT_CLOSED: Duration = Duration::from_secs(300);
/// Number of failed probes without which that time says nothing: nobody may have asked.
const PROBES: u64 = 2;

/// Change of a candidate's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// From closed to open.
    Opened,
    /// The probe of a half-open breaker failed; no opening.
    ProbeFailed,
    /// It is closed again.
    Closed,
}

/// Memory of one candidate's breaker.
#[derive(Debug, Clone, Default)]
pub(super) struct BreakerLog {
    /// Instants of the openings that count, the last [`OPENINGS`].
    openings: VecDeque<Instant>,
    /// Instant from which it has not been closed, and the number of probes that failed since.
    not_closed: Option<(Instant, u64)>,
}

impl BreakerLog {
    /// Adds a change. An opening counts only with `counts`: while the candidate is watched and the baseline is well.
    pub(super) fn add(&mut self, change: BreakerChange, counts: bool, now: Instant) {
        match change {
            BreakerChange::Opened => {
                self.not_closed.get_or_insert((now, 0));
                if counts {
                    self.openings.push_back(now);
                    if self.openings.len() > OPENINGS {
                        self.openings.pop_front();
                    }
                }
            }
            BreakerChange::ProbeFailed => self.not_closed.get_or_insert((now, 0)).1 += 1,
            BreakerChange::Closed => self.not_closed = None,
        }
    }

    /// True if it opened for the last time of too many.
    pub(super) fn opened_too_often(&self) -> bool {
        match (self.openings.front(), self.openings.back()) {
            (Some(first), Some(last)) if self.openings.len() == OPENINGS => {
                last.saturating_duration_since(*first) <= WITHIN
            }
            _ => false,
        }
    }

    /// Number of failed probes if it has not been closed for too long.
    pub(super) fn not_closed_too_long(&self, now: Instant) -> Option<u64> {
        let (since, probes) = self.not_closed?;
        (now.saturating_duration_since(since) >= NOT_CLOSED && probes >= PROBES).then_some(probes)
    }

    /// Forgets the openings; a breaker that is not closed is so from now on.
    pub(super) fn forget(&mut self, now: Instant) {
        self.openings.clear();
        self.not_closed = self.not_closed.map(|_| (now, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_openings_within_ten_minutes() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let opened = |seconds: &[u64]| {
            let mut log = BreakerLog::default();
            for second in seconds {
                log.add(BreakerChange::Opened, true, at(*second));
                log.add(BreakerChange::ProbeFailed, true, at(*second));
                log.add(BreakerChange::Closed, true, at(*second));
            }
            log.opened_too_often()
        };
        assert!(!opened(&[0, 1, 2, 3]) && opened(&[0, 1, 2, 3, 4]) && opened(&[0, 1, 2, 3, 600]));
        assert!(!opened(&[0, 1, 2, 3, 601]), "the first is too old");
        assert!(opened(&[0, 10, 20, 30, 601, 602]), "the last five");
        let mut log = BreakerLog::default();
        for second in 0..9 {
            log.add(BreakerChange::Opened, second % 2 == 1, at(second));
        }
        assert!(!log.opened_too_often(), "four counted");
    }

    #[test]
    fn not_closed_needs_time_and_probes() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut log = BreakerLog::default();
        log.add(BreakerChange::Opened, false, at(0));
        log.add(BreakerChange::ProbeFailed, false, at(10));
        assert_eq!(log.not_closed_too_long(at(1000)), None, "one probe");
        log.add(BreakerChange::ProbeFailed, false, at(20));
        assert_eq!((log.not_closed_too_long(at(299)), log.not_closed_too_long(at(300))), (None, Some(2)));
        log.forget(at(310));
        assert_eq!(log.not_closed_too_long(at(1000)), None, "a lift begins anew");
        log.add(BreakerChange::ProbeFailed, false, at(320));
        log.add(BreakerChange::ProbeFailed, false, at(330));
        assert_eq!((log.not_closed_too_long(at(609)), log.not_closed_too_long(at(610))), (None, Some(2)));
        log.add(BreakerChange::Closed, false, at(610));
        assert_eq!(log.not_closed_too_long(at(2000)), None);
    }
}
