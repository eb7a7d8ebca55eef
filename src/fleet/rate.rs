//! The rate of a counter that a server's page shows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of the window over which a counter's rate is taken: a few polls, so that one late page hardly moves it.
const WINDOW: Duration = Duration::from_secs(10);
/// Limit of points in the window; beyond it the oldest is dropped. Far more than polls in the window.
const MAX_POINTS: usize = 64;
/// Rate of a counter, from its values within the window.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Instant, f64)>);

impl Rate {
    /// Adds a value. A smaller one than before means a restart and discards the earlier values.
    pub(super) fn count(&mut self, now: Instant, total: f64) {
        if self.0.back().is_some_and(|(_, last)| total < *last) {
            self.0.clear();
        }
        let old = |(at, _): &(Instant, f64)| now.saturating_duration_since(*at) > WINDOW;
        // The point before the window stays: with slow polls it is the only one to compare with.
        while self.0.len() > MAX_POINTS || self.0.get(1).is_some_and(old) {
            self.0.pop_front();
        }
        self.0.push_back((now, total));
    }

    /// Returns the rate per second; `None` before there are two values.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_window_and_survives_a_restart() {
        let (mut rate, begin) = (Rate::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        rate.count(at(0), 1000.0);
        assert_eq!(rate.per_second(), None);
        rate.count(at(2), 1400.0);
        assert_eq!(rate.per_second(), Some(200.0));
        rate.count(at(4), 0.0);
        assert_eq!(rate.per_second(), None, "the server restarted");
        rate.count(at(6), 100.0);
        assert_eq!(rate.per_second(), Some(50.0));
        for second in [8, 10, 12, 14, 16, 18] {
            rate.count(at(second), 100.0);
        }
        assert_eq!(rate.per_second(), Some(0.0), "values before the window do not count");
        for _ in 0..1000 {
            rate.count(at(18), 100.0);
        }
        assert!(rate.0.len() <= MAX_POINTS + 1);
    }
}
