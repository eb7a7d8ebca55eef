//! Whether the baseline is well, which the rules of the breaker ask first: without it an outage of both would look like
//! the candidate's.

use std::time::{Duration, Instant};

/// Age up to which a good answer shows that the baseline is there.
const RECENT: Duration = Duration::from_secs(5);
/// Number of slots of a second each, over which failures are compared with answers.
const SLOTS: usize = 30;
/// Failures are fewer than one answer in so many.
const ONE_IN: u64 = 10;

/// Answers of one second.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Second since the beginning.
    second: u64,
    answers: u64,
    faults: u64,
}

/// Answers of the baseline in the last half minute.
#[derive(Debug, Clone)]
pub struct BaselineHealth {
    began_at: Instant,
    good_at: Option<Instant>,
    slots: [Slot; SLOTS],
}

impl BaselineHealth {
    /// Begins without answers.
    pub const fn new(now: Instant) -> Self {
        Self { began_at: now, good_at: None, slots: [Slot { second: 0, answers: 0, faults: 0 }; SLOTS] }
    }

    /// Adds an answer: a good one, or a failure in the sense of [`super::Ended`]. Other ends are not added.
    pub fn answered(&mut self, is_good: bool, now: Instant) {
        let second = self.second(now);
        let place = usize::try_from(second % SLOTS as u64).unwrap_or_default();
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot.answers += 1;
        slot.faults += u64::from(!is_good);
        if is_good {
            self.good_at = Some(now);
        }
    }

    /// True if it gave a good answer in the last 5 s, and fewer than a tenth of its answers of the last 30 s failed.
    pub fn is_well(&self, now: Instant) -> bool {
        let oldest = (self.second(now) + 1).saturating_sub(SLOTS as u64);
        let recent = self.slots.iter().filter(|slot| slot.second >= oldest);
        let (answers, faults) = recent.fold((0, 0), |sums, slot| (sums.0 + slot.answers, sums.1 + slot.faults));
        self.good_at.is_some_and(|at| now.saturating_duration_since(at) <= RECENT) && faults * ONE_IN < answers
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began_at).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_is_recent_and_mostly_good() {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let mut baseline = BaselineHealth::new(began);
        assert!(!baseline.is_well(at(0.0)), "nobody has asked it");
        baseline.answered(true, at(0.5));
        assert!(baseline.is_well(at(5.5)) && !baseline.is_well(at(5.6)));
        for _ in 0..9 {
            baseline.answered(true, at(10.0));
        }
        baseline.answered(false, at(10.0));
        assert!(baseline.is_well(at(10.0)), "1 of 11");
        baseline.answered(false, at(10.5));
        assert!(!baseline.is_well(at(10.5)), "2 of 12");
        baseline.answered(true, at(39.9));
        assert!(!baseline.is_well(at(39.9)), "2 of 12 in 30 s");
        baseline.answered(true, at(40.1));
        assert!(baseline.is_well(at(40.1)), "they are over");
        baseline.answered(false, at(40.1));
        assert!(!baseline.is_well(at(40.1)), "1 of 3");
    }

    #[test]
    fn a_tenth_is_not_fewer_than_a_tenth() {
        let now = Instant::now();
        let mut baseline = BaselineHealth::new(now);
        (0..9).for_each(|_| baseline.answered(true, now));
        baseline.answered(false, now);
        assert!(!baseline.is_well(now));
        baseline.answered(true, now);
        assert!(baseline.is_well(now));
    }
}
