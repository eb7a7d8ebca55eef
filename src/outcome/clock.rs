//! Instants, the wall clock beside them, and the part of a request's time that was spent waiting for others.

use std::time::{Duration, Instant, SystemTime};

/// An instant and the wall clock's time at it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the request's head had come.
    pub began_at: Instant,
    /// The wall clock's time then.
    pub wall: SystemTime,
}

impl Clock {
    /// Reads both clocks.
    pub fn start() -> Self {
        Self { began_at: Instant::now(), wall: SystemTime::now() }
    }

    /// The wall clock's time at `at`, as if nobody had set it since.
    pub fn wall_of(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.began_at)
    }
}

/// Time spent waiting for somebody else: the application's body, a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnTime {
    waited: Duration,
}

/// Adds its lifetime to the waited time, also where the future that it stands in is dropped.
struct Waiting<'t> {
    own_time: &'t mut OwnTime,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.own_time.waited += self.since.elapsed();
    }
}

impl OwnTime {
    /// Awaits `work` and counts its time as waited.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> T {
        let _waiting = Waiting { own_time: self, since: Instant::now() };
        work.await
    }

    /// Everything waited so far.
    pub const fn waited(self) -> Duration {
        self.waited
    }
}
