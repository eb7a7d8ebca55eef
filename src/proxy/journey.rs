//! What telemetry will tell of a request: noted step by step, told once at its end.
//!
//! Owns: times, ids and faults of the attempts. Refuses: counting, deciding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Version};

use crate::backend::Target;
use crate::backend::headers::OwnTrace;
use crate::model::header::TRACEPARENT;
use crate::model::{End, Fault, SpanId, TraceContext, prefix, told_method};
use crate::telemetry::story::{Attempt, CancelledBy, Clock, Decided, Leg, Params, Peer};
use crate::telemetry::tracer::Tracer;
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::endpoint::Operation;

/// Longer names of models are cut.
const MAX_MODEL: usize = 128;
/// Longer paths are cut in spans.
const MAX_PATH: usize = 256;

#[derive(Debug)]
pub(super) struct Journey {
    pub(super) clock: Clock,
    pub(super) trace: TraceContext,
    pub(super) span: SpanId,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) path: String,
    pub(super) operation: Option<Operation>,
    pub(super) params: Params,
    pub(super) decided: Option<Decided>,
    pub(super) attempts: Vec<Attempt>,
    /// What was ours before the first attempt.
    pub(super) before_sending: Option<Duration>,
    /// Traces are exported, so what backends are told of them has to fit.
    pub(super) is_traced_here: bool,
}

/// What a request's head says of itself.
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
}

impl Journey {
    /// `ratio` is the share of the traces beginning here that the file asks for.
    pub(super) fn begin(head: &Head<'_>, operation: Option<Operation>, tracer: Option<&Tracer>, ratio: f64) -> Self {
        let mut trace = given(head.headers).unwrap_or_else(|| TraceContext::begin(rand::random()));
        if let Some(tracer) = tracer {
            trace.set_sampled(tracer.samples(&trace, ratio));
        }
        let path = tracer.map(|_| prefix(head.path, MAX_PATH)).unwrap_or_default();
        Self {
            clock: Clock::start(),
            trace,
            span: new_span(),
            method: told_method(head.method),
            version: head.version,
            path,
            operation,
            params: Params::default(),
            decided: None,
            attempts: Vec::with_capacity(1),
            before_sending: None,
            is_traced_here: tracer.is_some(),
        }
    }

    /// A request leaves for `peer`.
    pub(super) fn sends(&mut self, peer: &Arc<Peer>, model: &str, is_replay: bool) {
        self.attempts.push(Attempt {
            peer: Arc::clone(peer),
            leg: Leg::Served,
            span: new_span(),
            sent: Instant::now(),
            head: None,
            ended: None,
            is_replay,
            reused: None,
            status: None,
            model: prefix(model, MAX_MODEL),
            seen: AnswerFacts::default(),
            fault: None,
            cancelled: None,
            opened_breaker: false,
        });
    }

    /// What the attempt that leaves tells of the trace. An application that does not sample is passed on as it is.
    pub(super) fn own_trace(&self, target: &Target) -> Option<OwnTrace> {
        let begins_here = self.trace.parent.is_none();
        let is_ours = self.is_traced_here && (self.trace.is_sampled() || begins_here);
        if !is_ours || !target.config.propagate.contains(&TRACEPARENT) {
            return None;
        }
        let traceparent = HeaderValue::try_from(self.trace.traceparent(self.attempts.last()?.span)).ok()?;
        Some(OwnTrace { traceparent, begins_here })
    }

    /// The last attempt at this one opened its breaker.
    pub(super) fn opened_breaker(&mut self, peer: &Arc<Peer>) {
        if let Some(attempt) = self.attempts.iter_mut().rfind(|attempt| Arc::ptr_eq(&attempt.peer, peer)) {
            attempt.opened_breaker = true;
        }
    }

    /// The head of an answer has come.
    pub(super) fn answered(&mut self, status: u16, reused: bool) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.head, attempt.status, attempt.reused) = (Some(Instant::now()), Some(status), Some(reused));
        }
    }

    /// No head came, but this is known of the connection.
    pub(super) fn was_reused(&mut self) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.reused = Some(true);
        }
    }

    /// The last attempt is over, and gave nothing.
    pub(super) fn failed(&mut self, fault: Fault, now: Instant) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
            attempt.ended = Some(now);
            attempt.fault = Some(fault);
            attempt.cancelled = match fault {
                Fault::TtftTimeout | Fault::IdleTimeout | Fault::Deadline => Some(CancelledBy::Deadline),
                Fault::Shed => Some(CancelledBy::Shed),
                Fault::ClientGone => Some(CancelledBy::Client),
                _ => None,
            };
        }
    }

    /// The last attempt's answer is over, and with it the request. Returns what went wrong with the request.
    pub(super) fn ends(&mut self, end: End, seen: AnswerFacts, status: Option<u16>, now: Instant) -> Option<Fault> {
        let fault = match end {
            End::ClientGone => Some(Fault::ClientGone),
            End::Drained => Some(Fault::Drained),
            End::Timeout => Some(Fault::IdleTimeout),
            End::UpstreamError if seen.error_event => Some(Fault::SseError),
            End::UpstreamError => Some(Fault::UpstreamReset),
            End::Refused if status == Some(503) => Some(Fault::Shed),
            End::Complete | End::Refused => status.filter(|status| *status >= 500).map(Fault::Status),
        };
        let Some(attempt) = self.attempts.last_mut() else { return fault };
        if attempt.ended.is_some() {
            // It was over before: what went wrong is known better.
            let is_own = matches!(end, End::ClientGone | End::Refused);
            return if is_own { fault } else { fault.and(attempt.fault).or(fault) };
        }
        attempt.ended = Some(now);
        attempt.seen = seen;
        attempt.cancelled = match end {
            End::ClientGone => Some(CancelledBy::Client),
            End::Drained => Some(CancelledBy::Drain),
            End::Timeout => Some(CancelledBy::Deadline),
            End::Complete | End::UpstreamError | End::Refused => None,
        };
        // A 4xx is an error of the call, though none of the service (HTTP semantic conventions).
        attempt.fault = fault.or_else(|| attempt.status.filter(|status| *status >= 400).map(Fault::Status));
        fault
    }
}

fn new_span() -> SpanId {
    SpanId::new(rand::random())
}

/// Two of them are none (W3C Trace Context §3.2).
fn given(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    TraceContext::of_traceparent(only.to_str().ok()?)
}
