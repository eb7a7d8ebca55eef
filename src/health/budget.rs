//! The retry budget: failovers as a share of the requests that ran at any time in the last ten seconds, with a minimum of
//! ten per second.
//!
//! Without it a failing candidate would double the baseline's load when capacity is scarce.

use std::time::Instant;

/// Length of the window, in seconds.
const SECONDS: u64 = 10;
const SLOTS: usize = SECONDS as usize;
/// Failovers per second that are always allowed: with few requests a share is meaningless.
const ALWAYS: u32 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    second: u64,
    ended: u32,
    failovers: u32,
}

/// Retry budget of the process.
#[derive(Debug)]
pub struct Budget {
    began: Instant,
    slots: [Slot; SLOTS],
}

impl Budget {
    /// Creates a budget without requests.
    pub fn new(now: Instant) -> Self {
        Self { began: now, slots: [Slot::default(); SLOTS] }
    }

    /// Counts a request that has ended.
    pub fn ended(&mut self, now: Instant) {
        let (slot, _) = self.slot(now);
        slot.ended = slot.ended.saturating_add(1);
    }

    /// Takes one failover and returns true if `share` of the requests allows it: those that are `running`, and those that
    /// have ended within the window. A share of 1 allows all.
    pub fn try_failover(&mut self, now: Instant, share: f64, running: u64) -> bool {
        let is_allowed = self.allows(now, share, running);
        if is_allowed {
            let (slot, _) = self.slot(now);
            slot.failovers = slot.failovers.saturating_add(1);
        }
        is_allowed
    }

    /// True if a failover would be allowed.
    pub fn allows(&mut self, now: Instant, share: f64, running: u64) -> bool {
        let (_, second) = self.slot(now);
        let (ended, failovers) = self
            .slots
            .iter()
            .filter(|slot| second - slot.second.min(second) < SECONDS)
            .fold((0_u64, 0_u64), |sum, slot| (sum.0 + u64::from(slot.ended), sum.1 + u64::from(slot.failovers)));
        let (slot, _) = self.slot(now);
        #[expect(clippy::cast_precision_loss, reason = "ten seconds of requests are far below 2^52")]
        let within = share >= 1.0 || (failovers + 1) as f64 <= share * (running + ended) as f64;
        within || slot.failovers < ALWAYS
    }

    fn slot(&mut self, now: Instant) -> (&mut Slot, u64) {
        let second = now.saturating_duration_since(self.began).as_secs();
        let slot = &mut self.slots[usize::try_from(second % SECONDS).unwrap_or(0)];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        (slot, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn allowed(budget: &mut Budget, now: Instant, share: f64, tries: usize) -> usize {
        (0..tries).filter(|_| budget.try_failover(now, share, 0)).count()
    }

    #[test]
    fn ten_a_second_always_and_a_share_of_the_last_ten_seconds() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(allowed(&mut budget, now, 0.0, 50), 10);
        assert_eq!(allowed(&mut budget, now + Duration::from_secs(1), 0.0, 50), 10);
        let mut budget = Budget::new(now);
        for _ in 0..1000 {
            budget.ended(now);
        }
        assert_eq!(allowed(&mut budget, now, 0.2, 1000), 200);
        // Requests that are still running count, however long ago they began.
        let later = now + Duration::from_secs(60);
        assert_eq!((0..50).filter(|_| budget.try_failover(later, 1.0 - f64::EPSILON, 40)).count(), 39);
        let mut budget = Budget::new(now);
        for _ in 0..1000 {
            budget.ended(now);
        }
        assert_eq!(allowed(&mut budget, now, 0.2, 1000), 200);
        // Requests and failovers still count nine seconds later.
        assert_eq!(allowed(&mut budget, now + Duration::from_secs(9), 0.2, 1000), 10);
        assert_eq!(allowed(&mut budget, now + Duration::from_secs(11), 0.2, 1000), 10);
    }

    #[test]
    fn a_share_of_one_allows_every_failover_however_late() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!(allowed(&mut budget, now + Duration::from_secs(500), 1.0, 5000), 5000);
    }
}
