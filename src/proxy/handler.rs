//! The journey of one request, on one screen.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, request};
use hyper::body::Incoming;

use super::Proxy;
use super::answer::AnswerBody;
use super::asked::{Asked, Prepared};
use super::attempt::{self, LegError};
use super::intake::{self, Intake};
use super::journey::Head;
use super::record::Record;
use super::respond::{self, LocalReply};
use super::tunnel;
use crate::backend::RequestBody;
use crate::choose::{self, Body, Decision, Known};
use crate::health::Unfit;
use crate::live::Snapshot;
use crate::model::{Cause, Reason};
use crate::telemetry::count::lock;
use crate::telemetry::story::{Decided, Params};
use crate::translate::{Action, Ledger, TranslateError};
use crate::wire::endpoint::Endpoint;
use crate::wire::framing::Fault;
use crate::wire::{head, scan};

/// Longer targets are refused with 414.
const MAX_TARGET: usize = 8 * 1024;
/// HTTP/1's parser counts for itself.
pub(super) const MAX_FIELDS: usize = 100;

impl Proxy {
    /// Answers one request.
    pub(super) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        fault: Option<Fault>,
    ) -> Response<AnswerBody> {
        let snapshot = self.store.current();
        let endpoint = Endpoint::of(request.method(), request.uri().path());
        let head = Head {
            method: request.method(),
            version: request.version(),
            path: request.uri().path(),
            headers: request.headers(),
        };
        let mut record = Record::begin(&self, Arc::clone(&snapshot), endpoint, &head);
        let checked = check(&request, fault).and_then(|()| admit(&snapshot, &request, &endpoint, &mut record));
        if let Err(refused) = checked {
            return respond::refuse(record, &refused);
        }
        let (head, body) = request.into_parts();
        let intake = match take_body(&self, &snapshot, &endpoint, (&head, body), &mut record).await {
            Ok(intake) => intake,
            Err(refused) => return respond::refuse(record, &refused),
        };
        self.forward(&snapshot, endpoint, head, intake, record).await
    }

    async fn forward(
        self: Arc<Self>,
        snapshot: &Arc<Snapshot>,
        endpoint: Endpoint,
        head: request::Parts,
        intake: Intake,
        mut record: Box<Record>,
    ) -> Response<AnswerBody> {
        let (bytes, stream) = match intake {
            Intake::Whole(bytes) => (Some(bytes), None),
            Intake::Stream(body) => (None, Some(body)),
        };
        let scanned = bytes.as_ref().filter(|_| head.method == Method::POST).and_then(|bytes| scan::scan(bytes).ok());
        let body = match (&scanned, &stream) {
            (Some(scan), _) => Body::Scanned(scan),
            (None, None) => Body::Unparsable,
            (None, Some(_)) if endpoint.is_read() => Body::OverCap,
            (None, Some(_)) => Body::NotRead,
        };
        let decision = match decide(snapshot, &endpoint, &head, body) {
            Ok(decision) => decision,
            Err(refused) => return respond::refuse(record, &refused),
        };
        if let Some(scan) = &scanned {
            record.journey.params = Params::of(scan, self.tracer.is_some());
        }
        let asked = Asked { endpoint, head: &head, bytes: bytes.as_ref(), scanned: scanned.as_ref() };
        let (decision, prepared) = match settle(snapshot, &asked, decision) {
            Ok(settled) => settled,
            Err(refused) => {
                record.route = Some(decision.route);
                return respond::refuse(record, &refused);
            }
        };
        lock(&self.budget).request(record.watch.started);
        let Some((backend, prepared)) = place(snapshot, decision, &mut record)
            .and_then(|backend| Some((backend, as_placed(snapshot, &asked, backend, prepared)?)))
        else {
            return respond::refuse(record, &LocalReply::Overload("max_in_flight"));
        };
        if tunnel::wanted(&endpoint, &head) {
            return Box::pin(tunnel::open(self, Arc::clone(&snapshot.targets[backend]), head, record)).await;
        }
        let (record, missed) = match attempt::run(&asked, snapshot, prepared, stream, record).await {
            Ok(response) => return response,
            Err(missed) => missed,
        };
        // Rare, and large: on the heap it does not burden every request's future.
        Box::pin(self.without_answer(snapshot, backend, &asked, record, missed)).await
    }

    /// An attempt gave nothing: the baseline's turn, or the failure is told.
    async fn without_answer(
        &self,
        snapshot: &Arc<Snapshot>,
        backend: usize,
        asked: &Asked<'_>,
        mut record: Box<Record>,
        missed: LegError,
    ) -> Response<AnswerBody> {
        let failover = self.may_fail_over(snapshot, backend, asked, &missed);
        record.missed(&missed, failover.is_some(), Instant::now());
        let Some((cause, prepared)) = failover else {
            return respond::refuse(record, &LocalReply::of(missed));
        };
        drop(missed);
        let baseline = snapshot.baseline();
        if !record.fail_over(cause, &snapshot.targets[baseline]) {
            return respond::refuse(record, &LocalReply::Overload("max_in_flight"));
        }
        match attempt::run(asked, snapshot, prepared, None, record).await {
            Ok(response) => response,
            Err((mut record, missed)) => {
                record.missed(&missed, false, Instant::now());
                respond::refuse(record, &LocalReply::of(missed))
            }
        }
    }

    /// Whether the baseline may answer for a candidate that gave nothing, and why it has to.
    fn may_fail_over(
        &self,
        snapshot: &Snapshot,
        backend: usize,
        asked: &Asked<'_>,
        missed: &LegError,
    ) -> Option<(Cause, Prepared)> {
        let failover = snapshot.config.failover;
        let cause = missed.cause()?;
        if !failover.enabled || backend == snapshot.baseline() || !asked.replay_safe() {
            return None;
        }
        // A baseline of another engine may not be able to.
        let prepared = asked.prepare(snapshot, snapshot.baseline()).ok()?;
        if lock(&self.budget).try_failover(Instant::now(), failover.retry_budget) {
            return Some((cause, prepared));
        }
        self.stats.over_budget.add(1);
        None
    }
}

/// What HTTP or a proxy of this kind does not allow.
fn check(request: &Request<Incoming>, fault: Option<Fault>) -> Result<(), LocalReply> {
    let (method, uri) = (request.method(), request.uri());
    if !head::is_known(method) {
        return Err(LocalReply::Method);
    }
    head::check(method, uri, request.version(), request.headers(), fault).map_err(LocalReply::Wrong)?;
    if *method == Method::OPTIONS && uri.path() == "*" {
        return Err(LocalReply::OptionsStar);
    }
    Ok(())
}

/// What else can be refused by the head alone, before a byte of the body is asked for.
fn admit(
    snapshot: &Snapshot,
    request: &Request<Incoming>,
    endpoint: &Endpoint,
    record: &mut Record,
) -> Result<(), LocalReply> {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(LocalReply::TargetTooLong);
    }
    let limit = snapshot.config.limits.head;
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > limit {
        return Err(LocalReply::HeadTooLarge(limit));
    }
    if request.headers().len() > MAX_FIELDS {
        return Err(LocalReply::TooManyFields(MAX_FIELDS));
    }
    match endpoint {
        Endpoint::Malformed => return Err(LocalReply::MalformedPath),
        Endpoint::NotOurs => return Err(LocalReply::UnknownPath(format!("{} {}", request.method(), uri.path()))),
        _ => {}
    }
    if record.enter() { Ok(()) } else { Err(LocalReply::Overload("limits.in_flight")) }
}

async fn take_body(
    proxy: &Proxy,
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    (head, body): (&request::Parts, Incoming),
    record: &mut Record,
) -> Result<Intake, LocalReply> {
    let bodyless = matches!(head.method, Method::GET | Method::HEAD) && http_body::Body::is_end_stream(&body);
    if bodyless {
        return Ok(Intake::Whole(Bytes::new()));
    }
    if !endpoint.is_read() {
        return Ok(Intake::Stream(RequestBody::passing(None, body, proxy.patience.body)));
    }
    record.watch.waits(Instant::now());
    let intake = intake::read(body, snapshot.config.server.max_body, proxy.patience.body, record).await;
    record.watch.resumes(Instant::now());
    intake
}

fn decide(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    head: &request::Parts,
    body: Body<'_>,
) -> Result<Decision, LocalReply> {
    let request = choose::Request {
        endpoint,
        path: head.uri.path(),
        headers: &head.headers,
        body,
        known: &|backend| known(snapshot, backend),
    };
    choose::decide(&snapshot.config, &snapshot.tables, &request, &mut || rand::random_range(0..10_000))
        .map_err(|_| LocalReply::UnknownOverride)
}

/// What was learnt of a backend.
fn known(snapshot: &Snapshot, backend: usize) -> Known {
    let facts = &snapshot.targets[backend].facts;
    let probed = facts.probed();
    Known { max_model_len: facts.max_model_len(), lacks: probed.unwrap_or_default(), probed: probed.is_some() }
}

/// Translates for who was decided for. Who turns out unable leaves the request to the baseline, and where that cannot
/// either, the application is told which field it is.
fn settle(snapshot: &Snapshot, asked: &Asked<'_>, decision: Decision) -> Result<(Decision, Prepared), LocalReply> {
    let baseline = snapshot.baseline();
    let refused = |stop: TranslateError| match stop {
        TranslateError::Pinned(pinned) => LocalReply::Untranslatable(Box::new(pinned.to_error())),
        TranslateError::Invalid(error) => LocalReply::Untranslatable(error),
    };
    match asked.prepare(snapshot, decision.backend) {
        Ok(prepared) => Ok((decision, prepared)),
        Err(TranslateError::Pinned(pinned)) if decision.backend != baseline => {
            let mut ledger = Ledger::default();
            ledger.note(pinned.field, Action::Pinned, pinned.why);
            snapshot.targets[decision.backend].stats.translated(&ledger);
            snapshot.routes[decision.route].pinned_late(pinned.pin);
            let prepared = asked.prepare(snapshot, baseline).map_err(refused)?;
            Ok((Decision { backend: baseline, reason: Reason::Pinned(pinned.pin), ..decision }, prepared))
        }
        Err(stop) => Err(refused(stop)),
    }
}

/// The request for who got it in the end; `None` where that one cannot take it.
fn as_placed(snapshot: &Snapshot, asked: &Asked<'_>, backend: usize, prepared: Prepared) -> Option<Prepared> {
    if prepared.backend == backend { Some(prepared) } else { asked.prepare(snapshot, backend).ok() }
}

fn as_told(snapshot: &Snapshot, decision: &Decision) -> Decided {
    let route = &snapshot.config.routes[decision.route];
    let percent =
        route.percent.iter().find(|(index, _)| *index == decision.backend).map(|(_, percent)| percent.as_f64());
    Decided {
        route: Arc::clone(&snapshot.routes[decision.route]),
        backend: Arc::clone(&snapshot.targets[decision.backend].peer),
        reason: decision.reason,
        bucket: decision.unit.map(|unit| f64::from(unit) / 10_000.0),
        percent,
    }
}

/// Counts the decision and takes a place at a backend. A candidate that is full, overloaded or not well leaves the
/// request to the baseline; with `[failover]` off nothing is moved.
fn place(snapshot: &Arc<Snapshot>, decision: Decision, record: &mut Record) -> Option<usize> {
    record.route = Some(decision.route);
    record.journey.decided = Some(as_told(snapshot, &decision));
    let baseline = snapshot.baseline();
    let (mut backend, mut reason) = (decision.backend, decision.reason);
    let moves = snapshot.config.failover.enabled && backend != baseline;
    let target = &snapshot.targets[backend];
    let now = Instant::now();
    if moves && target.load.is_over(target.limits(), now) {
        (backend, reason) = (baseline, Reason::Overload);
    } else if !record.assign(target) {
        if !moves {
            return None;
        }
        (backend, reason) = (baseline, Reason::Overload);
    } else if moves {
        match target.health.admit(now) {
            Ok(ticket) => record.admit(ticket),
            Err(Unfit::Cooldown) => (backend, reason) = (baseline, Reason::Cooldown),
            Err(Unfit::Breaker) => (backend, reason) = (baseline, Reason::Breaker),
        }
    }
    if backend != decision.backend && !record.assign(&snapshot.targets[baseline]) {
        return None;
    }
    record.reason = reason;
    let name = |backend: usize| &snapshot.config.backends[backend].name;
    snapshot.routes[decision.route].decided(decision.reason, name(decision.backend), name(backend), reason);
    Some(backend)
}
