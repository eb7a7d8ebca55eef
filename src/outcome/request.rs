//! One request of an application, ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use super::clock::Clock;
use super::labels::BackendLabels;
use super::leg::{Attempt, LegEnd};
use super::params::Params;
use crate::choose::Choice;
use crate::model::{End, Fault, Reason, SpanId, TraceContext};
use crate::stats::{RouteStats, ShareStats};
use crate::wire::endpoint::Operation;

/// Time that was spent in this process and not in waiting for others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overhead {
    /// Until the first attempt was sent; `None` where none was.
    pub request: Option<Duration>,
    /// Until the answer's head left; `None` where none did.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// The decision about a request, with the counters of its route.
#[derive(Debug)]
pub struct Decided {
    /// The choice as it was made first, before any failover.
    pub choice: Choice,
    /// The route's counters and name.
    pub route: Arc<RouteStats>,
    /// Labels of the backend that was decided for.
    pub backend: Arc<BackendLabels>,
    /// Counters of that backend on this route.
    pub share: Arc<ShareStats>,
}

/// One request from its head to the last byte of its answer. Holds no content, no header and no key.
#[derive(Debug)]
pub struct Outcome {
    /// When it began.
    pub clock: Clock,
    /// When it was over.
    pub ended_at: Instant,
    /// Its trace.
    pub trace: TraceContext,
    /// Its SERVER span.
    pub span: SpanId,
    /// Generation of the snapshot that it used.
    pub generation: u64,
    /// Its method; unknown ones are `_OTHER`.
    pub method: Method,
    /// The endpoint's template.
    pub template: &'static str,
    /// Its path, cut; empty where nothing is traced.
    pub path: String,
    /// Its version of HTTP.
    pub version: Version,
    /// The operation on a model, if it is one.
    pub operation: Option<Operation>,
    /// The parameters that it asked a model with.
    pub params: Params,
    /// The decision; `None` for a request that ended before one.
    pub decided: Option<Decided>,
    /// Its legs, in the order in which they were begun: at most two.
    pub legs: Vec<LegEnd>,
    /// The backend that answered, or was to; `None` where shiftgate did.
    pub backend: Option<Arc<BackendLabels>>,
    /// Why that backend, or why shiftgate; `None` where it ended undecided.
    pub reason: Option<Reason>,
    /// The status that the application got.
    pub status: Option<u16>,
    /// How it ended.
    pub end: End,
    /// The words of `error.type`.
    pub fault: Option<Fault>,
    /// Time that was ours.
    pub overhead: Overhead,
    /// Cost of the answer, in USD; `None` where it is not known.
    pub cost_usd: Option<f64>,
}

impl Outcome {
    /// Every request sent, with its leg.
    pub fn attempts(&self) -> impl Iterator<Item = (&LegEnd, &Attempt)> + Clone {
        self.legs.iter().flat_map(|leg| leg.attempts.iter().map(move |attempt| (leg, attempt)))
    }

    /// The leg whose answer the application got, or would have got.
    pub fn answered_by(&self) -> Option<&LegEnd> {
        self.legs.last().filter(|_| self.backend.is_some())
    }

    /// Number of spans that it has here.
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
