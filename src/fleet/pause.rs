//! The pause between two tries of a request.

use std::time::Duration;

use super::intervals::PollIntervals;

/// Usual limit of the pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A pause that doubles with each try, with jitter so that sidecars do not ask at once.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(super) fn new(pace: PollIntervals) -> Self {
        Self::up_to(pace, LONGEST_PAUSE)
    }

    /// A pause with another limit.
    pub(super) const fn up_to(pace: PollIntervals, longest: Duration) -> Self {
        Self { next: pace.retry, longest }
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next.mul_f64(rand::random_range(0.8..1.2))).await;
        self.next = (self.next * 2).min(self.longest);
    }
}
