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

/// Deadlines of one attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deadlines {
    /// Deadline of the answer's head.
    pub(super) head: Option<Instant>,
    /// Deadline of a stream's first generated token.
    pub(super) first: Option<Instant>,
    /// Limit of the time between two reads after that.
    pub(super) idle: Option<Duration>,
    pub(super) total: Option<Instant>,
}

impl Deadlines {
    /// The SDK's timeouts count from `started`, the beginning of the request; the backend's count from `now`. After a
    /// failover less of the SDK's time is left.
    pub(super) fn new(
        timeouts: &Timeouts,
        patience: SdkTimeouts,
        streamed: bool,
        (started, now): (Instant, Instant),
    ) -> Self {
        let total = timeouts.total.map(|total| now + total);
        let ttft = timeouts.ttft.filter(|_| streamed).map(|ttft| now + ttft);
        let client = earliest(patience.head, patience.read).map(|wait| started + wait);
        let first = earliest(ttft, total);
        Self {
            head: earliest(client, first),
            first,
            idle: earliest(timeouts.idle.filter(|_| streamed), patience.read),
            total,
        }
    }

    /// Deadline of the next byte if waiting begins at `now`.
    pub(super) fn next_byte(&self, now: Instant) -> Option<Instant> {
        earliest(self.idle.map(|idle| now + idle), self.total)
    }
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

    #[test]
    fn each_sdk_is_bounded_the_way_it_means() {
        let now = Instant::now();
        let timeouts = Timeouts { connect: Duration::from_secs(2), ttft: None, idle: None, total: None };
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            Deadlines::new(&timeouts, SdkTimeouts::of(&headers), true, (now, now))
        };
        let node = of("x-stainless-timeout", "600");
        assert_eq!((node.head, node.idle), (Some(now + Duration::from_secs(600)), None));
        let python = of("x-stainless-read-timeout", "60.5");
        assert_eq!(python.idle, Some(Duration::from_millis(60_500)));
        assert_eq!(python.head, Some(now + Duration::from_millis(60_500)));
        for nonsense in ["not-given", "-1", "NaN", "inf", "1e400", "0"] {
            let none = of("x-stainless-timeout", nonsense);
            assert_eq!((none.head, none.idle), (None, None), "{nonsense}");
        }
    }

    #[test]
    fn ttft_is_for_streams_and_total_for_all() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let timeouts =
            Timeouts { connect: second, ttft: Some(second * 2), idle: Some(second), total: Some(second * 9) };
        let streamed = Deadlines::new(&timeouts, SdkTimeouts::default(), true, (now, now));
        assert_eq!((streamed.head, streamed.next_byte(now)), (Some(now + second * 2), Some(now + second)));
        let whole = Deadlines::new(&timeouts, SdkTimeouts::default(), false, (now, now));
        assert_eq!((whole.head, whole.next_byte(now)), (Some(now + second * 9), Some(now + second * 9)));
    }
}
