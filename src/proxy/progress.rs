//! State of one request in flight: its permits and legs, and at its end the outcome.
//!
//! Invariant: however a request ends (answered, refused, its future or body dropped), its outcome is reported exactly
//! once, because `Drop` reports it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, response};
use hyper::body::Incoming;

use super::shared::Proxy;
use crate::backend::Target;
use crate::choose::{Choice, Refused};
use crate::exchange::{Inbound, LegError, Plan, Room};
use crate::live::{Admission, InForce};
use crate::model::header::{TRACEPARENT, TRACESTATE};
use crate::model::{Cause, End, Limit, Pin, Reason, Refusal, SpanId, TraceContext, prefix, told_method, trace_state};
use crate::outcome::{Clock, Decided, Ending, LegEnd, OtherAnswer, Params, Restricted, Role, Trail, WaitedTime};
use crate::rollback::Watched;
use crate::shadow::ServedCopy;
use crate::stats::{Permit, Placement};
use crate::wire::endpoint::{Endpoint, Operation};

mod ending;

/// Limit of the path kept for spans, in bytes; longer ones are truncated.
const MAX_PATH: usize = 256;

/// A request from its head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Progress {
    proxy: Arc<Proxy>,
    pub(super) in_force: Arc<InForce>,
    pub(super) clock: Clock,
    pub(super) trace: TraceContext,
    trace_state: String,
    span: SpanId,
    method: Method,
    version: Version,
    path: String,
    pub(super) endpoint: Endpoint,
    params: Params,
    /// Time spent waiting for the application's body.
    pub(super) waited_time: WaitedTime,
    decided: Option<Decided>,
    residency: Option<Restricted>,
    reason: Option<Reason>,
    /// The backend that answers, or is being asked.
    target: Option<Arc<Target>>,
    leg: Option<Trail>,
    /// A leg whose backend rejected the request; its verdict waits for the other backend's answer.
    unresolved: Option<(Trail, Cause)>,
    legs: Vec<LegEnd>,
    in_flight: Option<Permit>,
    backend_permit: Option<Permit>,
    /// Memory of the request's body.
    pub(super) body_room: Room,
    /// Memory of the held answer, released when the answer is sent.
    pub(super) answer_room: Room,
    /// The request's copies, if any.
    copy: Option<Box<ServedCopy>>,
    /// The trial of the guard that it is, if any.
    watched: Option<Watched>,
    /// True once an early head was sent. The body that sends it shares the flag.
    early: Arc<AtomicBool>,
    status: Option<StatusCode>,
    /// Shiftgate's own time until the answer's head was sent.
    first_byte: Option<Duration>,
    /// Shiftgate's own time since then.
    passing: Duration,
    end: Option<End>,
}

impl Progress {
    pub(super) fn begin(proxy: &Arc<Proxy>, request: &Request<Incoming>) -> Box<Self> {
        let in_force = proxy.store.current();
        let config = &in_force.snapshot.config;
        let limit = config.limits.body_bytes;
        let (body_room, answer_room) =
            (Room::of(&proxy.stats.body_bytes, limit), Room::of(&proxy.stats.body_bytes, limit));
        let mut trace = given(request.headers()).unwrap_or_else(|| TraceContext::begin(rand::random()));
        trace.set_sampled(proxy.sinks.samples(&trace, config.telemetry.sample));
        proxy.sinks.began(request.method());
        let path = if proxy.sinks.has_tracer() { prefix(request.uri().path(), MAX_PATH) } else { String::new() };
        let has_state = proxy.sinks.has_tracer() && trace.parent.is_some();
        let state = request.headers().get_all(TRACESTATE).iter().filter(|_| has_state);
        Box::new(Self {
            proxy: Arc::clone(proxy),
            in_force,
            clock: Clock::start(),
            trace,
            trace_state: trace_state(state.map(HeaderValue::as_bytes)),
            span: SpanId::new(rand::random()),
            method: told_method(request.method()),
            version: request.version(),
            path,
            endpoint: Endpoint::of(request.method(), request.uri().path()),
            params: Params::default(),
            waited_time: WaitedTime::default(),
            decided: None,
            residency: None,
            reason: None,
            target: None,
            leg: None,
            unresolved: None,
            legs: Vec::with_capacity(1),
            in_flight: None,
            backend_permit: None,
            body_room,
            answer_room,
            copy: None,
            watched: None,
            early: Arc::default(),
            status: None,
            first_byte: None,
            passing: Duration::ZERO,
            end: None,
        })
    }

    /// Takes a place among the requests in flight; false at the limit.
    pub(super) fn enter(&mut self) -> bool {
        let limit = self.in_force.snapshot.config.limits.in_flight as u64;
        self.in_flight = self.proxy.stats.in_flight.try_acquire(1, limit);
        self.in_flight.is_some()
    }

    /// Notes the model parameters.
    pub(super) fn asks(&mut self, params: Params) {
        self.params = params;
    }

    /// Notes the decision.
    pub(super) fn decide(&mut self, choice: &Choice) {
        let (backend, _) = choice.decided();
        let route = self.in_force.route(choice.route());
        let is_moved = choice.decided().1 == Reason::Pinned(Pin::Residency);
        let placement = if is_moved { Placement::Moved } else { Placement::Kept };
        self.residency = self.in_force.restricted(choice.eligible(), placement);
        self.decided = Some(Decided {
            choice: choice.clone(),
            route: Arc::clone(route.stats()),
            backend: Arc::clone(self.in_force.decided_labels(choice)),
            share: Arc::clone(route.share(backend)),
        });
    }

    /// Notes that residency rules leave the request without a backend.
    pub(super) fn refused_by(&mut self, refused: &Refused) {
        self.residency = self.in_force.restricted(&refused.eligible, Placement::Refused);
    }

    /// Begins the first leg, and counts the decision.
    pub(super) fn begin_leg(&mut self, choice: &Choice, trail: Trail, admission: Admission) -> (&mut Trail, &mut Room) {
        self.decide(choice);
        let route = self.in_force.route(choice.route());
        let (decided, _) = choice.decided();
        self.proxy.sinks.decided(choice, route.share(decided), route.share(choice.backend()));
        if let Some(first) = choice.first_try() {
            route.share(first).signals().retries.add(1);
        }
        self.begin_next_leg(choice, trail, admission)
    }

    /// Offers the request, which is being sent, for copying.
    pub(super) fn offer_copy(&mut self, choice: &Choice, inbound: &Arc<Inbound>) {
        if choice.sample().is_some() {
            let trace = self.trace_for_backends();
            self.copy = self.proxy.shadows.offer(&self.in_force, choice, inbound, trace);
        }
    }

    /// Has the guard watch the request, which is being sent.
    pub(super) fn watch(&mut self, choice: &Choice, is_streamed: bool) {
        self.watched = self.proxy.guards.sent(&self.in_force, choice, is_streamed, self.trace.trace);
    }

    /// True if the guard waits for the first content.
    pub(super) fn is_waited_for(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_waiting)
    }

    /// Tells the guard that something was generated, or that the leg has failed.
    pub(super) fn begun(&mut self) {
        if let Some(watched) = &mut self.watched {
            self.proxy.guards.begun(watched);
        }
    }

    /// The request's copies, if any.
    pub(super) fn copy(&mut self) -> Option<&mut ServedCopy> {
        self.copy.as_deref_mut()
    }

    /// Begins the leg that answers for the one before.
    pub(super) fn begin_next_leg(
        &mut self,
        choice: &Choice,
        mut trail: Trail,
        admission: Admission,
    ) -> (&mut Trail, &mut Room) {
        self.target = Some(Arc::clone(self.in_force.target(choice)));
        self.reason = Some(choice.reason());
        self.backend_permit = Some(admission.permit);
        trail.admit(admission.ticket);
        (self.leg.insert(trail), &mut self.answer_room)
    }

    /// Trace that backends may see: only one that is exported. The context of an application that does not sample is
    /// passed on unchanged.
    pub(super) fn trace_for_backends(&self) -> Option<TraceContext> {
        let is_ours = self.proxy.sinks.has_tracer() && (self.trace.is_sampled() || self.trace.parent.is_none());
        is_ours.then_some(self.trace)
    }

    /// Ends the running leg, which failed, without asking another backend. `is_told` is true if the application gets
    /// the backend's own error.
    pub(super) fn missed(&mut self, error: &LegError, is_told: bool) {
        let Some(mut leg) = self.leg.take() else { return };
        let miss = error.miss(leg.is_stream(), leg.facts.first_content.is_some());
        if is_told {
            leg.is_passed_on();
        }
        let ending = Ending::Missed(miss);
        self.resolve(other_answer(error));
        self.end_leg(leg, ending, OtherAnswer::NotAsked);
    }

    /// Ends the running leg, which failed, and counts the failover because of `cause`.
    pub(super) fn fails_over(&mut self, error: &LegError, cause: Cause) {
        let Some(mut leg) = self.leg.take() else { return };
        self.begun();
        self.backend_permit = None;
        self.answer_room.release();
        if let Some(copy) = &mut self.copy {
            copy.answers_elsewhere();
        }
        let miss = error.miss(leg.is_stream(), leg.facts.first_content.is_some());
        leg.ends(Ending::Missed(miss), Instant::now());
        self.unresolved = Some((leg, cause));
        if !matches!(miss.kind, crate::outcome::MissKind::Rejected { .. }) {
            self.resolve(OtherAnswer::Differs);
        }
    }

    /// Settles the blame for a rejection by the other backend's answer.
    fn resolve(&mut self, other: OtherAnswer) {
        let Some((leg, cause)) = self.unresolved.take() else { return };
        self.end_leg(leg, Ending::Complete, other);
        if let Some(leg) = self.legs.last() {
            self.proxy.sinks.failed_over(leg, cause);
        }
    }

    fn end_leg(&mut self, leg: Trail, ending: Ending, other: OtherAnswer) {
        let now = Instant::now();
        let ended = leg.end(ending, other, now);
        // Copies respect it, also where the application gets another answer.
        if ended.role == Role::Baseline && ended.last_status() == Some(StatusCode::TOO_MANY_REQUESTS.as_u16()) {
            self.in_force.baseline().quota.limited(now);
        }
        self.proxy.sinks.leg_ended(&ended, self.trace.trace.as_str());
        self.legs.push(ended);
    }

    /// The flag that an early head sets.
    pub(super) const fn early(&self) -> &Arc<AtomicBool> {
        &self.early
    }

    /// True if an early head was sent.
    pub(super) fn is_early(&self) -> bool {
        self.early.load(Relaxed)
    }

    /// Notes that the answer's head is sent; an early head has spent the status.
    pub(super) fn head_leaves(&mut self, status: StatusCode) {
        self.status = Some(if self.is_early() { StatusCode::OK } else { status });
        self.first_byte = Some(self.own_until(Instant::now()));
        self.resolve(OtherAnswer::of_status(status.as_u16()));
    }

    /// Notes how near the baseline is to its rate limit, which copies respect.
    pub(super) fn note_quota(&self, head: &response::Parts, plan: &Plan) {
        let config = &self.in_force.snapshot.config;
        if config.shadow.is_some() && plan.target().config.name == config[config.baseline].name {
            plan.target().quota.note(head.status, &head.headers, Instant::now());
        }
    }

    /// Notes that the application gets the running leg's answer.
    pub(super) fn pass_on(&mut self) {
        self.body_room.release();
        if let Some(leg) = &mut self.leg {
            leg.is_passed_on();
        }
    }

    /// Notes that shiftgate answers itself.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.reason = Some(Reason::Refused(refusal));
        self.target = None;
        self.backend_permit = None;
    }

    /// Counts a request refused at a limit.
    pub(super) fn shed(&self, limit: Limit) {
        self.proxy.stats.shed(limit);
    }

    /// True if the answer is to be a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.params.stream
    }

    /// Model that the running leg's answer names.
    pub(super) fn answered_model(&self) -> Option<&str> {
        self.leg.as_ref().and_then(|leg| leg.facts.told.model.as_deref())
    }

    /// Adds shiftgate's own time for passing an answer on.
    pub(super) fn passed(&mut self, took: Duration) {
        self.passing += took;
    }

    /// Ends the request; dropping it reports the outcome.
    pub(super) fn finish(mut self: Box<Self>, end: End) {
        self.end = Some(end);
    }

    /// Ends the leg whose answer the application got, and the request.
    pub(super) fn finish_leg(mut self: Box<Self>, ending: Ending) {
        let has_error_event = self.leg.as_ref().is_some_and(|leg| leg.facts.error_event);
        self.end = Some(match ending {
            Ending::Complete if has_error_event => End::UpstreamError,
            Ending::Complete => End::Complete,
            Ending::Broken | Ending::Missed(_) => End::UpstreamError,
            Ending::TimedOut => End::Timeout,
            Ending::ClientGone => End::ClientGone,
            Ending::Drained => End::Drained,
        });
        if let Some(leg) = self.leg.take() {
            self.end_leg(leg, ending, OtherAnswer::NotAsked);
        }
    }

    /// The running leg.
    pub(super) fn leg_mut(&mut self) -> Option<&mut Trail> {
        self.leg.as_mut()
    }

    /// Time spent waiting for the application and for backends.
    fn waited(&self) -> Duration {
        let trails = self.leg.iter().chain(self.unresolved.as_ref().map(|(leg, _)| leg));
        let ended: Duration = self.legs.iter().map(|leg| leg.waited).sum();
        self.waited_time.waited() + ended + trails.map(|leg| leg.waited_time.waited()).sum::<Duration>()
    }

    /// Shiftgate's own time up to `now`.
    fn own_until(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.clock.began_at).saturating_sub(self.waited())
    }

    pub(super) fn trace_id(&self) -> &str {
        self.trace.trace.as_str()
    }

    pub(super) const fn reason(&self) -> Option<Reason> {
        self.reason
    }

    pub(super) fn backend_name(&self) -> Option<&HeaderValue> {
        self.target.as_ref().map(|target| &target.name)
    }

    /// Steps of the answering leg's translation, for `x-shiftgate-translated`.
    pub(super) fn translated(&self) -> Option<HeaderValue> {
        let ledger = match &self.leg {
            Some(leg) => leg.ledger.as_ref(),
            None => self.legs.last().and_then(|leg| leg.ledger.as_ref()),
        };
        HeaderValue::try_from(ledger?.summary()?).ok()
    }

    /// Time without a byte after which a stream sends a keep-alive comment.
    pub(super) fn quiet_timeout(&self) -> Duration {
        self.proxy.timeouts.quiet
    }

    fn operation(&self) -> Option<Operation> {
        self.endpoint.operation()
    }
}

/// Classifies a failed leg as the other answer for the leg before it.
fn other_answer(error: &LegError) -> OtherAnswer {
    match error {
        LegError::Rejected { error, .. } => OtherAnswer::of_status(error.status),
        LegError::Failed(_) | LegError::NoRoom => OtherAnswer::Differs,
    }
}

/// The application's trace context. Two headers count as none (W3C Trace Context §3.2).
fn given(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    TraceContext::of_traceparent(only.to_str().ok()?)
}
