//! Building blocks of statistics: counters, latencies, a lock that ignores poisoning.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// An atomic number: a counter, or a level that also falls.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Subtracts `by`.
    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    /// The number at this moment.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Histogram of latencies from 1 µs to 1 h with two significant digits; longer ones count as 1 h.
#[derive(Debug, Default)]
pub struct Latency(Mutex<Option<Histogram<u32>>>);

const LONGEST_US: u64 = 3_600_000_000;

impl Latency {
    /// Adds one latency.
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

    /// Returns the latency in ms at a quantile; `None` before the first sample.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let slot = lock(&self.0);
        let histogram = slot.as_ref().filter(|histogram| !histogram.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is far below 2^52")]
        let micros = histogram.value_at_quantile(quantile) as f64;
        Some((micros / 100.0).round() / 10.0)
    }
}

/// Locks. Poisoning is ignored: no operation under these locks leaves a partial state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_unknown_before_the_first_and_in_milliseconds_after() {
        let latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), None);
        latency.record(Duration::from_millis(41));
        latency.record(Duration::from_secs(7200));
        let p50 = latency.quantile_ms(0.5).unwrap();
        assert!((40.5..=41.5).contains(&p50), "{p50}");
    }
}
