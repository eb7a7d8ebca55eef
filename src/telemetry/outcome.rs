//! How one request ended, and the line that says so.

use std::time::{Duration, Instant};

use tracing::Value;

use crate::model::{End, Reason};
use crate::wire::answer_facts::Usage;

/// All that the outcome line tells.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub route: Option<&'a str>,
    /// Who answered; `None` where shiftgate did, or where nobody could.
    pub backend: Option<&'a str>,
    pub reason: Reason,
    pub generation: u64,
    pub method: &'a str,
    /// The endpoint's template, never the raw path: ids stay out of logs.
    pub path: &'a str,
    pub status: Option<u16>,
    pub attempts: usize,
    pub ttft: Option<Duration>,
    pub total: Duration,
    pub overhead: Duration,
    pub usage: Option<Usage>,
    pub cost_usd: Option<f64>,
    pub end: End,
    pub trace_id: &'a str,
}

/// Not known is `null` in JSON: a NaN is how a field of `tracing` says so.
const UNKNOWN: f64 = f64::NAN;

impl Outcome<'_> {
    /// One line, through `tracing`.
    pub fn log(&self) {
        fn known<T: Value>(value: Option<&T>) -> &dyn Value {
            value.map_or(&UNKNOWN as &dyn Value, |value| value as &dyn Value)
        }
        let ttft_ms = self.ttft.map(millis);
        let (input, output) = (self.usage.map(|usage| usage.input), self.usage.map(|usage| usage.output));
        let cost = self.cost_usd;
        let overhead_us = u64::try_from(self.overhead.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "shiftgate::request",
            route = known(self.route.as_ref()),
            backend = known(self.backend.as_ref()),
            reason = self.reason.as_str(),
            generation = self.generation,
            method = self.method,
            path = self.path,
            status = known(self.status.as_ref()),
            attempts = self.attempts,
            ttft_ms = known(ttft_ms.as_ref()),
            total_ms = millis(self.total),
            overhead_us,
            input_tokens = known(input.as_ref()),
            output_tokens = known(output.as_ref()),
            cost_usd = known(cost.as_ref()),
            end = self.end.as_str(),
            trace_id = self.trace_id,
            "request"
        );
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Time in the request path that was not spent waiting for somebody else.
#[derive(Debug)]
pub struct Stopwatch {
    pub started: Instant,
    waited: Duration,
    /// The wait that goes on.
    waiting: Option<Instant>,
    /// Ours, since the answer's head left.
    pub passing: Duration,
}

impl Stopwatch {
    pub fn start(now: Instant) -> Self {
        Self { started: now, waited: Duration::ZERO, waiting: None, passing: Duration::ZERO }
    }

    /// From `now` on the request waits: for the app's body or for a backend. It may end while it does.
    pub fn waits(&mut self, now: Instant) {
        self.waiting = Some(now);
    }

    /// What it waited for is here.
    pub fn resumes(&mut self, now: Instant) {
        if let Some(since) = self.waiting.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// What was ours, up to the answer's head.
    pub fn overhead(&self, now: Instant) -> Duration {
        let until = self.waiting.unwrap_or(now);
        until.saturating_duration_since(self.started).saturating_sub(self.waited)
    }
}
