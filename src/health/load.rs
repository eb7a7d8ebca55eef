//! The load that a backend's servers report, and the limits above which it is not asked.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Age from which a reading is ignored.
const STALE: Duration = Duration::from_secs(10);

/// Combined load of a backend's servers. `None` means unknown, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// Requests waiting in the servers' queues.
    pub waiting: Option<f64>,
    /// Requests that the servers work on.
    pub running: Option<f64>,
    /// KV cache usage of the fullest server, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second, summed over the servers, without those of copies.
    pub tokens_per_second: Option<f64>,
    /// GPU memory in use, in bytes, summed over the GPUs.
    pub gpu_memory_used: Option<f64>,
    /// GPU memory, in bytes, summed over the GPUs.
    pub gpu_memory_total: Option<f64>,
    /// Mean utilization of the GPUs, 0 to 1.
    pub gpu_utilization: Option<f64>,
    /// Share of the prompt tokens found in a prefix cache, 0 to 1, over a minute at least.
    pub prefix_hit_rate: Option<f64>,
}

/// Limits of load; above them a candidate gets no requests.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Limit of [`Reading::waiting`].
    pub max_waiting: Option<u64>,
    /// Limit of [`Reading::kv_usage`], 0 to 1.
    pub max_kv_usage: Option<f64>,
}

/// Load of one backend at its last poll.
#[derive(Debug, Default)]
pub struct Load {
    poll: Mutex<LastPoll>,
    /// Tokens generated for copies of requests, which nobody is served.
    copied: AtomicU64,
}

#[derive(Debug, Default)]
struct LastPoll {
    reading: Reading,
    /// Arrival of the oldest page in `reading`.
    since: Option<Instant>,
    /// Arrival of the last good page.
    good: Option<Instant>,
    error: Option<String>,
}

/// Load of a backend, as `/status` and `/metrics` show it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadReport {
    /// The reading; empty if it is too old.
    pub reading: Reading,
    /// Age of the reading, or of the last good poll if the reading is too old.
    pub age: Option<Duration>,
    /// Errors of the last poll, or the reason for which the reading is too old.
    pub error: Option<String>,
    /// True if a limit is exceeded: requests go to the baseline.
    pub overloaded: bool,
}

impl Load {
    fn last_poll(&self) -> MutexGuard<'_, LastPoll> {
        // A poisoned lock is fine: no operation leaves a partial state.
        self.poll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds tokens that were generated for a copy.
    pub fn add_copied(&self, tokens: u64) {
        self.copied.fetch_add(tokens, Relaxed);
    }

    /// Tokens generated for copies since the start.
    pub fn copied(&self) -> u64 {
        self.copied.load(Relaxed)
    }

    /// Stores a poll's result. `since` is the arrival of the oldest page in `reading`; `None` if no page arrived.
    pub fn tell(&self, reading: Reading, since: Option<Instant>, error: Option<String>) {
        let mut poll = self.last_poll();
        let good = poll.good.max(since);
        *poll = LastPoll { reading, since, good, error };
    }

    /// Returns the reading at `now`; empty if it is too old.
    pub fn reading(&self, now: Instant) -> Reading {
        self.last_poll().fresh(now)
    }

    /// True if a limit is exceeded. At the limit the candidate is still asked; unknown values exceed no limit.
    pub fn is_over(&self, limits: Limits, now: Instant) -> bool {
        if limits == Limits::default() {
            return false;
        }
        limits.passed_by(&self.reading(now))
    }

    /// Returns the reading with its age, error and comparison to `limits`.
    pub fn report(&self, limits: Limits, now: Instant) -> LoadReport {
        let poll = self.last_poll();
        let reading = poll.fresh(now);
        let since = poll.since.filter(|since| is_fresh(*since, now));
        let age = since.or(poll.good).map(|at| now.saturating_duration_since(at));
        let mut error = poll.error.clone();
        if since.is_none() {
            let stale = match age {
                Some(age) => format!("no good poll for {} s", age.as_secs()),
                None => "no good poll yet".to_owned(),
            };
            error = Some(error.map_or_else(|| stale.clone(), |cause| format!("{stale}: {cause}")));
        }
        LoadReport { overloaded: limits.passed_by(&reading), reading, age, error }
    }
}

impl LastPoll {
    fn fresh(&self, now: Instant) -> Reading {
        if self.since.is_some_and(|since| is_fresh(since, now)) { self.reading } else { Reading::default() }
    }
}

/// True if a reading of `since` is still valid.
pub(crate) fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) <= STALE
}

impl Limits {
    fn passed_by(&self, reading: &Reading) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "the file allows a million")]
        let waiting = self.max_waiting.map(|most| most as f64);
        let over =
            |value: Option<f64>, most: Option<f64>| matches!((value, most), (Some(value), Some(most)) if value > most);
        over(reading.waiting, waiting) || over(reading.kv_usage, self.max_kv_usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_waiting: Some(5), max_kv_usage: Some(0.9) };

    #[test]
    fn only_above_a_limit_is_too_much() {
        for (waiting, kv_usage, over) in [
            (Some(5.0), Some(0.9), false),
            (Some(6.0), Some(0.1), true),
            (Some(0.0), Some(0.91), true),
            (None, None, false),
            (None, Some(0.95), true),
        ] {
            let (load, now) = (Load::default(), Instant::now());
            load.tell(Reading { waiting, kv_usage, ..Reading::default() }, Some(now), None);
            assert_eq!(load.is_over(LIMITS, now), over, "{waiting:?} {kv_usage:?}");
            assert_eq!(load.report(LIMITS, now).overloaded, over);
            assert!(!load.is_over(Limits::default(), now));
        }
    }

    #[test]
    fn what_is_old_is_not_known_and_that_is_said() {
        let (load, now) = (Load::default(), Instant::now());
        assert_eq!(load.report(LIMITS, now).error.as_deref(), Some("no good poll yet"));
        let reading = Reading { waiting: Some(99.0), ..Reading::default() };
        load.tell(reading, Some(now), None);
        let (last, after) = (now + STALE, now + STALE + Duration::from_millis(1500));
        assert_eq!((load.is_over(LIMITS, last), load.is_over(LIMITS, after)), (true, false));
        let report = load.report(LIMITS, last);
        assert_eq!((report.reading, report.age, report.error), (reading, Some(STALE), None));
        let report = load.report(LIMITS, after);
        assert_eq!((report.reading, report.overloaded), (Reading::default(), false));
        assert_eq!(report.error.as_deref(), Some("no good poll for 11 s"));
        load.tell(Reading::default(), None, Some("refused".to_owned()));
        let report = load.report(LIMITS, after);
        assert_eq!((report.age, report.error.as_deref()), (Some(after - now), Some("no good poll for 11 s: refused")));
    }
}
