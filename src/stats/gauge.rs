//! Levels that rise and fall, and permits that hold a part of a level until they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A level that its clones share.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// A share of a gauge. Dropping it gives the share back.
#[derive(Debug)]
pub struct Permit {
    gauge: Gauge,
    amount: u64,
}

impl Gauge {
    /// The level at this moment.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds `amount` unless the level would exceed `limit`. One atomic step, so that the limit holds under contention.
    pub fn try_acquire(&self, amount: u64, limit: u64) -> Option<Permit> {
        self.raise(amount, limit).then(|| Permit { gauge: self.clone(), amount })
    }

    /// Adds `amount` at any level.
    pub fn acquire(&self, amount: u64) -> Permit {
        self.0.fetch_add(amount, Relaxed);
        Permit { gauge: self.clone(), amount }
    }

    /// Creates a permit that holds nothing and can grow.
    pub fn empty_permit(&self) -> Permit {
        Permit { gauge: self.clone(), amount: 0 }
    }

    fn raise(&self, amount: u64, limit: u64) -> bool {
        let raised = |level: u64| level.checked_add(amount).filter(|after| *after <= limit);
        self.0.fetch_update(Relaxed, Relaxed, raised).is_ok()
    }
}

impl Permit {
    /// Adds `amount` and returns true; returns false without a change if the level would exceed `limit`.
    pub fn try_grow(&mut self, amount: u64, limit: u64) -> bool {
        let granted = self.gauge.raise(amount, limit);
        if granted {
            self.amount += amount;
        }
        granted
    }

    /// Creates a permit of the same gauge that holds nothing and can grow.
    pub fn sibling(&self) -> Self {
        self.gauge.empty_permit()
    }

    /// Gives back everything; the permit can grow again.
    pub fn release(&mut self) {
        let amount = std::mem::take(&mut self.amount);
        if amount > 0 {
            self.gauge.0.fetch_sub(amount, Relaxed);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_passed_and_a_dropped_permit_is_given_back() {
        let gauge = Gauge::default();
        let mut three = gauge.try_acquire(3, 4).unwrap();
        assert!(gauge.try_acquire(2, 4).is_none());
        assert!(!three.try_grow(2, 4) && three.try_grow(1, 4));
        assert!(gauge.try_acquire(u64::MAX, u64::MAX).is_none());
        let over = gauge.acquire(7);
        assert_eq!(gauge.get(), 11);
        three.release();
        assert_eq!(gauge.get(), 7);
        drop((over, three));
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn threads_never_hold_more_than_the_limit() {
        let gauge = Gauge::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if let Some(_held) = gauge.try_acquire(2, 5) {
                            assert!(gauge.get() <= 5);
                        }
                    }
                });
            }
        });
        assert_eq!(gauge.get(), 0);
    }
}
