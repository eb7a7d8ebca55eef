//! Hit rate of a backend's prefix caches over a window, from samples of its servers' pages.
//!
//! Pure: samples come with their instants. Bound: about [`POINTS`] samples per page are kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Number of samples kept per window: enough that the window is at most a few percent longer than asked for.
const POINTS: u32 = 32;

/// Figures of a prefix cache, in prompt tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PrefixSample {
    /// Counters.
    Counted { hits: f64, queries: f64 },
    /// The rate that the server itself measures, 0 to 1.
    Measured(f64),
}

impl PrefixSample {
    /// True if the server has not restarted since `before`: no counter has fallen.
    fn continues(self, before: Self) -> bool {
        match (before, self) {
            (Self::Counted { hits: hits_before, queries: queries_before }, Self::Counted { hits, queries }) => {
                hits >= hits_before && queries >= queries_before
            }
            (Self::Measured(_), Self::Measured(_)) => true,
            _ => false,
        }
    }
}

/// Samples of one page within the window.
#[derive(Debug)]
pub(super) struct PrefixWindow {
    length: Duration,
    /// Oldest first. The first one is the newest that is as old as the window, if there is one.
    points: VecDeque<(Instant, PrefixSample)>,
    latest: Option<(Instant, PrefixSample)>,
}

impl PrefixWindow {
    /// Creates an empty window.
    pub(super) const fn new(length: Duration) -> Self {
        Self { length, points: VecDeque::new(), latest: None }
    }

    /// Adds a page's figures. The earlier ones are discarded if the page has none, or if the server has restarted.
    pub(super) fn add(&mut self, now: Instant, sample: Option<PrefixSample>) {
        let goes_on = matches!((self.latest, sample), (Some((_, before)), Some(sample)) if sample.continues(before));
        if !goes_on {
            self.points.clear();
        }
        self.latest = sample.map(|sample| (now, sample));
        let Some(sample) = sample else { return };
        let is_older = |(at, _): &(Instant, PrefixSample), than| now.saturating_duration_since(*at) >= than;
        if self.points.back().is_none_or(|last| is_older(last, self.length / POINTS)) {
            self.points.push_back((now, sample));
        }
        while self.points.get(1).is_some_and(|second| is_older(second, self.length)) {
            self.points.pop_front();
        }
    }

    /// Returns what was counted or measured within the window; `None` for counters that are known for less time.
    pub(super) fn within(&self) -> Option<PrefixSample> {
        let ((since, first), (now, latest)) = (self.points.front()?, self.latest?);
        match (*first, latest) {
            (PrefixSample::Counted { hits: from, queries: since_query }, PrefixSample::Counted { hits, queries }) => {
                let is_whole = now.saturating_duration_since(*since) >= self.length;
                is_whole.then_some(PrefixSample::Counted { hits: hits - from, queries: queries - since_query })
            }
            _ => {
                let rates = self.points.iter().filter_map(|(_, sample)| match sample {
                    PrefixSample::Measured(rate) => Some(*rate),
                    PrefixSample::Counted { .. } => None,
                });
                mean(rates).map(PrefixSample::Measured)
            }
        }
    }
}

/// Returns the hit rate of all servers, 0 to 1; `None` if it is unknown or no prompt was looked up. Counters are weighted
/// by the servers' prompts, measured rates are not.
pub(super) fn hit_rate(servers: impl Iterator<Item = PrefixSample> + Clone) -> Option<f64> {
    let (mut hits, mut queries) = (0.0, 0.0);
    for sample in servers.clone() {
        if let PrefixSample::Counted { hits: more_hits, queries: more_queries } = sample {
            (hits, queries) = (hits + more_hits, queries + more_queries);
        }
    }
    let measured = servers.filter_map(|sample| match sample {
        PrefixSample::Measured(rate) => Some(rate),
        PrefixSample::Counted { .. } => None,
    });
    // The two counters of a page are not read at one instant, so that hits may exceed queries by a request.
    let rate = if queries > 0.0 { Some(hits / queries) } else { mean(measured) };
    rate.map(|rate| rate.clamp(0.0, 1.0))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn counted(hits: f64, queries: f64) -> PrefixSample {
        PrefixSample::Counted { hits, queries }
    }

    /// Adds samples at seconds from a common begin.
    fn window(samples: &[(u64, PrefixSample)]) -> PrefixWindow {
        let (mut window, begin) = (PrefixWindow::new(MINUTE), Instant::now());
        for (second, sample) in samples {
            window.add(begin + Duration::from_secs(*second), Some(*sample));
        }
        window
    }

    fn rate(samples: &[(u64, PrefixSample)]) -> Option<f64> {
        hit_rate(window(samples).within().into_iter())
    }

    #[test]
    fn counters_are_compared_over_a_minute_at_least() {
        let begin = (0, counted(5_000.0, 9_000.0));
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[begin]), None);
        assert_eq!(rate(&[begin, (59, counted(5_090.0, 9_100.0))]), None, "less than a minute is known");
        assert_eq!(rate(&[begin, (60, counted(5_090.0, 9_100.0))]), Some(0.9));
        // The minute before the last poll counts, not the time since the start.
        let later = [begin, (60, counted(5_090.0, 9_100.0)), (120, counted(5_100.0, 9_200.0))];
        assert_eq!(rate(&later), Some(0.1));
        assert_eq!(rate(&[begin, (600, counted(5_050.0, 9_100.0))]), Some(0.5), "nothing nearer is known");
        assert_eq!(rate(&[begin, (60, begin.1)]), None, "no prompt was looked up");
        assert_eq!(rate(&[begin, (60, counted(5_101.0, 9_100.0))]), Some(1.0), "the counters were read one by one");
    }

    #[test]
    fn a_restart_begins_a_new_minute() {
        let mut samples = vec![(0, counted(500.0, 1_000.0)), (60, counted(590.0, 1_100.0)), (62, counted(0.0, 0.0))];
        assert_eq!(rate(&samples), None);
        samples.push((100, counted(1.0, 100.0)));
        assert_eq!(rate(&samples), None);
        samples.push((122, counted(20.0, 100.0)));
        assert_eq!(rate(&samples), Some(0.2));
        // Another engine behind the same address is a restart, too.
        samples.push((124, PrefixSample::Measured(0.7)));
        assert_eq!(rate(&samples), Some(0.7));
    }

    #[test]
    fn a_measured_rate_is_averaged_over_the_minute() {
        let measured = PrefixSample::Measured;
        assert_eq!(rate(&[(0, measured(0.96))]), Some(0.96));
        let mut samples: Vec<_> = (0..30).map(|n| (n * 2, measured(if n < 15 { 0.5 } else { 1.0 }))).collect();
        assert_eq!(rate(&samples), Some(0.75));
        samples.extend((30..90).map(|n| (n * 2, measured(1.0))));
        assert_eq!(rate(&samples), Some(1.0), "older ones are gone");
        assert_eq!(rate(&[(0, measured(1.5))]), Some(1.0));
    }

    #[test]
    fn servers_are_weighted_by_their_prompts() {
        let both = [counted(90.0, 100.0), counted(0.0, 900.0)];
        assert_eq!(hit_rate(both.into_iter()), Some(0.09));
        assert_eq!(hit_rate([PrefixSample::Measured(0.5), PrefixSample::Measured(1.0)].into_iter()), Some(0.75));
        assert_eq!(hit_rate(std::iter::empty()), None);
    }

    proptest! {
        #[test]
        fn whatever_the_polls_the_window_is_small_and_the_rate_a_share(
            polls in proptest::collection::vec((0_u64..200_000, 0.0..9.0_f64, 0.0..9.0_f64, 0..200_u8), 1..400),
        ) {
            let (mut window, mut now) = (PrefixWindow::new(MINUTE), Instant::now());
            let (mut hits, mut queries) = (0.0, 0.0);
            for (millis, more_hits, more_queries, chance) in polls {
                now += Duration::from_millis(if chance > 190 { millis } else { millis % 50 });
                (hits, queries) = if chance == 0 { (0.0, 0.0) } else { (hits + more_hits, queries + more_queries) };
                window.add(now, Some(counted(hits, queries)));
                prop_assert!(window.points.len() <= POINTS as usize + 2);
                let rate = hit_rate(window.within().into_iter());
                prop_assert!(rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), "{rate:?}");
            }
        }
    }
}
