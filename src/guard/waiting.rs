//! Requests that wait for their first generated token, by the instant at which they become failures.
//!
//! A hung candidate has to count before its requests end, so the age decides, not the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Limit on waiting requests: 64 times the default of `limits.in_flight`, some 8 MiB. Above it a request is not watched:
/// its end decides, and `unwatched` counts it.
const MOST: usize = 1 << 16;
/// Factor on `overdue` of a request that is not streamed: its answer comes as a whole.
const UNSTREAMED: u32 = 10;

/// Place of a request among the waiting ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    due_at: Instant,
    number: u64,
}

/// Waiting requests, each with a `T` that says what to count.
#[derive(Debug, Clone)]
pub struct Waiting<T> {
    by_due: BTreeMap<Ticket, T>,
    next: u64,
    unwatched: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { by_due: BTreeMap::new(), next: 0, unwatched: 0 }
    }
}

impl<T> Waiting<T> {
    /// Watches a request that was sent at `sent_at`; returns `value` if too many wait, or if it would be due beyond all
    /// time.
    pub fn watch(&mut self, sent_at: Instant, overdue: Duration, is_streamed: bool, value: T) -> Result<Ticket, T> {
        let age = if is_streamed { Some(overdue) } else { overdue.checked_mul(UNSTREAMED) };
        let due_at = age.and_then(|age| sent_at.checked_add(age)).filter(|_| self.by_due.len() < MOST);
        let Some(due_at) = due_at else {
            self.unwatched += 1;
            return Err(value);
        };
        let ticket = Ticket { due_at, number: self.next };
        self.next += 1;
        self.by_due.insert(ticket, value);
        Ok(ticket)
    }

    /// Stops watching a request, because something was generated or because it ended; `None` if it was overdue before,
    /// so that it is decided once.
    pub fn take(&mut self, ticket: Ticket) -> Option<T> {
        self.by_due.remove(&ticket)
    }

    /// Takes the next request that is overdue at `now`, the one that has been for longest first.
    pub fn next_overdue(&mut self, now: Instant) -> Option<T> {
        let first = self.by_due.first_entry().filter(|first| first.key().due_at <= now)?;
        Some(first.remove())
    }

    /// Instant at which the next request becomes overdue.
    pub fn next_due_at(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|(ticket, _)| ticket.due_at)
    }

    /// Number of requests that were not watched because too many waited.
    pub const fn unwatched(&self) -> u64 {
        self.unwatched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERDUE: Duration = Duration::from_secs(30);

    #[test]
    fn overdue_by_age_and_once() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut waiting = Waiting::default();
        let whole = waiting.watch(at(0), OVERDUE, false, "whole").unwrap();
        let first = waiting.watch(at(1), OVERDUE, true, "first").unwrap();
        let second = waiting.watch(at(2), OVERDUE, true, "second").unwrap();
        let own = waiting.watch(at(3), Duration::from_secs(5), true, "own").unwrap();
        assert_eq!(waiting.next_due_at(), Some(at(8)));
        assert_eq!(waiting.next_overdue(at(7)), None);
        assert_eq!((waiting.next_overdue(at(8)), waiting.next_overdue(at(8))), (Some("own"), None));
        assert_eq!(waiting.take(second), Some("second"), "it generated something");
        assert_eq!((waiting.next_overdue(at(299)), waiting.next_overdue(at(299))), (Some("first"), None));
        assert_eq!((waiting.take(first), waiting.take(own), waiting.take(second)), (None, None, None));
        assert_eq!((waiting.next_overdue(at(300)), waiting.take(whole)), (Some("whole"), None));
        assert_eq!(waiting.next_due_at(), None);
    }

    #[test]
    fn too_many_are_counted_and_not_watched() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        let first = waiting.watch(now, OVERDUE, true, 0).unwrap();
        for n in 1..MOST {
            assert!(waiting.watch(now, OVERDUE, true, n).is_ok());
        }
        assert_eq!((waiting.watch(now, OVERDUE, true, MOST), waiting.unwatched()), (Err(MOST), 1));
        waiting.take(first);
        assert!(waiting.watch(now, OVERDUE, true, MOST).is_ok());
        assert_eq!((waiting.watch(now, Duration::MAX, false, 0), waiting.unwatched()), (Err(0), 2));
    }
}
