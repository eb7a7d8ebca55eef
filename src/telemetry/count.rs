//! The small parts that statistics are made of: a number, latencies, a lock that cannot be poisoned.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// A number that only grows, or one that goes up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds one unless that would pass `limit`; one atomic step, so the limit holds under contention.
    pub fn try_add(&self, by: u64, limit: u64) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |now| now.checked_add(by).filter(|after| *after <= limit)).is_ok()
    }
}

/// Latencies from 1 µs to an hour with two digits; longer ones count as an hour.
#[derive(Debug, Default)]
pub struct Latency(Mutex<Option<Histogram<u32>>>);

const LONGEST_US: u64 = 3_600_000_000;

impl Latency {
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        let mut slot = lock(&self.0);
        if slot.is_none() {
            *slot = Histogram::new_with_bounds(1, LONGEST_US, 2).ok();
        }
        if let Some(histogram) = slot.as_mut() {
            histogram.saturating_record(micros);
        }
    }

    /// Milliseconds at a quantile; `None` before the first.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let slot = lock(&self.0);
        let histogram = slot.as_ref().filter(|histogram| !histogram.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^52")]
        let micros = histogram.value_at_quantile(quantile) as f64;
        Some((micros / 100.0).round() / 10.0)
    }
}

/// A poisoned lock still holds whole numbers: nothing in here can be half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
