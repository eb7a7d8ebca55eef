//! Wakes of the watcher's thread.
//!
//! Owns: the strongest wake that is pending. Refuses: a queue. Invariant: a wake raised while the thread is busy is
//! there when it looks next, so none is lost and nothing grows.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reason for a wake; a later variant overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Wake {
    /// The poll interval has passed.
    #[default]
    Tick,
    /// Something changed, perhaps the files.
    Hint,
    /// A reload was requested.
    Now,
    /// The thread has to end.
    Stop,
}

/// A call that follows a requested reload.
pub(super) type After = Box<dyn FnOnce() + Send>;

/// The pending wake of one thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    pending: Mutex<PendingWake>,
    raised: Condvar,
}

#[derive(Default)]
struct PendingWake {
    wake: Wake,
    /// True if a watched folder may have been replaced.
    has_moved: bool,
    /// Called when the reload that was requested last is finished.
    after: Option<After>,
}

impl std::fmt::Debug for PendingWake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingWake").field("wake", &self.wake).finish_non_exhaustive()
    }
}

impl Signal {
    /// Raises a wake, unless a stronger one is pending.
    pub(super) fn raise(&self, wake: Wake) {
        let mut pending = self.lock();
        if wake > pending.wake {
            pending.wake = wake;
            self.raised.notify_all();
        }
    }

    /// Requests a reload, and a call when it is finished; it replaces a call that still waits.
    pub(super) fn request(&self, after: After) {
        self.lock().after = Some(after);
        self.raise(Wake::Now);
    }

    /// Returns the call that follows the reload. Taken before the files are read, it belongs to a request that they
    /// answer.
    pub(super) fn take_after(&self) -> Option<After> {
        self.lock().after.take()
    }

    /// Raises a hint and notes that the folders have to be watched again.
    pub(super) fn moved(&self) {
        self.lock().has_moved = true;
        self.raise(Wake::Hint);
    }

    /// True if folders moved since the last call.
    pub(super) fn take_moved(&self) -> bool {
        std::mem::take(&mut self.lock().has_moved)
    }

    /// Waits for a wake, which is `Tick` after `at_most`, and clears it (`Stop` stays).
    pub(super) fn wait(&self, at_most: Duration) -> Wake {
        let guard = self.lock();
        let (mut pending, _) = self
            .raised
            .wait_timeout_while(guard, at_most, |pending| pending.wake == Wake::Tick)
            .unwrap_or_else(PoisonError::into_inner);
        pending.take()
    }

    /// Returns the pending wake and clears it, as [`wait`](Self::wait) does.
    pub(super) fn take(&self) -> Wake {
        self.lock().take()
    }

    /// Waits for `length`; returns false at once if the thread has to stop. Hints stay pending.
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

    fn lock(&self) -> MutexGuard<'_, PendingWake> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingWake {
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
    fn a_wake_raised_while_the_thread_is_busy_is_kept_once() {
        let signal = Signal::default();
        signal.raise(Wake::Hint);
        signal.raise(Wake::Now);
        signal.raise(Wake::Hint);
        assert_eq!(signal.wait(AGES), Wake::Now);
        assert_eq!(signal.wait(Duration::ZERO), Wake::Tick);
    }

    #[test]
    fn stop_overrides_everything_and_stays() {
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
