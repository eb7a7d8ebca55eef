//! Intervals and timeouts of the questions to backends.

use std::time::Duration;

/// How often backends are asked, and how long they may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollIntervals {
    /// Between two polls of a page, and up to a fifth more or less.
    pub poll: Duration,
    /// For one page.
    pub deadline: Duration,
    /// Before a question that got no answer is asked again; doubled each time, up to a minute.
    pub retry: Duration,
    /// Before a probe that found something lacking looks again.
    pub probe_again: Duration,
}

impl Default for PollIntervals {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            deadline: Duration::from_secs(3),
            retry: Duration::from_secs(1),
            probe_again: Duration::from_secs(300),
        }
    }
}
