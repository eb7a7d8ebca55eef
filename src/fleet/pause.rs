//! The pause between two tries of a request.

use std::time::Duration;

use super::intervals::PollIntervals;

/// Limit of the pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A pause that doubles with each try, with jitter so that sidecars do not ask at once.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new(pace: PollIntervals) -> Self {
        Self(pace.retry)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0.mul_f64(rand::random_range(0.8..1.2))).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
