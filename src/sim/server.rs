//! The server around the formats: connections, routes, pacing, faults, and counts of what the other side did.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::ask::{Ask, Said};
use super::body::{SimBody, Step, Watch};
use super::io::{Control, Faulty};
use super::{Behaviour, Fault, Received, Shared, Wire, openai, vllm};

/// A refused request, in the words of the server that is simulated.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) body: Value,
}

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
    let made = respond(&shared, &behaviour, &head, &body, number);
    let wait = match &made {
        Made::Whole(_, tokens) => behaviour.wait(number, *tokens),
        Made::Refused(..) | Made::Stream(_) | Made::Empty => Duration::ZERO,
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    finish(&shared, &behaviour, made, number, watch)
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

    fn fails(&self, number: u64) -> bool {
        let place = (number.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as f64 / f64::from(1_u32 << 24);
        place < self.error_rate
    }
}

enum Made {
    /// The answer, and how many tokens it took.
    Whole(Value, u64),
    Stream(Vec<Step>),
    Refused(Refusal, Option<u32>),
    /// 200, and nothing else.
    Empty,
}

fn respond(shared: &Shared, behaviour: &Behaviour, head: &http::request::Parts, body: &Bytes, number: u64) -> Made {
    let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
    let config = &shared.config;
    let wire = config.wire;
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let refused = |refusal| Made::Refused(refusal, None);
    if let Some(key) = &config.api_key {
        let given = headers.get("authorization").and_then(|value| value.to_str().ok());
        if given.and_then(|given| given.strip_prefix("Bearer ")) != Some(key.as_str()) {
            return refused(by_status(wire, 401));
        }
    }
    if let Some((status, retry_after)) = behaviour.status {
        return Made::Refused(by_status(wire, status), retry_after);
    }
    if behaviour.fails(number) {
        return refused(by_status(wire, 500));
    }
    if let (&Method::GET, Some(rest)) = (method, path.strip_prefix("/v1/models")) {
        let list = match wire {
            Wire::OpenAi => openai::models(&config.models, created),
            Wire::Vllm => vllm::models(&config.models, config.max_model_len, number, created),
        };
        if rest.is_empty() {
            return Made::Whole(list, 0);
        }
        let one = list["data"].as_array().and_then(|all| {
            all.iter().find(|one| rest.strip_prefix('/').is_some_and(|name| one["id"] == name)).cloned()
        });
        return one.map_or_else(|| refused(by_status(wire, 404)), |one| Made::Whole(one, 0));
    }
    match (wire, path) {
        (Wire::Vllm, "/version") => return Made::Whole(serde_json::json!({"version": "0.32.0"}), 0),
        (Wire::Vllm, "/health") => return Made::Empty,
        _ => {}
    }
    let known = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/responses"];
    if *method != Method::POST && known.contains(&path) {
        return refused(by_status(wire, 405));
    }
    let parsed = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(parsed)) => parsed,
        _ if !known.contains(&path) => Map::new(),
        _ => {
            return refused(match wire {
                Wire::OpenAi => openai::broken_json(),
                Wire::Vllm => vllm::broken_json(body),
            });
        }
    };
    generate(shared, behaviour, path, &parsed, (number, created, body.len()))
        .unwrap_or_else(|| refused(by_status(wire, 404)))
}

fn generate(
    shared: &Shared,
    behaviour: &Behaviour,
    path: &str,
    body: &Map<String, Value>,
    (number, created, size): (u64, u64, usize),
) -> Option<Made> {
    let config = &shared.config;
    let ask = Ask::read(body, config.wire == Wire::Vllm);
    let made = match (config.wire, path) {
        (wire, "/v1/chat/completions") => {
            let refusal = match wire {
                Wire::OpenAi => openai::refuse(body, &config.models),
                Wire::Vllm => vllm::refuse(body, &config.models, config.max_model_len, size),
            };
            if let Some(refusal) = refusal {
                return Some(Made::Refused(refusal, None));
            }
            let said: Vec<Said> = (0..ask.choices).map(|choice| ask.say(choice, behaviour.tokens)).collect();
            match (wire, ask.stream) {
                (Wire::OpenAi, true) => Made::Stream(openai::stream(&ask, &said, number, created)),
                (Wire::Vllm, true) => Made::Stream(vllm::stream(&ask, &said, number, created)),
                (Wire::OpenAi, false) => whole(openai::whole(&ask, &said, number, created), &said),
                (Wire::Vllm, false) => whole(vllm::whole(&ask, &said, number, created), &said),
            }
        }
        (_, "/v1/completions") => {
            let said = ask.say(0, behaviour.tokens);
            Made::Whole(openai::completion(&ask, &said, number, created), said.count())
        }
        (Wire::OpenAi, "/v1/embeddings") => Made::Whole(openai::embeddings(body), 0),
        (Wire::OpenAi, "/v1/moderations") => Made::Whole(openai::moderation(body), 0),
        (Wire::OpenAi, "/v1/responses") => {
            let said = ask.say(0, behaviour.tokens);
            Made::Whole(openai::response(body, &said, number, created), said.count())
        }
        (Wire::OpenAi, other) if other.starts_with("/v1/files") => {
            Made::Whole(serde_json::json!({"object": "list", "data": [], "has_more": false}), 0)
        }
        _ => return None,
    };
    Some(made)
}

fn whole(value: Value, said: &[Said]) -> Made {
    Made::Whole(value, said.iter().map(Said::count).sum())
}

fn by_status(wire: Wire, status: u16) -> Refusal {
    match (wire, status) {
        (Wire::OpenAi, status) => openai::by_status(status),
        (Wire::Vllm, 401) => Refusal { status, body: serde_json::json!({"error": "Unauthorized"}) },
        (Wire::Vllm, 404 | 405) => vllm::detail(status),
        (Wire::Vllm, status) => vllm::error(status, "InternalServerError", "Internal server error", None),
    }
}

fn finish(shared: &Shared, behaviour: &Behaviour, made: Made, number: u64, watch: Watch) -> Response<SimBody> {
    let wire = shared.config.wire;
    let mut retry = None;
    let mut steps = None;
    let (status, content_type, bytes) = match made {
        Made::Empty => return empty(StatusCode::OK, watch),
        Made::Whole(value, _) => (200, "application/json", Bytes::from(value.to_string())),
        Made::Refused(refusal, retry_after) => {
            retry = retry_after;
            (refusal.status, "application/json", Bytes::from(refusal.body.to_string()))
        }
        Made::Stream(made) => {
            steps = Some(disturb(made, behaviour.fault, wire));
            (200, "text/event-stream; charset=utf-8", Bytes::new())
        }
    };
    let length = bytes.len();
    let mut body = match steps {
        Some(steps) => SimBody::stream(steps, behaviour, number, watch),
        None => SimBody::whole(bytes, watch),
    };
    if behaviour.fault == Fault::WrongLength {
        body.length = None;
    }
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == 405 && wire == Wire::Vllm {
        headers.insert("allow", HeaderValue::from_static("POST"));
    }
    if behaviour.fault == Fault::WrongLength {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length + 100));
    }
    if let Some(seconds) = retry {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match wire {
        Wire::OpenAi => {
            headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
            headers.insert("openai-organization", HeaderValue::from_static("org-simulated"));
            headers.insert("openai-processing-ms", HeaderValue::from(number % 50));
            headers.insert("x-ratelimit-limit-requests", HeaderValue::from_static("10000"));
            headers.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("9999"));
            if let Ok(id) = HeaderValue::from_str(&format!("req_{number:032x}")) {
                headers.insert("x-request-id", id);
            }
        }
        Wire::Vllm => {
            headers.insert("server", HeaderValue::from_static("uvicorn"));
            headers.insert("vary", HeaderValue::from_static("Origin"));
            if let Ok(id) = HeaderValue::from_str(&format!("{number:032x}")) {
                headers.insert("x-request-id", id);
            }
        }
    }
    response
}

fn disturb(mut steps: Vec<Step>, fault: Fault, wire: Wire) -> Vec<Step> {
    let error = Step::event(&by_status(wire, 500).body, false);
    match fault {
        Fault::ErrorEventFirst => vec![error],
        Fault::ErrorEventAfter(count) => {
            steps.truncate(count);
            steps.push(error);
            steps
        }
        _ => steps,
    }
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
