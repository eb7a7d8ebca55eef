//! How near a backend is to its rate limit, by what its last answers said.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use crate::stats::lock;

/// Time for which an answer's word about the rate limit counts.
const VALID: Duration = Duration::from_secs(60);
/// Share of a limit below which it counts as nearly used up: a fifth.
const LOW: f64 = 0.2;
/// Limits that OpenAI's answers name: `x-ratelimit-limit-*` and `x-ratelimit-remaining-*`.
const LIMITS: [(&str, &str); 2] = [
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
];

/// The rate limit of one backend.
#[derive(Debug, Default)]
pub struct Quota(Mutex<Noted>);

#[derive(Debug, Default, Clone, Copy)]
struct Noted {
    /// Instant of the last 429.
    limited_at: Option<Instant>,
    /// Instant of the last answer, if it left less than a fifth of a limit.
    low_at: Option<Instant>,
}

impl Quota {
    /// Notes the head of an answer.
    pub fn note(&self, status: StatusCode, headers: &HeaderMap, now: Instant) {
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.limited(now);
        }
        let is_low = LIMITS.iter().any(|(limit, remaining)| is_low(headers, limit, remaining));
        lock(&self.0).low_at = is_low.then_some(now);
    }

    /// Notes a 429.
    pub fn limited(&self, now: Instant) {
        lock(&self.0).limited_at = Some(now);
    }

    /// True if requests that nobody waits for should not be sent: a 429 or a nearly used limit within a minute.
    pub fn is_tight(&self, now: Instant) -> bool {
        let noted = *lock(&self.0);
        let is_valid = |at: Instant| now.saturating_duration_since(at) < VALID;
        noted.limited_at.is_some_and(is_valid) || noted.low_at.is_some_and(is_valid)
    }
}

fn is_low(headers: &HeaderMap, limit: &str, remaining: &str) -> bool {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    matches!((number(limit), number(remaining)), (Some(limit), Some(left)) if left < limit * LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(limit: &str, left: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-limit-tokens", limit.parse().unwrap());
        headers.insert("x-ratelimit-remaining-tokens", left.parse().unwrap());
        headers
    }

    #[test]
    fn a_429_counts_for_a_minute_and_a_low_limit_until_the_next_answer() {
        let (quota, now) = (Quota::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(!quota.is_tight(now));
        quota.note(StatusCode::OK, &headers("1000", "200"), now);
        assert!(!quota.is_tight(now), "a fifth is left");
        quota.note(StatusCode::OK, &headers("1000", "199"), now);
        assert!(quota.is_tight(now) && quota.is_tight(after(59)) && !quota.is_tight(after(60)));
        quota.note(StatusCode::OK, &headers("1000", "many"), after(1));
        assert!(!quota.is_tight(after(1)));
        quota.note(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), after(2));
        quota.note(StatusCode::OK, &headers("1000", "1000"), after(3));
        assert!(quota.is_tight(after(61)) && !quota.is_tight(after(62)));
    }
}
