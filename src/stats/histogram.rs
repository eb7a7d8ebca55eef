//! A lock-free histogram, with the last traced request of each bucket as exemplar.
//!
//! Bound: one count per bound and one more; one exemplar per bucket.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use super::count::lock;
use crate::model::TraceId;
use crate::wire::pace::{self, Pace};

/// A traced request that fell into a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// Its measured value, in the histogram's unit.
    pub value: f64,
    /// Its trace.
    pub trace: TraceId,
    /// Wall clock at its end.
    pub at: SystemTime,
}

/// Upper bounds in seconds: OpenTelemetry's for `http.server.request.duration`, and five longer ones.
pub(crate) const HTTP_BOUNDS: [f64; 19] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// The trace of a measured request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traced {
    /// Id of the trace.
    pub trace: TraceId,
    /// Wall clock at the request's end.
    pub at: SystemTime,
}

/// Counts by inclusive upper bound; the last count is for values above all bounds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
    /// Empty, or as long as `counts`. Locked for traced requests only.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

/// Values of a histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Inclusive upper bounds, ascending.
    pub bounds: &'static [f64],
    /// One count per bucket, not cumulative; one more than `bounds`.
    pub counts: Vec<u64>,
    /// Sum of the measured values.
    pub sum: f64,
    /// Exemplars by bucket; may be shorter than `counts`.
    pub exemplars: Vec<Option<Exemplar>>,
}

impl View {
    /// Sum of the buckets, so that a scrape during an update is consistent.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Histogram {
    /// Creates an empty histogram; `bounds` must ascend and be finite.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::new(0.0_f64.to_bits()), exemplars: Mutex::default() }
    }

    /// Adds a value; NaN, infinite and negative values are ignored.
    pub(crate) fn observe(&self, value: f64, traced: Option<Traced>) {
        if !value.is_finite() || value < 0.0 {
            return;
        }
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.add(place, 1);
        self.add_sum(value);
        if let Some(Traced { trace, at }) = traced {
            let mut exemplars = lock(&self.exemplars);
            if exemplars.is_empty() {
                exemplars.resize(self.counts.len(), None);
            }
            if let Some(slot) = exemplars.get_mut(place) {
                *slot = Some(Exemplar { value, trace, at });
            }
        }
    }

    /// Adds all gaps of a stream; the bounds must be [`pace::BOUNDS`].
    pub(crate) fn merge(&self, pace: &Pace) {
        debug_assert_eq!(self.bounds, pace::BOUNDS.as_slice());
        for (place, count) in pace.counts().iter().enumerate().filter(|(_, count)| **count > 0) {
            self.add(place, u64::from(*count));
        }
        self.add_sum(pace.sum().as_secs_f64());
    }

    fn add(&self, place: usize, by: u64) {
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(by, Relaxed);
        }
    }

    fn add_sum(&self, value: f64) {
        let mut before = self.sum.load(Relaxed);
        loop {
            let after = (f64::from_bits(before) + value).to_bits();
            match self.sum.compare_exchange_weak(before, after, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// Returns the values at this moment.
    pub(crate) fn view(&self) -> View {
        View {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: f64::from_bits(self.sum.load(Relaxed)),
            exemplars: lock(&self.exemplars).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use super::*;

    const BOUNDS: [f64; 3] = [0.5, 1.0, 2.5];

    #[test]
    fn bounds_are_inclusive_and_nonsense_is_left_out() {
        let histogram = Histogram::new(&BOUNDS);
        for value in [0.0, 0.5, 0.500_001, 1.0, 2.5, 2.6, 1e9, f64::NAN, f64::INFINITY, -1.0] {
            histogram.observe(value, None);
        }
        let view = histogram.view();
        assert_eq!((view.counts.as_slice(), view.count()), ([2, 2, 1, 2].as_slice(), 7));
        assert!((view.sum - (0.5 + 0.500_001 + 1.0 + 2.5 + 2.6 + 1e9)).abs() < 1e-6, "{}", view.sum);
        assert!(view.exemplars.is_empty());
    }

    #[test]
    fn the_last_traced_request_of_a_bucket_is_its_exemplar() {
        let histogram = Histogram::new(&BOUNDS);
        let traced = |id| Traced { trace: TraceId::new(id), at: UNIX_EPOCH };
        histogram.observe(0.6, Some(traced(1)));
        histogram.observe(0.7, Some(traced(2)));
        histogram.observe(0.8, None);
        histogram.observe(9.0, Some(traced(3)));
        let view = histogram.view();
        let told: Vec<_> = view.exemplars.iter().map(|one| one.map(|one| (one.value, one.trace))).collect();
        assert_eq!(told, [None, Some((0.7, TraceId::new(2))), None, Some((9.0, TraceId::new(3)))]);
    }

    #[test]
    fn the_gaps_of_a_stream_are_taken_over_in_bulk() {
        let histogram = Histogram::new(&pace::BOUNDS);
        let (mut pace, start) = (Pace::default(), Instant::now());
        for millis in [0, 1, 4, 500_000] {
            pace.chunk(start + Duration::from_millis(millis));
        }
        histogram.merge(&pace);
        histogram.merge(&pace);
        let view = histogram.view();
        assert_eq!((view.count(), view.counts[0], view.counts[2], view.counts[17]), (6, 2, 2, 2));
        assert!((view.sum - 1000.0).abs() < 1e-9, "{}", view.sum);
    }

    #[test]
    fn threads_lose_nothing() {
        let histogram = Histogram::new(&BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.observe(0.25, None)));
            }
        });
        let view = histogram.view();
        assert_eq!((view.count(), view.sum), (4000, 1000.0));
    }
}
