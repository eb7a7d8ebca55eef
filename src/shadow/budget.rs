//! The budget of shadows: a bucket that is refilled evenly and holds one minute's worth.

use std::time::{Duration, Instant};

/// Time whose refill the bucket holds at most.
const HOLDS: Duration = Duration::from_secs(60);

/// Money that may be spent on copies. It is full at the start, and below 0 after a copy that cost more than was left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    usd_per_hour: f64,
    left: f64,
    since: Instant,
}

impl Budget {
    /// Creates a full bucket.
    pub(super) fn full(usd_per_hour: f64, now: Instant) -> Self {
        Self { usd_per_hour, left: capacity(usd_per_hour), since: now }
    }

    /// Sets the rate. What is left stays, up to the new capacity.
    pub(super) fn set_rate(&mut self, usd_per_hour: f64, now: Instant) {
        if self.usd_per_hour.to_bits() == usd_per_hour.to_bits() {
            return;
        }
        self.refill(now);
        self.usd_per_hour = usd_per_hour;
        self.left = self.left.min(capacity(usd_per_hour));
    }

    /// Takes `usd` if the bucket holds it, or if it is full and can never hold that much. False without a change.
    pub(super) fn charge(&mut self, usd: f64, now: Instant) -> bool {
        if usd <= 0.0 {
            // Without a price the budget does not bind.
            return true;
        }
        self.refill(now);
        let capacity = capacity(self.usd_per_hour);
        let is_full = capacity > 0.0 && self.left >= capacity;
        if usd > self.left && !(usd > capacity && is_full) {
            return false;
        }
        self.left -= usd;
        true
    }

    /// Corrects a charge by the cost that became known.
    pub(super) fn settle(&mut self, charged: f64, cost: f64, now: Instant) {
        self.refill(now);
        self.left = (self.left + charged - cost).min(capacity(self.usd_per_hour));
    }

    /// Money left, in USD.
    pub(super) fn left(&mut self, now: Instant) -> f64 {
        self.refill(now);
        self.left
    }

    fn refill(&mut self, now: Instant) {
        let hours = now.saturating_duration_since(self.since).as_secs_f64() / 3600.0;
        self.since = self.since.max(now);
        self.left = (self.left + hours * self.usd_per_hour).min(capacity(self.usd_per_hour));
    }
}

fn capacity(usd_per_hour: f64) -> f64 {
    usd_per_hour * HOLDS.as_secs_f64() / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the copies of this price that a minute of tries, ten a second, may send.
    fn sent_in_a_minute(usd_per_hour: f64, price: f64) -> usize {
        let start = Instant::now();
        let mut budget = Budget::full(usd_per_hour, start);
        (0..600).filter(|try_| budget.charge(price, start + Duration::from_millis(100 * try_))).count()
    }

    #[test]
    fn a_minute_of_one_dollar_an_hour() {
        assert_eq!(sent_in_a_minute(1.0, 1.0), 1, "one copy is dearer than the bucket");
        assert_eq!(sent_in_a_minute(1.0, 0.01), 3);
        assert_eq!(sent_in_a_minute(0.0, 0.01), 0, "no budget");
        assert_eq!(sent_in_a_minute(0.0, 0.0), 600, "what costs nothing is not bounded");
    }

    #[test]
    fn a_charge_is_settled_by_the_cost() {
        let start = Instant::now();
        let mut budget = Budget::full(60.0, start);
        assert!(budget.charge(0.4, start));
        budget.settle(0.4, 2.0, start);
        assert!((budget.left(start) + 1.0).abs() < 1e-9, "it may go below 0: {}", budget.left(start));
        assert!(!budget.charge(0.1, start) && budget.charge(0.0, start));
        budget.settle(2.0, 0.0, start);
        assert!((budget.left(start) - 1.0).abs() < 1e-9, "never above a minute's worth");
        assert!(budget.charge(1.0, start) && !budget.charge(0.1, start));
        assert!(budget.charge(0.1, start + Duration::from_secs(6)));
        budget.set_rate(6.0, start + Duration::from_secs(3600));
        assert!((budget.left(start + Duration::from_secs(3600)) - 0.1).abs() < 1e-9);
    }
}
