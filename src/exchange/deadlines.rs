//! Deadlines of a request, from the backend's section and from the SDK's headers.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use crate::config::Timeouts;
use crate::model::header::{STAINLESS_READ_TIMEOUT, STAINLESS_TIMEOUT};

/// Timeouts that the SDK announces. Python's limits each wait for bytes, Node's the wait for the head.
#[derive(Debug, Clone, Copy, Default)]
pub struct SdkTimeouts {
    head: Option<Duration>,
    read: Option<Duration>,
}

impl SdkTimeouts {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let seconds = |name: HeaderName| {
            let value: f64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            // SDKs use zero and less for "none", and a limit above a day has no use. Below one second the client
            // disconnects by itself, which must not be blamed on the backend.
            (1.0..86_400.0).contains(&value).then(|| Duration::from_secs_f64(value))
        };
        Self { head: seconds(STAINLESS_TIMEOUT), read: seconds(STAINLESS_READ_TIMEOUT) }
    }
}

impl SdkTimeouts {
    /// Time after which the client has given up if no byte has reached it; `None` if it waits for ever.
    fn first_byte(self) -> Option<Duration> {
        earliest(self.head, self.read)
    }

    /// True if a client whose request began at `started` has given up by `now`, if no byte has reached it.
    pub(crate) fn has_passed(self, started: Instant, now: Instant) -> bool {
        self.first_byte().is_some_and(|wait| now >= started + wait)
    }
}

/// Deadlines of one attempt.
///
/// A client's own deadline is the client's to keep: it hangs up, and its request ends. Only for a client whose leaving
/// cannot be seen, a candidate is asked no longer than a little after that deadline.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deadlines {
    /// Deadline of the head, and of a stream's first generated token.
    first: Option<Instant>,
    /// Limit of the time between two reads after that.
    idle: Option<Duration>,
    total: Option<Instant>,
    /// Instant at which the client has given up if no byte has reached it.
    client_first: Option<Instant>,
    /// Limit of the time between two reads for the client.
    client_idle: Option<Duration>,
}

/// A deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Instant at which it passes.
    pub(crate) at: Instant,
    /// True if the client has given up by then.
    pub(crate) is_clients: bool,
}

impl Due {
    fn earlier(own: Option<Instant>, clients: Option<Instant>) -> Option<Self> {
        match (own, clients) {
            (Some(at), None) => Some(Self { at, is_clients: false }),
            (Some(own), Some(clients)) if own <= clients => Some(Self { at: own, is_clients: false }),
            (_, Some(at)) => Some(Self { at, is_clients: true }),
            (None, None) => None,
        }
    }
}

impl Deadlines {
    /// `client` holds the SDK's timeouts, which count from `started`, the beginning of the request; `None` if they do not
    /// bound the backend. The backend's own count from `now`.
    pub(super) fn new(
        timeouts: &Timeouts,
        client: Option<SdkTimeouts>,
        streamed: bool,
        (started, now): (Instant, Instant),
    ) -> Self {
        let total = timeouts.total.map(|total| now + total);
        let ttft = timeouts.ttft.filter(|_| streamed).map(|ttft| now + ttft);
        let client = client.unwrap_or_default();
        Self {
            first: earliest(ttft, total),
            idle: timeouts.idle.filter(|_| streamed),
            total,
            client_first: client.first_byte().map(|wait| started + with_grace(wait)),
            client_idle: client.read.map(with_grace),
        }
    }

    /// Deadline of the head, and of a stream's first generated token.
    pub(super) fn first(&self) -> Option<Due> {
        Due::earlier(self.first, self.client_first)
    }

    /// Deadline of the next byte if waiting begins at `now` and no byte has reached the client.
    pub(super) fn next_held_byte(&self, now: Instant) -> Option<Due> {
        Due::earlier(self.own_next(now), self.client_first)
    }

    /// Deadline of the next byte if waiting begins at `now`.
    pub(super) fn next_byte(&self, now: Instant) -> Option<Due> {
        Due::earlier(self.own_next(now), self.client_idle.map(|idle| now + idle))
    }

    /// True if the deadline of the next byte depends on the byte before it.
    pub(super) const fn moves(&self) -> bool {
        self.idle.is_some() || self.client_idle.is_some()
    }

    fn own_next(&self, now: Instant) -> Option<Instant> {
        earliest(self.idle.map(|idle| now + idle), self.total)
    }
}

/// Adds a second, or a tenth if that is more: a client whose leaving can be seen has left by then.
fn with_grace(wait: Duration) -> Duration {
    wait + (wait / 10).max(Duration::from_secs(1))
}

fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn of(name: &'static str, value: &'static str) -> SdkTimeouts {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        SdkTimeouts::of(&headers)
    }

    fn due(at: Instant, is_clients: bool) -> Option<Due> {
        Some(Due { at, is_clients })
    }

    #[test]
    fn a_candidate_is_asked_a_little_longer_than_the_client_waits() {
        let now = Instant::now();
        let timeouts = Timeouts { connect: SECOND * 2, ttft: None, idle: None, total: None };
        let with = |client| Deadlines::new(&timeouts, Some(client), true, (now, now));
        let node = with(of("x-stainless-timeout", "600"));
        assert_eq!((node.first(), node.next_byte(now)), (due(now + SECOND * 660, true), None));
        let python = with(of("x-stainless-read-timeout", "2.5"));
        assert_eq!(python.first(), due(now + SECOND * 7 / 2, true));
        assert_eq!(python.next_byte(now + SECOND), due(now + SECOND * 9 / 2, true));
        assert_eq!(python.next_held_byte(now + SECOND), due(now + SECOND * 7 / 2, true), "the client has seen nothing");
        for nonsense in ["not-given", "-1", "NaN", "inf", "1e400", "0", "0.5"] {
            let none = with(of("x-stainless-timeout", nonsense));
            assert_eq!((none.first(), none.next_byte(now)), (None, None), "{nonsense}");
        }
        let baseline = Deadlines::new(&timeouts, None, true, (now, now));
        assert_eq!((baseline.first(), baseline.next_byte(now)), (None, None));
        let client = of("x-stainless-timeout", "2");
        assert!(!client.has_passed(now, now + SECOND) && client.has_passed(now, now + SECOND * 2));
    }

    #[test]
    fn ttft_is_for_streams_and_total_for_all() {
        let now = Instant::now();
        let timeouts =
            Timeouts { connect: SECOND, ttft: Some(SECOND * 2), idle: Some(SECOND), total: Some(SECOND * 9) };
        let streamed = Deadlines::new(&timeouts, None, true, (now, now));
        assert_eq!(
            (streamed.first(), streamed.next_byte(now)),
            (due(now + SECOND * 2, false), due(now + SECOND, false))
        );
        let whole = Deadlines::new(&timeouts, None, false, (now, now));
        assert_eq!((whole.first(), whole.next_byte(now)), (due(now + SECOND * 9, false), due(now + SECOND * 9, false)));
    }
}
