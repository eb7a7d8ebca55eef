//! The journey of one request, on one screen.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, request};
use hyper::body::Incoming;

use super::Proxy;
use super::answer::AnswerBody;
use super::attempt::{self, Missed, Outgoing};
use super::deadlines::{ClientPatience, Deadlines};
use super::intake::{self, Intake};
use super::record::Record;
use super::respond::{self, Refused};
use super::tunnel;
use crate::backend::{RequestBody, Target, headers};
use crate::health::Unfit;
use crate::live::Snapshot;
use crate::model::{Cause, Reason};
use crate::split::{self, Body, Decision};
use crate::telemetry::stats::lock;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{self, Scan};
use crate::wire::splice;

/// Longer targets are refused with 414.
const MAX_TARGET: usize = 8 * 1024;

impl Proxy {
    /// Answers one request.
    pub(super) async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let snapshot = self.store.current();
        let endpoint = Endpoint::of(request.method(), request.uri().path());
        let mut record = Record::begin(
            &self,
            Arc::clone(&snapshot),
            request.method().clone(),
            endpoint.template(),
            request.headers(),
        );
        if let Err(refused) = admit(&snapshot, &request, &endpoint, &mut record) {
            return respond::refuse(record, &refused);
        }
        let (head, body) = request.into_parts();
        let intake = match take_body(&snapshot, &endpoint, &head, body, &mut record).await {
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
        mut record: Record,
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
        lock(&self.budget).request(record.watch.started);
        let Some(backend) = place(snapshot, decision, &mut record) else {
            return respond::refuse(record, &Refused::Overload("max_in_flight"));
        };
        let target = Arc::clone(&snapshot.targets[backend]);
        if tunnel::wanted(&endpoint, &head) {
            return tunnel::open(self, target, head, record).await;
        }
        let asked = Asked { endpoint, head: &head, bytes: bytes.as_ref(), scanned: scanned.as_ref() };
        let (mut record, missed) = match asked.of(snapshot, backend, stream, record).await {
            Ok(response) => return response,
            Err(missed) => missed,
        };
        let cause = self.may_fail_over(snapshot, backend, &asked, &missed);
        record.missed(&missed, cause.is_some(), Instant::now());
        let Some(cause) = cause else {
            return respond::refuse(record, &Refused::of(missed, &target.config.name));
        };
        drop(missed);
        let baseline = snapshot.baseline();
        if !record.fail_over(cause, &snapshot.targets[baseline]) {
            return respond::refuse(record, &Refused::Overload("max_in_flight"));
        }
        match asked.of(snapshot, baseline, None, record).await {
            Ok(response) => response,
            Err((mut record, missed)) => {
                record.missed(&missed, false, Instant::now());
                respond::refuse(record, &Refused::of(missed, &snapshot.targets[baseline].config.name))
            }
        }
    }

    /// Whether the baseline may answer for a candidate that gave nothing, and why it has to.
    fn may_fail_over(&self, snapshot: &Snapshot, backend: usize, asked: &Asked<'_>, missed: &Missed) -> Option<Cause> {
        let failover = snapshot.config.failover;
        let cause = missed.cause()?;
        if !failover.enabled || backend == snapshot.baseline() || !asked.replay_safe() {
            return None;
        }
        if lock(&self.budget).try_failover(Instant::now(), failover.retry_budget) {
            return Some(cause);
        }
        self.stats.over_budget.add(1);
        None
    }
}

/// A request as the application sent it, for any backend.
struct Asked<'a> {
    endpoint: Endpoint,
    head: &'a request::Parts,
    /// The body, where it was read.
    bytes: Option<&'a Bytes>,
    scanned: Option<&'a Scan<'a>>,
}

impl Asked<'_> {
    /// Sends it to one backend; `stream` is a body that was not read.
    async fn of(
        &self,
        snapshot: &Arc<Snapshot>,
        backend: usize,
        stream: Option<RequestBody>,
        mut record: Record,
    ) -> Result<Response<AnswerBody>, (Record, Missed)> {
        let target = &snapshot.targets[backend];
        match self.outgoing(target, backend == snapshot.baseline(), stream, &mut record) {
            Some(outgoing) => attempt::run(target, outgoing, record).await,
            None => Ok(respond::refuse(record, &Refused::MalformedPath)),
        }
    }

    fn replay_safe(&self) -> bool {
        self.bytes.is_some()
            && (self.endpoint.replay_safe_by_path()
                || self.scanned.is_some_and(|scan| self.endpoint.replay_safe_by_body(scan)))
    }

    fn outgoing(
        &self,
        target: &Target,
        is_baseline: bool,
        stream: Option<RequestBody>,
        record: &mut Record,
    ) -> Option<Outgoing> {
        let head = self.head;
        let uri = target.uri_for(head.uri.path(), head.uri.query())?;
        let observed = self.endpoint.split_candidate();
        let streamed = self.scanned.is_some_and(Scan::stream);
        let bytes = match (self.bytes, self.scanned) {
            (Some(bytes), Some(scan)) => Some(translated(target, is_baseline, bytes, scan, record)),
            (bytes, _) => bytes.cloned(),
        };
        let again = bytes.clone().filter(|_| self.replay_safe());
        let body = stream.unwrap_or_else(|| RequestBody::whole(bytes.unwrap_or_default()));
        let (started, now) = (record.watch.started, Instant::now());
        let patience = ClientPatience::of(&head.headers);
        Some(Outgoing {
            method: head.method.clone(),
            uri,
            headers: headers::for_backend(&head.headers, target, is_baseline, observed),
            body,
            again,
            streamed,
            observed,
            is_baseline,
            deadlines: Deadlines::new(&target.config.timeout, patience, streamed, (started, now)),
        })
    }
}

/// What can be refused by the head alone, before a byte of the body is asked for.
fn admit(
    snapshot: &Snapshot,
    request: &Request<Incoming>,
    endpoint: &Endpoint,
    record: &mut Record,
) -> Result<(), Refused> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return Err(Refused::Connect);
    }
    if request.method() == Method::OPTIONS && uri.path() == "*" {
        return Err(Refused::OptionsStar);
    }
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(Refused::TargetTooLong);
    }
    let limit = snapshot.config.limits.head;
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > limit {
        return Err(Refused::HeadTooLarge(limit));
    }
    match endpoint {
        Endpoint::Malformed => return Err(Refused::MalformedPath),
        Endpoint::NotOurs => return Err(Refused::UnknownPath(format!("{} {}", request.method(), uri.path()))),
        _ => {}
    }
    if record.enter() { Ok(()) } else { Err(Refused::Overload("limits.in_flight")) }
}

async fn take_body(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    head: &request::Parts,
    body: Incoming,
    record: &mut Record,
) -> Result<Intake, Refused> {
    let bodyless = matches!(head.method, Method::GET | Method::HEAD) && http_body::Body::is_end_stream(&body);
    if bodyless {
        return Ok(Intake::Whole(Bytes::new()));
    }
    if !endpoint.is_read() {
        return Ok(Intake::Stream(RequestBody::Stream { read: None, rest: body }));
    }
    let begun = Instant::now();
    let intake = intake::read(body, snapshot.config.server.max_body, record).await;
    record.watch.waited(begun, Instant::now());
    intake
}

fn decide(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    head: &request::Parts,
    body: Body<'_>,
) -> Result<Decision, Refused> {
    let request = split::Request { endpoint, path: head.uri.path(), headers: &head.headers, body };
    split::decide(&snapshot.config, &snapshot.tables, &request, &mut || rand::random_range(0..10_000))
        .map_err(|_| Refused::UnknownOverride)
}

/// Counts the decision and takes a place at a backend. A candidate that is full or not well leaves the request to the
/// baseline; with `[failover]` off nothing is moved.
fn place(snapshot: &Arc<Snapshot>, decision: Decision, record: &mut Record) -> Option<usize> {
    record.route = Some(decision.route);
    let baseline = snapshot.baseline();
    let (mut backend, mut reason) = (decision.backend, decision.reason);
    let moves = snapshot.config.failover.enabled && backend != baseline;
    let target = &snapshot.targets[backend];
    if !record.assign(target) {
        if !moves {
            return None;
        }
        (backend, reason) = (baseline, Reason::Overload);
    } else if moves {
        match target.health.admit(Instant::now()) {
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
    snapshot.routes[decision.route].decided(name(decision.backend), name(backend), reason);
    Some(backend)
}

/// The body as `target` gets it: for an OpenAI baseline as it came, else with the model's name replaced.
fn translated(target: &Target, is_baseline: bool, bytes: &Bytes, scan: &Scan<'_>, record: &mut Record) -> Bytes {
    let Some(model) = scan.model() else { return bytes.clone() };
    let as_it_came = is_baseline && target.config.engine == crate::model::Engine::OpenAi;
    let name = if as_it_came { model.as_ref() } else { target.config.model_for(&model).unwrap_or(&model) };
    record.model = name.to_owned();
    match (as_it_came || matches!(&model, Cow::Borrowed(same) if *same == name), scan.model_span()) {
        (false, Some(span)) => splice::replace(bytes, span, name),
        _ => bytes.clone(),
    }
}
