//! The server around the formats: connections, pacing, faults, and counts of what the other side did.

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

use super::body::{SimBody, Watch};
use super::engine::{self, Sent, Stamp, Words};
use super::io::{Control, Faulty};
use super::routes::{self, Made};
use super::{Behaviour, Fault, Received, Shared, Wire};

pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        drop(stream.set_nodelay(true));
        shared.opened.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(stream, Arc::clone(&shared)));
    }
}

/// Counts up now and down when dropped.
struct Counted<'s>(&'s tokio::sync::watch::Sender<u64>);

impl<'s> Counted<'s> {
    fn new(count: &'s tokio::sync::watch::Sender<u64>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn connection(stream: tokio::net::TcpStream, shared: Arc<Shared>) {
    let _counted = Counted::new(&shared.connections);
    let (io, control) = Faulty::new(stream);
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
            // The answer's last bytes are still on their way to the socket.
            tokio::time::sleep(Duration::from_millis(1)).await;
        } => {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    control: Arc<Control>,
    close: Arc<Notify>,
    mut request: Request<Incoming>,
) -> Response<SimBody> {
    let mut watch = Watch::begin(&shared);
    let behaviour = shared.behaviour();
    if behaviour.fault == Fault::CloseAfterAnswer {
        watch.close = Some(close);
    }
    let number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    watch.called_by(head.headers.get("traceparent"));
    let Ok(body) = body.collect().await else { return empty(StatusCode::BAD_REQUEST, watch) };
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
        return html(watch);
    }
    if let (Some(upgrade), "/v1/realtime") = (upgrade, head.uri.path()) {
        return switch(&head.headers, upgrade, watch);
    }
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let stamp = Stamp { number, created };
    let request = routes::Request { method: &head.method, path: head.uri.path(), headers: &head.headers, body: &body };
    let made = routes::respond(&shared, &behaviour, &request, stamp);
    let wait = match &made {
        Made::Whole(_, tokens) => behaviour.wait(number, *tokens),
        Made::Refused(..) | Made::Stream(_) | Made::Page(_) | Made::Empty => Duration::ZERO,
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    finish(&shared, &behaviour, made, stamp, watch)
}

impl Behaviour {
    pub(super) fn jittered(&self, wait: Duration, number: u64) -> Duration {
        if self.jitter <= 0.0 {
            return wait;
        }
        // Spread evenly over the requests, the same in every run.
        let place = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / f64::from(1_u32 << 24);
        wait.mul_f64((1.0 + self.jitter * (2.0 * place - 1.0)).max(0.0))
    }

    pub(super) fn token(&self, number: u64) -> Duration {
        if self.tokens_per_second > 0.0 {
            self.jittered(Duration::from_secs_f64(1.0 / self.tokens_per_second), number)
        } else {
            Duration::ZERO
        }
    }

    fn wait(&self, number: u64, tokens: u64) -> Duration {
        self.jittered(self.ttft, number) + self.token(number).mul_f64(tokens.saturating_sub(1) as f64)
    }

    pub(super) fn fails(&self, number: u64) -> bool {
        let place = (number.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as f64 / f64::from(1_u32 << 24);
        place < self.error_rate
    }
}

fn finish(shared: &Shared, behaviour: &Behaviour, made: Made, stamp: Stamp, watch: Watch) -> Response<SimBody> {
    let engine = engine::of(shared.config.wire);
    let mut retry = None;
    let mut steps = None;
    let (status, content_type, bytes, tokens) = match made {
        Made::Empty => (200, None, Bytes::new(), 0),
        Made::Page(text) => (200, Some("text/plain; version=0.0.4; charset=utf-8"), Bytes::from(text), 0),
        Made::Whole(value, tokens) => (200, Some("application/json"), Bytes::from(value.to_string()), tokens),
        Made::Refused(refusal, retry_after) => {
            retry = retry_after;
            let (kind, bytes) = match refusal.words {
                Words::Json(body) => (Some("application/json"), Bytes::from(body.to_string())),
                Words::Text(text) => (Some("text/plain; charset=utf-8"), Bytes::from(text)),
                Words::Nothing => (None, Bytes::new()),
            };
            (refusal.status, kind, bytes, 0)
        }
        Made::Stream(made) => {
            steps = Some(made);
            (200, Some(engine.event_type()), Bytes::new(), 1)
        }
    };
    let (length, streamed) = (bytes.len(), steps.is_some());
    let mut body = match steps {
        Some(steps) => SimBody::stream(steps, behaviour, stamp.number, watch),
        None => SimBody::whole(bytes, watch),
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
    if status == 405 && shared.config.wire != Wire::OpenAi {
        headers.insert("allow", HeaderValue::from_static("POST"));
    }
    if behaviour.fault == Fault::WrongLength {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length + 100));
    }
    if let Some(seconds) = retry {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    engine.headers(headers, Sent { status, streamed, tokens }, stamp);
    response
}

fn empty(status: StatusCode, watch: Watch) -> Response<SimBody> {
    let mut response = Response::new(SimBody::whole(Bytes::new(), watch));
    *response.status_mut() = status;
    response
}

fn html(watch: Watch) -> Response<SimBody> {
    let page = Bytes::from_static(b"<html><body><h1>It works!</h1></body></html>");
    let mut response = Response::new(SimBody::whole(page, watch));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// Agrees to a WebSocket and sends back every byte (RFC 6455 §4.2.2 for the accept value).
fn switch(headers: &http::HeaderMap, upgrade: hyper::upgrade::OnUpgrade, mut watch: Watch) -> Response<SimBody> {
    let key = headers.get("sec-websocket-key").map(HeaderValue::as_bytes).unwrap_or_default();
    let mut text = key.to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    watch.done();
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS, watch);
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
