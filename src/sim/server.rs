//! The HTTP server around the formats: connections, pacing, and faults below the answer's text.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::body::{AnswerGuard, SimBody};
use super::config::{Behaviour, Fault};
use super::engines;
use super::faulty::{FaultyStream, StreamControl};
use super::routes::{self, RawRequest};
use super::simulator::{AnswerSummary, RefusalBody, Reply, Simulator};
use super::stamp::Stamp;
use super::state::{Received, SharedState};

/// Accepts connections until it is dropped, and then ends them.
pub(super) async fn run(listener: TcpListener, shared: Arc<SharedState>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        drop(stream.set_nodelay(true));
        shared.count_opened();
        connections.spawn(connection(stream, Arc::clone(&shared)));
    }
}

/// Guard that counts up when made and down when dropped.
struct CountGuard<'s>(&'s tokio::sync::watch::Sender<u64>);

impl<'s> CountGuard<'s> {
    fn new(count: &'s tokio::sync::watch::Sender<u64>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn connection(stream: tokio::net::TcpStream, shared: Arc<SharedState>) {
    let _counted = CountGuard::new(&shared.connections);
    let (io, control) = FaultyStream::new(stream);
    let close = Arc::new(Notify::new());
    let service = {
        let (shared, close) = (Arc::clone(&shared), Arc::clone(&close));
        service_fn(move |request| {
            let (shared, control, close) = (Arc::clone(&shared), Arc::clone(&control), Arc::clone(&close));
            async move { Ok::<_, Infallible>(answer(shared, control, close, request).await) }
        })
    };
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(1000);
    let serving = server.serve_connection_with_upgrades(TokioIo::new(io), service);
    tokio::select! {
        _ = serving => {}
        () = async {
            close.notified().await;
            // Leaves the answer's last bytes time to reach the socket.
            tokio::time::sleep(Duration::from_millis(1)).await;
        } => {}
    }
}

async fn answer(
    shared: Arc<SharedState>,
    control: Arc<StreamControl>,
    close: Arc<Notify>,
    mut request: Request<Incoming>,
) -> Response<SimBody> {
    let mut guard = AnswerGuard::begin(&shared);
    let behaviour = shared.behaviour();
    if behaviour.fault == Fault::CloseAfterAnswer {
        guard.close = Some(close);
    }
    let number = shared.count_request();
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    guard.called_by(head.headers.get("traceparent"));
    let Ok(body) = body.collect().await else { return empty(StatusCode::BAD_REQUEST, guard) };
    let body = body.to_bytes();
    if shared.config.record {
        let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        shared.keep(Received {
            method: head.method.clone(),
            target,
            headers: head.headers.clone(),
            body: body.clone(),
        });
    }
    match behaviour.fault {
        Fault::HangBeforeHead => std::future::pending::<()>().await,
        Fault::ResetBeforeHead => control.cut_after(0),
        Fault::CutAfterBytes(bytes) => control.cut_after(bytes),
        Fault::Garbage => control.garbage.store(true, Ordering::Relaxed),
        Fault::OneByteAtATime => control.dribble.store(true, Ordering::Relaxed),
        _ => {}
    }
    if behaviour.fault == Fault::Html {
        return html(guard);
    }
    if let (Some(upgrade), "/v1/realtime") = (upgrade, head.uri.path()) {
        return switch(&head.headers, upgrade, guard);
    }
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let stamp = Stamp { number, created };
    let request = RawRequest { method: &head.method, path: head.uri.path(), headers: &head.headers, body: &body };
    let simulator = engines::of(shared.config.wire);
    let reply = routes::respond(&shared, simulator, &behaviour, &request, stamp);
    let wait = match &reply {
        Reply::Whole(_, tokens) => behaviour.wait(number, *tokens),
        Reply::Refused(..) | Reply::Stream(_) | Reply::Page(_) | Reply::Empty => Duration::ZERO,
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    finish(simulator, &behaviour, reply, stamp, guard)
}

impl Behaviour {
    /// Returns the wait with its jitter, which depends only on the request's number.
    pub(super) fn jittered(&self, wait: Duration, number: u64) -> Duration {
        if self.jitter <= 0.0 {
            return wait;
        }
        // A Weyl sequence spreads evenly over the requests, the same in every run.
        let place = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1_u32 << 24);
        wait.mul_f64((1.0 + self.jitter * (2.0 * place - 1.0)).max(0.0))
    }

    /// Returns the time between two tokens.
    pub(super) fn token(&self, number: u64) -> Duration {
        if self.tokens_per_second > 0.0 {
            self.jittered(Duration::from_secs_f64(1.0 / self.tokens_per_second), number)
        } else {
            Duration::ZERO
        }
    }

    /// Returns the time that a whole answer takes.
    fn wait(&self, number: u64, tokens: u64) -> Duration {
        self.jittered(self.ttft, number) + self.token(number).mul_f64(tokens.saturating_sub(1) as f64)
    }

    /// True if the request with this number is one of the [`error_rate`](Self::error_rate).
    pub(super) fn fails(&self, number: u64) -> bool {
        let place = (number.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as f64 / f64::from(1_u32 << 24);
        place < self.error_rate
    }
}

fn finish(
    simulator: &dyn Simulator,
    behaviour: &Behaviour,
    reply: Reply,
    stamp: Stamp,
    guard: AnswerGuard,
) -> Response<SimBody> {
    let mut retry = None;
    let mut steps = None;
    let (status, content_type, bytes, tokens) = match reply {
        Reply::Empty => (200, None, Bytes::new(), 0),
        Reply::Page(text) => (200, Some("text/plain; version=0.0.4; charset=utf-8"), Bytes::from(text), 0),
        Reply::Whole(value, tokens) => (200, Some("application/json"), Bytes::from(value.to_string()), tokens),
        Reply::Refused(refusal, retry_after) => {
            retry = retry_after;
            let (kind, bytes) = match refusal.body {
                RefusalBody::Json(body) => (Some("application/json"), Bytes::from(body.to_string())),
                RefusalBody::Text(text) => (Some("text/plain; charset=utf-8"), Bytes::from(text)),
                RefusalBody::Empty => (None, Bytes::new()),
            };
            (refusal.status, kind, bytes, 0)
        }
        Reply::Stream(events) => {
            steps = Some(events);
            (200, Some(simulator.event_type()), Bytes::new(), 1)
        }
    };
    let (length, is_stream) = (bytes.len(), steps.is_some());
    let mut body = match steps {
        Some(steps) => SimBody::stream(steps, behaviour, stamp.number, guard),
        None => SimBody::whole(bytes, guard),
    };
    if behaviour.fault == Fault::WrongLength {
        body.length = None;
    }
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if status == 405 && simulator.quirks().has_allow {
        headers.insert("allow", HeaderValue::from_static("POST"));
    }
    if behaviour.fault == Fault::WrongLength {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length + 100));
    }
    if let Some(seconds) = retry {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    simulator.headers(headers, AnswerSummary { status, is_stream, tokens }, stamp);
    response
}

fn empty(status: StatusCode, guard: AnswerGuard) -> Response<SimBody> {
    let mut response = Response::new(SimBody::whole(Bytes::new(), guard));
    *response.status_mut() = status;
    response
}

fn html(guard: AnswerGuard) -> Response<SimBody> {
    let page = Bytes::from_static(b"<html><body><h1>It works!</h1></body></html>");
    let mut response = Response::new(SimBody::whole(page, guard));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// Accepts a WebSocket and echoes every byte (RFC 6455 §4.2.2 for the accept value).
fn switch(headers: &http::HeaderMap, upgrade: hyper::upgrade::OnUpgrade, mut guard: AnswerGuard) -> Response<SimBody> {
    let key = headers.get("sec-websocket-key").map(HeaderValue::as_bytes).unwrap_or_default();
    let mut text = key.to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    guard.done();
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS, guard);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            drop(tokio::io::copy(&mut read, &mut write).await);
        }
    });
    response
}
