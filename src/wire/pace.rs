//! Measures the times between a stream's chunks, in the buckets of the published histogram.

use std::time::{Duration, Instant};

/// Upper bounds in seconds: OpenTelemetry's advice for `gen_ai.client.inference.time_per_output_chunk`, and three below
/// it, as fast servers need less than 10 ms for a token.
pub(crate) const BOUNDS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The times between the chunks of one stream.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    last: Option<Instant>,
    /// Number of gaps in each bucket; the last bucket is above all bounds.
    counts: [u32; BOUNDS.len() + 1],
    sum: Duration,
}

impl Pace {
    /// Adds a chunk that came at `now`.
    pub fn chunk(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_duration_since(last);
            let seconds = gap.as_secs_f64();
            let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
            if let Some(count) = self.counts.get_mut(place) {
                *count = count.saturating_add(1);
            }
            self.sum += gap;
        }
    }

    /// Number of gaps in each bucket of [`BOUNDS`], and above all of them.
    pub const fn counts(&self) -> &[u32; BOUNDS.len() + 1] {
        &self.counts
    }

    /// Sum of all gaps.
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// Number of gaps.
    pub fn gaps(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_chunk_is_no_gap_and_bounds_are_inclusive() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for millis in [0, 1, 3, 200_000] {
            pace.chunk(start + Duration::from_millis(millis));
        }
        assert_eq!((pace.gaps(), pace.sum()), (3, Duration::from_secs(200)));
        assert_eq!((pace.counts()[0], pace.counts()[1], pace.counts()[17]), (1, 1, 1));
    }
}
