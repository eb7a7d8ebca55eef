//! What a request carries along: its permits, and what its outcome will say.
//!
//! Invariant: however a request ends (answered, refused, its future or body dropped), this is finished exactly once,
//! because finishing is dropping.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use super::Proxy;
use super::attempt::LegError;
use super::journey::{Head, Journey};
use crate::backend::Target;
use crate::health::Ticket;
use crate::live::Snapshot;
use crate::model::{Cause, End, Reason, Refusal, RouteId};
use crate::telemetry::SPANS;
use crate::telemetry::outcome::Stopwatch;
use crate::stats::BackendStats;
use crate::translate::Ledger;
use crate::translate::answer::{Notes, Stream};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::endpoint::Endpoint;

mod ending;

#[derive(Debug)]
pub(super) struct Record {
    proxy: Arc<Proxy>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) watch: Stopwatch,
    template: &'static str,
    pub(super) journey: Journey,
    pub(super) route: Option<RouteId>,
    pub(super) reason: Reason,
    /// Who answers; its requests in flight are counted while this is set.
    backend: Option<Arc<Target>>,
    /// What that backend calls the model, for the price.
    pub(super) model: String,
    /// What the translation did, for the answer's head.
    pub(super) translated: Option<HeaderValue>,
    /// The model as the backend that answers calls it.
    pub(super) real_model: Option<HeaderValue>,
    pub(super) status: Option<StatusCode>,
    pub(super) seen: AnswerFacts,
    overhead: Option<Duration>,
    end: Option<End>,
    in_flight: bool,
    held: u64,
    answer_held: u64,
    /// The backend's answer is to blame.
    failed: bool,
    /// The answer is ours: the backend gave none, or none to be shown.
    own_words: bool,
    /// A candidate's, to say how the attempt went.
    ticket: Option<Ticket>,
    /// A candidate that blamed the request: the baseline's word decides whose fault it was.
    doubt: Option<(Arc<Target>, Option<Ticket>)>,
}

impl Record {
    pub(super) fn begin(proxy: &Arc<Proxy>, snapshot: Arc<Snapshot>, endpoint: Endpoint, head: &Head<'_>) -> Box<Self> {
        proxy.stats.begin(head.method);
        let ratio = snapshot.config.telemetry.sample;
        let journey = Journey::begin(head, endpoint.operation(), proxy.tracer.as_deref(), ratio);
        Box::new(Self {
            proxy: Arc::clone(proxy),
            snapshot,
            watch: Stopwatch::start(journey.clock.began),
            template: endpoint.template(),
            journey,
            route: None,
            reason: Reason::Refused(Refusal::Request),
            backend: None,
            model: String::new(),
            translated: None,
            real_model: None,
            status: None,
            seen: AnswerFacts::default(),
            overhead: None,
            end: None,
            in_flight: false,
            held: 0,
            answer_held: 0,
            failed: false,
            own_words: false,
            ticket: None,
            doubt: None,
        })
    }

    /// Takes a place among the requests in flight.
    pub(super) fn enter(&mut self) -> bool {
        let limit = self.snapshot.config.limits.in_flight as u64;
        self.in_flight = self.proxy.stats.in_flight.try_add(1, limit);
        self.in_flight
    }

    /// Reserves room for body bytes of the process' bound.
    pub(super) fn hold(&mut self, bytes: u64) -> bool {
        let granted = self.proxy.stats.body_bytes.try_add(bytes, self.snapshot.config.limits.body_bytes);
        if granted {
            self.held += bytes;
        }
        granted
    }

    /// The same for an answer; its room is free again when the answer has left.
    pub(super) fn hold_answer(&mut self, bytes: u64) -> bool {
        let granted = self.proxy.stats.body_bytes.try_add(bytes, self.snapshot.config.limits.body_bytes);
        if granted {
            self.answer_held += bytes;
        }
        granted
    }

    /// The body will not be sent again: its room is free.
    pub(super) fn release_body(&mut self) {
        self.proxy.stats.body_bytes.sub(std::mem::take(&mut self.held));
    }

    /// From here on `target` is the one that answers. False when it has as many as it may.
    pub(super) fn assign(&mut self, target: &Arc<Target>) -> bool {
        self.unassign();
        let limit = target.config.max_in_flight.map_or(u64::MAX, |limit| limit as u64);
        let granted = target.stats.in_flight.try_add(1, limit);
        if granted {
            self.backend = Some(Arc::clone(target));
        }
        granted
    }

    fn unassign(&mut self) {
        if let Some(before) = self.backend.take() {
            before.stats.in_flight.sub(1);
        }
    }

    /// What will say how the candidate did.
    pub(super) fn admit(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    /// A candidate's content has begun.
    pub(super) fn begun(&mut self, now: Instant) {
        if let Some(ticket) = &mut self.ticket {
            ticket.begun(now);
        }
    }

    /// An attempt gave nothing: what that says of the backend. `fails_over` is whether the baseline is asked next.
    pub(super) fn missed(&mut self, missed: &LegError, fails_over: bool, now: Instant) {
        let ticket = self.ticket.take();
        let begun = self.seen.first_content.is_some();
        self.journey.failed(missed.fault(self.journey.params.stream, begun), now);
        if missed.is_misconfigured() {
            self.alarm();
        }
        match missed {
            _ if missed.cause().is_none() => {}
            LegError::Rejected { retry_after, .. } if missed.is_busy() => {
                self.failed = true;
                if let Some(ticket) = ticket {
                    ticket.cool_down(now, retry_after.as_ref().and_then(seconds));
                }
            }
            _ if missed.blames_request() && fails_over => {
                self.doubt = self.backend.clone().map(|target| (target, ticket));
            }
            _ if missed.blames_request() => self.failed = missed.is_misconfigured(),
            _ => {
                self.failed = true;
                if let (Some(ticket), Some(target)) = (ticket, self.backend.clone()) {
                    self.bad(&target, ticket, now);
                }
            }
        }
    }

    /// Our key, model name or address is wrong there: nobody else would notice while the baseline answers.
    fn alarm(&self) {
        let Some(target) = &self.backend else { return };
        if target.stats.misconfigured.get() == 0 {
            let (backend, trace_id) = (&target.config.name, self.journey.trace.trace.as_str());
            tracing::warn!(
                backend,
                trace_id,
                "it refuses shiftgate's key, model or path: check its section of the file"
            );
        }
        target.stats.misconfigured.add(1);
    }

    fn bad(&mut self, target: &Target, ticket: Ticket, now: Instant) {
        if !ticket.bad(now) {
            return;
        }
        let trace_id = self.journey.trace.trace.as_str();
        tracing::warn!(
            backend = target.config.name,
            trace_id,
            "breaker opened: the baseline serves its requests for now"
        );
        tracing::info_span!(target: SPANS, "shiftgate.breaker_open", shiftgate.backend = target.config.name);
        self.journey.opened_breaker(&target.peer);
    }

    /// The baseline answers instead, for `cause`. False when it has as many as it may.
    pub(super) fn fail_over(&mut self, cause: Cause, baseline: &Arc<Target>) -> bool {
        if let Some(candidate) = &self.backend {
            candidate.stats.failovers.add(1);
            candidate.stats.errors.add(u64::from(self.failed));
        }
        self.failed = false;
        self.seen = AnswerFacts::default();
        self.reason = Reason::Failover(cause);
        self.assign(baseline)
    }

    /// Whose fault was a candidate's 4xx? The request's, if the baseline refuses it too.
    fn settle_doubt(&mut self, baseline: Option<StatusCode>, now: Instant) {
        let Some((candidate, ticket)) = self.doubt.take() else { return };
        if baseline.is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS) {
            return;
        }
        candidate.stats.errors.add(1);
        if let Some(ticket) = ticket {
            self.bad(&candidate, ticket, now);
        }
    }

    /// How the request goes to who is asked now.
    pub(super) fn sent_as(&mut self, model: String, ledger: Option<&Ledger>, stats: &BackendStats) {
        self.model = model;
        self.translated = None;
        if let Some(ledger) = ledger {
            stats.translated(ledger);
            self.translated = ledger.summary().and_then(|summary| HeaderValue::try_from(summary).ok());
        }
    }

    /// What its answer says of itself.
    pub(super) fn notice(&mut self, model: Option<&str>, notes: Notes) {
        self.real_model = model.and_then(|model| HeaderValue::from_str(model).ok());
        if let Some(target) = &self.backend {
            target.stats.noticed(notes);
        }
    }

    /// The same of a rewritten stream: its model is known at its head, the rest at its end.
    pub(super) fn noticed(&mut self, stream: Option<&Stream>) {
        let Some(stream) = stream else { return };
        let notes = if self.status.is_some() { stream.notes() } else { Notes::default() };
        self.notice(stream.model(), notes);
    }

    /// After how long a silence a stream says that it goes on.
    pub(super) fn quiet(&self) -> Duration {
        self.proxy.patience.quiet
    }

    /// Now, in seconds since 1970.
    pub(super) fn created(&self) -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// A request leaves for who answers; `is_replay` is whether it did before.
    pub(super) fn sends(&mut self, is_replay: bool) {
        let now = Instant::now();
        self.journey.before_sending.get_or_insert_with(|| self.watch.overhead(now));
        if let Some(target) = &self.backend {
            target.stats.attempts.add(1);
            self.journey.sends(&target.peer, &self.model, is_replay);
        }
    }

    /// The head is about to leave.
    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        self.overhead = Some(self.watch.overhead(now));
        self.settle_doubt(Some(status), now);
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            self.failed = true;
        }
    }

    /// shiftgate speaks for a backend that has no answer.
    pub(super) fn speak(&mut self) {
        self.own_words = true;
    }

    /// The backend gave no good answer.
    pub(super) fn blame(&mut self) {
        self.failed = true;
    }

    /// shiftgate answers itself.
    pub(super) fn refuse(&mut self, refusal: Refusal, end: End) {
        self.reason = Reason::Refused(refusal);
        self.end = Some(end);
        self.unassign();
        self.proxy.stats.refuse(self.reason.as_str());
    }

    /// The refusal is for this limit.
    pub(super) fn shed(&self, limit: &'static str) {
        self.proxy.stats.shed(limit);
    }

    pub(super) fn finish(mut self: Box<Self>, end: End) {
        self.end = Some(end);
    }

    pub(super) fn trace_id(&self) -> &str {
        self.journey.trace.trace.as_str()
    }

    pub(super) fn backend_name(&self) -> Option<&HeaderValue> {
        self.backend.as_ref().map(|target| &target.name)
    }
}

/// `retry-after`: seconds, or a date (RFC 9110 §10.2.3).
fn seconds(value: &HeaderValue) -> Option<Duration> {
    /// Longer is not waited for anyway.
    const LONGEST: f64 = 1e6;
    let text = value.to_str().ok()?.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            at.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0)
        }
    };
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}
