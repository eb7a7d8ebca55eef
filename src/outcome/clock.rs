//! Instants with the wall clock, and the part of a request's time spent waiting for others.

use std::time::{Duration, Instant, SystemTime};

/// An instant and the wall clock at it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Arrival of the request's head.
    pub began_at: Instant,
    /// The wall clock at `began_at`.
    pub wall: SystemTime,
}

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        Self { began_at: Instant::now(), wall: SystemTime::now() }
    }

    /// Returns the wall clock at `at`, unaffected by clock adjustments.
    pub fn wall_of(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.began_at)
    }
}

/// Time spent waiting for the application's body or a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitedTime {
    waited: Duration,
}

/// Guard that adds its lifetime to the waited time, even if its future is dropped.
struct Waiting<'t> {
    waited_time: &'t mut WaitedTime,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waited_time.waited += self.since.elapsed();
    }
}

impl WaitedTime {
    /// Awaits `work` and counts its time as waited.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let _waiting = Waiting { waited_time: self, since: Instant::now() };
        work.await
    }

    /// Total time waited.
    pub const fn waited(self) -> Duration {
        self.waited
    }
}
