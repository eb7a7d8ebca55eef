//! Intervals and timeouts of polls and probes.

use std::time::Duration;

/// Intervals and timeouts of requests off the request path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollIntervals {
    /// Time between two polls of a page, plus or minus a fifth.
    pub poll: Duration,
    /// Timeout of one page.
    pub deadline: Duration,
    /// Pause before an unanswered request is repeated; doubles each time, up to a minute.
    pub retry: Duration,
    /// Shortest time over which a prefix hit rate is taken.
    pub hit_window: Duration,
    /// Pause before a probe that found features missing is repeated.
    pub probe_again: Duration,
    /// Time between two questions for a backend's list of models, plus or minus a fifth.
    pub models: Duration,
}

impl Default for PollIntervals {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            deadline: Duration::from_secs(3),
            retry: Duration::from_secs(1),
            hit_window: Duration::from_secs(60),
            probe_again: Duration::from_secs(300),
            models: Duration::from_secs(24 * 3600),
        }
    }
}
