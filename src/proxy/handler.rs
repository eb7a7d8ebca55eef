//! The journey of one request, on one screen.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, request};
use hyper::body::Incoming;

use super::Proxy;
use super::answer::AnswerBody;
use super::attempt::{self, Outgoing};
use super::deadlines::{ClientPatience, Deadlines};
use super::intake::{self, Intake};
use super::record::Record;
use super::respond::{self, Refused};
use super::tunnel;
use crate::backend::{RequestBody, Target, headers};
use crate::live::Snapshot;
use crate::model::Reason;
use crate::split::{self, Body, Decision};
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
        let scanned = match &intake {
            Intake::Whole(bytes) if head.method == Method::POST => scan::scan(bytes).ok(),
            _ => None,
        };
        let body = match (&intake, &scanned) {
            (_, Some(scan)) => Body::Scanned(scan),
            (Intake::Whole(_), None) => Body::Unparsable,
            (Intake::Stream(_), None) if endpoint.is_read() => Body::OverCap,
            (Intake::Stream(_), None) => Body::NotRead,
        };
        let decision = match decide(snapshot, &endpoint, &head, body) {
            Ok(decision) => decision,
            Err(refused) => return respond::refuse(record, &refused),
        };
        let decision = place(snapshot, decision, &mut record);
        let Some(decision) = decision else {
            return respond::refuse(record, &Refused::Overload("max_in_flight"));
        };
        let target = Arc::clone(&snapshot.targets[decision.backend]);
        if tunnel::wanted(&endpoint, &head) {
            return tunnel::open(self, target, head, record).await;
        }
        let outgoing = match outgoing(snapshot, &target, decision, &head, (&intake, scanned.as_ref()), &mut record) {
            Ok(outgoing) => outgoing,
            Err(refused) => return respond::refuse(record, &refused),
        };
        let outgoing = outgoing.with_stream(intake);
        match attempt::run(&target, outgoing, record).await {
            Ok(response) => response,
            Err((record, refused)) => respond::refuse(record, &refused),
        }
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

/// Counts the decision and takes a place at its backend; a candidate that is full leaves the request to the baseline.
fn place(snapshot: &Arc<Snapshot>, mut decision: Decision, record: &mut Record) -> Option<Decision> {
    record.route = Some(decision.route);
    let baseline = snapshot.baseline();
    if !record.assign(&snapshot.targets[decision.backend]) {
        if decision.backend == baseline {
            return None;
        }
        decision.backend = baseline;
        decision.reason = Reason::Overload;
        if !record.assign(&snapshot.targets[baseline]) {
            return None;
        }
    }
    record.reason = decision.reason;
    snapshot.routes[decision.route].decided(&snapshot.config.backends[decision.backend].name, decision.reason);
    Some(decision)
}

fn outgoing(
    snapshot: &Snapshot,
    target: &Target,
    decision: Decision,
    head: &request::Parts,
    (intake, scanned): (&Intake, Option<&Scan<'_>>),
    record: &mut Record,
) -> Result<Outgoing, Refused> {
    let is_baseline = decision.backend == snapshot.baseline();
    let path = head.uri.path();
    let uri = target.uri_for(path, head.uri.query()).ok_or(Refused::MalformedPath)?;
    let endpoint = Endpoint::of(&head.method, path);
    let observed = endpoint.split_candidate();
    let streamed = scanned.is_some_and(Scan::stream);
    let mut again = None;
    let body = match intake {
        Intake::Stream(_) => RequestBody::Whole(None),
        Intake::Whole(bytes) => {
            let bytes = match scanned {
                Some(scan) => translated(target, is_baseline, bytes, scan, record),
                None => bytes.clone(),
            };
            if endpoint.replay_safe_by_path() || scanned.is_some_and(|scan| endpoint.replay_safe_by_body(scan)) {
                again = Some(bytes.clone());
            }
            RequestBody::whole(bytes)
        }
    };
    let now = Instant::now();
    Ok(Outgoing {
        method: head.method.clone(),
        uri,
        headers: headers::for_backend(&head.headers, target, is_baseline, observed),
        body,
        again,
        streamed,
        observed,
        is_baseline,
        deadlines: Deadlines::new(&target.config.timeout, ClientPatience::of(&head.headers), streamed, now),
    })
}

impl Outgoing {
    /// A body that was not read goes along as it comes.
    fn with_stream(mut self, intake: Intake) -> Self {
        if let Intake::Stream(body) = intake {
            self.body = body;
        }
        self
    }
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
