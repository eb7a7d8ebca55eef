//! What wakes the watcher's thread.
//!
//! Owns: the strongest wake that is pending. Refuses: a queue. Invariant: a wake raised while the thread is busy is
//! there when it looks next, so none is lost and nothing grows.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why the thread wakes; the later one of the list outdoes the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Wake {
    /// Nothing happened: time to poll.
    #[default]
    Tick,
    Hint,
    Now,
    Stop,
}

#[derive(Debug, Default)]
pub(super) struct Signal {
    pending: Mutex<Pending>,
    raised: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    wake: Wake,
    /// A folder that is watched may be another one now.
    moved: bool,
}

impl Signal {
    pub(super) fn raise(&self, wake: Wake) {
        let mut pending = self.lock();
        if wake > pending.wake {
            pending.wake = wake;
            self.raised.notify_all();
        }
    }

    /// A hint that also says to watch the folders anew.
    pub(super) fn moved(&self) {
        self.lock().moved = true;
        self.raise(Wake::Hint);
    }

    pub(super) fn take_moved(&self) -> bool {
        std::mem::take(&mut self.lock().moved)
    }

    /// Waits for a wake, `Tick` when none came in time, and clears it (`Stop` stays).
    pub(super) fn wait(&self, at_most: Duration) -> Wake {
        let guard = self.lock();
        let (mut pending, _) = self
            .raised
            .wait_timeout_while(guard, at_most, |pending| pending.wake == Wake::Tick)
            .unwrap_or_else(PoisonError::into_inner);
        pending.take()
    }

    /// What is pending now, cleared like by [`wait`](Self::wait).
    pub(super) fn take(&self) -> Wake {
        self.lock().take()
    }

    /// Waits for that long; `false` at once when asked to stop. Hints stay pending.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let end = Instant::now() + length;
        let mut pending = self.lock();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if pending.wake == Wake::Stop {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            (pending, _) = self.raised.wait_timeout(pending, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn take(&mut self) -> Wake {
        match self.wake {
            Wake::Stop => Wake::Stop,
            Wake::Tick | Wake::Hint | Wake::Now => std::mem::take(&mut self.wake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGES: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_raised_while_nobody_waits_is_kept_once() {
        let signal = Signal::default();
        signal.raise(Wake::Hint);
        signal.raise(Wake::Now);
        signal.raise(Wake::Hint);
        assert_eq!(signal.wait(AGES), Wake::Now);
        assert_eq!(signal.wait(Duration::ZERO), Wake::Tick);
    }

    #[test]
    fn stop_outdoes_everything_and_stays() {
        let signal = Signal::default();
        signal.raise(Wake::Stop);
        signal.raise(Wake::Now);
        assert!(!signal.pause(AGES));
        assert_eq!(signal.wait(AGES), Wake::Stop);
        assert_eq!(signal.take(), Wake::Stop);
    }

    #[test]
    fn a_pause_keeps_hints_for_later() {
        let signal = Signal::default();
        signal.raise(Wake::Hint);
        assert!(signal.pause(Duration::from_millis(1)));
        assert_eq!(signal.take(), Wake::Hint);
    }
}
