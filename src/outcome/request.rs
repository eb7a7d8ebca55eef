//! A request of an application after its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use super::clock::Clock;
use super::labels::BackendLabels;
use super::leg::{Attempt, LegEnd};
use super::params::Params;
use crate::choose::Choice;
use crate::model::{End, Fault, Reason, SpanId, TraceContext};
use crate::stats::{Placement, RouteStats, RuleStats, ShareStats};
use crate::wire::endpoint::Operation;

/// Time spent in this process, excluding waiting for others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overhead {
    /// Until the first attempt was sent; `None` if none was.
    pub request: Option<Duration>,
    /// Until the answer's head was sent; `None` if none was.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// The decision about a request, and the counters of its route.
#[derive(Debug)]
pub struct Decided {
    /// The first choice, before any failover.
    pub choice: Choice,
    /// Counters and name of the route.
    pub route: Arc<RouteStats>,
    /// Labels of the backend decided for.
    pub backend: Arc<BackendLabels>,
    /// Counters of that backend on this route.
    pub share: Arc<ShareStats>,
}

/// The residency rules that match a request.
#[derive(Debug)]
pub struct Restricted {
    /// Their names, joined by commas, in the file's order.
    pub names: String,
    /// Their counters.
    pub rules: Vec<Arc<RuleStats>>,
    /// Their result.
    pub placement: Placement,
}

/// One request, complete and immutable. Holds no content, no header and no key.
#[derive(Debug)]
pub struct Outcome {
    /// Its beginning.
    pub clock: Clock,
    /// Instant of its end.
    pub ended_at: Instant,
    /// Its trace.
    pub trace: TraceContext,
    /// The application's trace state, which its spans carry on; empty without tracing.
    pub trace_state: String,
    /// Its SERVER span.
    pub span: SpanId,
    /// Generation of the snapshot used.
    pub generation: u64,
    /// Method; unknown ones are `_OTHER`.
    pub method: Method,
    /// The endpoint's template.
    pub template: &'static str,
    /// Path, truncated; empty without tracing.
    pub path: String,
    /// HTTP version.
    pub version: Version,
    /// Operation on a model, if any.
    pub operation: Option<Operation>,
    /// Model parameters.
    pub params: Params,
    /// The decision; `None` for a request that ended before one.
    pub decided: Option<Decided>,
    /// The residency rules that match; `None` if no rule does.
    pub residency: Option<Restricted>,
    /// Its legs in order: at most two.
    pub legs: Vec<LegEnd>,
    /// The backend that answered or would have; `None` if shiftgate did.
    pub backend: Option<Arc<BackendLabels>>,
    /// Reason for that backend, or for shiftgate's own answer; `None` if the request ended undecided.
    pub reason: Option<Reason>,
    /// True if a copy of it was offered for comparison.
    pub is_copied: bool,
    /// The candidate that its end made the guard withdraw, or tell of; `None` for most.
    pub tripped: Option<Arc<str>>,
    /// True if its head was sent before a backend had content.
    pub is_early: bool,
    /// Status sent to the application.
    pub status: Option<u16>,
    /// End of the request.
    pub end: End,
    /// The `error.type`.
    pub fault: Option<Fault>,
    /// Time spent in shiftgate.
    pub overhead: Overhead,
    /// Cost of the answer in USD; `None` if unknown.
    pub cost_usd: Option<f64>,
}

impl Outcome {
    /// Every attempt with its leg, in order.
    pub fn attempts(&self) -> impl Iterator<Item = (&LegEnd, &Attempt)> + Clone {
        self.legs.iter().flat_map(|leg| leg.attempts.iter().map(move |attempt| (leg, attempt)))
    }

    /// The leg whose answer the application got, or would have got.
    pub fn answered_by(&self) -> Option<&LegEnd> {
        self.legs.last().filter(|_| self.backend.is_some())
    }

    /// Number of spans that it exports.
    pub fn spans(&self) -> usize {
        self.attempts().count() + 1
    }

    /// Time from its head to its end.
    pub fn total(&self) -> Duration {
        self.ended_at.saturating_duration_since(self.clock.began_at)
    }

    /// Time from its head to the first generated token of a streamed answer, as the application sees it.
    pub fn first_token_after(&self) -> Option<Duration> {
        let first = self.answered_by()?.facts.first_content?;
        Some(first.saturating_duration_since(self.clock.began_at))
    }
}
