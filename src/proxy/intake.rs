//! Accepts a request: rejects it by its head, or reads its body up to `max_body` and passes longer ones on unread.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::progress::Progress;
use super::respond::LocalReply;
use super::shared::Proxy;
use super::tunnel;
use crate::backend::{RequestBody, is_malformed};
use crate::exchange::{Inbound, InboundBody, Room};
use crate::model::Limit;
use crate::wire::endpoint::Endpoint;
use crate::wire::framing::Fault;
use crate::wire::head;

/// Limit of the target, in bytes; longer ones get 414.
const MAX_TARGET: usize = 8 * 1024;
/// Limit of header fields; more get 431. HTTP/1's parser enforces it by itself.
pub(super) const MAX_FIELDS: usize = 100;

/// An accepted request.
pub(super) struct Taken {
    pub(super) inbound: Arc<Inbound>,
    /// The body, if it was not read.
    pub(super) unread: Option<RequestBody>,
    /// The client's side of the connection, if the request asks for another protocol.
    pub(super) upgrade: Option<Option<OnUpgrade>>,
}

/// Checks the head, takes a place among the requests in flight, and reads the body.
pub(super) async fn take(
    proxy: &Proxy,
    mut request: Request<Incoming>,
    fault: Option<Fault>,
    progress: &mut Progress,
) -> Result<Taken, LocalReply> {
    check(&request, fault)?;
    admit(&request, progress)?;
    let endpoint = progress.endpoint;
    let upgrade =
        tunnel::is_wanted(&endpoint, request.headers()).then(|| request.extensions_mut().remove::<OnUpgrade>());
    let (head, body) = request.into_parts();
    let is_bodyless = matches!(head.method, Method::GET | Method::HEAD) && body.is_end_stream();
    let (body, unread) = if is_bodyless {
        (InboundBody::Plain(Bytes::new()), None)
    } else if !endpoint.is_read() {
        let is_empty = body.is_end_stream();
        (InboundBody::Unread { is_empty }, Some(RequestBody::passing(None, body, proxy.timeouts.body)))
    } else {
        let max = progress.in_force.snapshot.config.server.max_body;
        match read(body, max, proxy.timeouts.body, progress).await? {
            Intake::Whole(bytes) => (InboundBody::of(&head.method, bytes), None),
            Intake::Stream(stream) => (InboundBody::Unread { is_empty: false }, Some(stream)),
        }
    };
    Ok(Taken { inbound: Arc::new(Inbound::new(head, endpoint, body)), unread, upgrade })
}

/// Rejects requests that HTTP or a reverse proxy does not allow.
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

/// Rejects further requests by their head alone, before a byte of the body is read.
fn admit(request: &Request<Incoming>, progress: &mut Progress) -> Result<(), LocalReply> {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Err(LocalReply::TargetTooLong);
    }
    let limit = progress.in_force.snapshot.config.limits.head;
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if head > limit {
        return Err(LocalReply::HeadTooLarge(limit));
    }
    if request.headers().len() > MAX_FIELDS {
        return Err(LocalReply::TooManyFields(MAX_FIELDS));
    }
    match progress.endpoint {
        Endpoint::Malformed => return Err(LocalReply::MalformedPath),
        Endpoint::NotOurs => return Err(LocalReply::UnknownPath(format!("{} {}", request.method(), uri.path()))),
        _ => {}
    }
    if progress.enter() { Ok(()) } else { Err(LocalReply::Overload(Limit::InFlight)) }
}

/// A body after the intake.
enum Intake {
    Whole(Bytes),
    /// Above `max_body`: passed on unread.
    Stream(RequestBody),
}

/// Reads up to `max` bytes; the application may pause for at most `pause` between two pieces.
async fn read(mut body: Incoming, max: u64, pause: Duration, progress: &mut Progress) -> Result<Intake, LocalReply> {
    let hint = body.size_hint();
    if hint.lower() > max {
        return Ok(Intake::Stream(RequestBody::passing(None, body, pause)));
    }
    let Progress { waited_time, body_room, .. } = progress;
    // An announced length is reserved at once, so that a body without room is rejected before `100 Continue`.
    let announced = hint.exact();
    hold(body_room, announced.unwrap_or(0))?;
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    loop {
        let came = waited_time.wait(tokio::time::timeout(pause, body.frame())).await;
        let Some(frame) = came.map_err(|_| LocalReply::SlowBody)? else { break };
        let frame = frame.map_err(|error| match is_malformed(&error) {
            true => LocalReply::ClientBody(error.to_string()),
            false => LocalReply::ClientLeft,
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if announced.is_none() {
            hold(body_room, data.len() as u64)?;
        }
        match first {
            None => first = Some(data),
            Some(ref first) => {
                if more.is_empty() {
                    more.reserve(announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0));
                    more.extend_from_slice(first);
                }
                more.extend_from_slice(&data);
            }
        }
        let length = if more.is_empty() { first.as_ref().map_or(0, Bytes::len) } else { more.len() };
        if length as u64 > max {
            let read = if more.is_empty() { first } else { Some(more.freeze()) };
            return Ok(Intake::Stream(RequestBody::passing(read, body, pause)));
        }
    }
    Ok(Intake::Whole(if more.is_empty() { first.unwrap_or_default() } else { more.freeze() }))
}

fn hold(room: &mut Room, bytes: u64) -> Result<(), LocalReply> {
    if room.hold(bytes) { Ok(()) } else { Err(LocalReply::Overload(Limit::BodyBytes)) }
}
