//! The connections of one backend: kept while idle, reused newest first, closed before the server would.
//!
//! Bound: at most [`MAX_IDLE`] idle connections; open ones are bounded by the process' requests in flight.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::connect::Connector;
use super::error::Failure;
use super::io::{BytesRead, Counted};
use super::request_body::RequestBody;
use crate::telemetry::stats::{BackendStats, lock};

/// Idle connections kept for one backend.
const MAX_IDLE: usize = 256;
/// Streams that share one h2 connection; a further one opens the next. Servers commonly allow 100.
const MAX_STREAMS: usize = 80;
/// How often idle connections are looked at. With uvicorn's five seconds and our three there is room for one tick.
const TICK: Duration = Duration::from_secs(1);
/// Answer heads above this are refused.
const MAX_HEAD: u32 = 64 * 1024;
/// A chunk with one byte and its frame.
const LEAST_CHUNK: u64 = 6;
/// A pooled connection that is not ready at once is given this long before a new one is opened instead.
const SETTLE: Duration = Duration::from_millis(50);

/// One backend's connections.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    h2: bool,
    keepalive: Duration,
    idle: Mutex<VecDeque<Idle>>,
    shared: Mutex<Vec<Shared>>,
    reaping: AtomicBool,
    stats: Arc<BackendStats>,
}

#[derive(Debug)]
struct Idle {
    conn: Http1,
    since: Instant,
}

#[derive(Debug)]
struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    read: BytesRead,
}

/// An h2 connection; how many streams use it is how often `alive` is held beside the pool's own.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    alive: Arc<()>,
    idle_since: Instant,
}

/// An answer and where it came from.
#[derive(Debug)]
pub struct Answer {
    pub response: Response<AnswerBody>,
    pub reused: bool,
}

/// A failure, and whether the request may be sent once more on a fresh connection: a reused one died, and not a byte
/// of an answer had come.
#[derive(Debug)]
pub struct SendError {
    pub failure: Failure,
    pub stale: bool,
}

impl Client {
    pub fn new(connector: Connector, h2: bool, keepalive: Duration, stats: Arc<BackendStats>) -> Arc<Self> {
        Arc::new(Self {
            connector,
            h2,
            keepalive,
            idle: Mutex::default(),
            shared: Mutex::default(),
            reaping: AtomicBool::new(false),
            stats,
        })
    }

    /// Sends one request on a kept connection, or on a new one; `fresh` insists on a new one.
    pub async fn send(self: &Arc<Self>, request: Request<RequestBody>, fresh: bool) -> Result<Answer, SendError> {
        if self.h2
            && !fresh
            && let Some((sender, alive)) = self.shared_conn()
        {
            return Box::pin(self.exchange_h2(sender, alive, request, true)).await;
        }
        if !fresh && let Some(conn) = self.checkout().await {
            return self.exchange(conn, request, true).await;
        }
        // Opening is rare and its future large: kept off the future of every request.
        match Box::pin(self.open()).await.map_err(|failure| SendError { failure, stale: false })? {
            Opened::Http1(conn) => self.exchange(conn, request, false).await,
            Opened::Http2(sender, alive) => Box::pin(self.exchange_h2(sender, alive, request, false)).await,
        }
    }

    /// A connection of its own for a request that may become a tunnel; never pooled.
    pub async fn send_upgrade(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, Failure> {
        let (io, _) = Counted::new(self.connector.connect().await?);
        let (sender, conn) =
            builder().handshake(TokioIo::new(io)).await.map_err(|error| Failure::of_exchange(&error))?;
        let guard = self.opened();
        tokio::spawn(async move {
            let _open = guard;
            // The other half of the exchange reports why it broke.
            drop(conn.with_upgrades().await);
        });
        let (sent, _) = answer_on(sender, request).await;
        sent.map_err(|error| Failure::of_exchange(&error))
    }

    fn opened(&self) -> OpenGuard {
        self.stats.connections.add(1);
        OpenGuard(Arc::clone(&self.stats))
    }

    async fn open(self: &Arc<Self>) -> Result<Opened, Failure> {
        let stream = self.connector.connect().await?;
        let h2 = self.h2 && (stream.negotiated_h2() || !self.connector.is_tls());
        let (io, read) = Counted::new(stream);
        let guard = self.opened();
        if h2 {
            let (sender, conn) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                .max_header_list_size(MAX_HEAD)
                .handshake(TokioIo::new(io))
                .await
                .map_err(|error| Failure::of_exchange(&error))?;
            tokio::spawn(async move {
                let _open = guard;
                drop(conn.await);
            });
            let alive = Arc::new(());
            let shared = Shared { sender: sender.clone(), alive: Arc::clone(&alive), idle_since: Instant::now() };
            lock(&self.shared).push(shared);
            self.reap();
            return Ok(Opened::Http2(sender, alive));
        }
        let (sender, conn) =
            builder().handshake(TokioIo::new(io)).await.map_err(|error| Failure::of_exchange(&error))?;
        tokio::spawn(async move {
            let _open = guard;
            drop(conn.await);
        });
        Ok(Opened::Http1(Http1 { sender, read }))
    }

    async fn checkout(&self) -> Option<Http1> {
        loop {
            let Idle { mut conn, since } = lock(&self.idle).pop_back()?;
            if since.elapsed() >= self.keepalive || conn.sender.is_closed() {
                continue;
            }
            // The last answer's end may reach us before the connection's own task has tidied up.
            if conn.sender.is_ready() || matches!(tokio::time::timeout(SETTLE, conn.sender.ready()).await, Ok(Ok(()))) {
                return Some(conn);
            }
        }
    }

    fn shared_conn(&self) -> Option<(http2::SendRequest<RequestBody>, Arc<()>)> {
        let mut shared = lock(&self.shared);
        shared.retain(|conn| !conn.sender.is_closed());
        let conn = shared.iter_mut().find(|conn| Arc::strong_count(&conn.alive) <= MAX_STREAMS)?;
        conn.idle_since = Instant::now();
        Some((conn.sender.clone(), Arc::clone(&conn.alive)))
    }

    async fn exchange(
        self: &Arc<Self>,
        conn: Http1,
        request: Request<RequestBody>,
        reused: bool,
    ) -> Result<Answer, SendError> {
        let Http1 { sender, read } = conn;
        let before = read.get();
        let (sent, sender) = answer_on(sender, request).await;
        match sent {
            Ok(response) => {
                let kept = sender.map(|sender| (Http1 { sender, read }, Arc::downgrade(self)));
                let passed = before.saturating_add(head_length(&response));
                let chunked = response.headers().contains_key(TRANSFER_ENCODING);
                let response =
                    response.map(|incoming| AnswerBody { incoming, source: Source::Http1(kept), passed, chunked });
                Ok(Answer { response, reused })
            }
            Err(error) => {
                let silent = read.get() == before;
                let failure = Failure::of_exchange(&error);
                let stale = reused && silent && matches!(failure, Failure::Reset(_));
                Err(SendError { failure, stale })
            }
        }
    }

    async fn exchange_h2(
        &self,
        mut sender: http2::SendRequest<RequestBody>,
        alive: Arc<()>,
        mut request: Request<RequestBody>,
        reused: bool,
    ) -> Result<Answer, SendError> {
        // HTTP/2 says scheme and authority in the target and has no Host.
        request.headers_mut().remove(HOST);
        *request.uri_mut() = self.connector.absolute(request.uri());
        *request.version_mut() = Version::HTTP_2;
        let sent = sender.send_request(request);
        // See `answer_on`: a handle that is kept here could keep the answer from ever failing.
        drop(sender);
        match sent.await {
            Ok(response) => {
                let response = response.map(|incoming| {
                    let source = Source::Http2(alive);
                    AnswerBody { incoming, source, passed: 0, chunked: false }
                });
                Ok(Answer { response, reused })
            }
            Err(error) => {
                // A connection that goes away names the streams it never looked at; those may be sent again.
                let stale = reused && (error.is_canceled() || error.is_closed());
                Err(SendError { failure: Failure::of_exchange(&error), stale })
            }
        }
    }

    fn give_back(self: &Arc<Self>, conn: Http1) {
        if conn.sender.is_closed() {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(Idle { conn, since: Instant::now() });
        drop(idle);
        self.reap();
    }

    /// Closes what has been idle for too long, from a task that lives while there is something idle.
    fn reap(self: &Arc<Self>) {
        if self.reaping.swap(true, Ordering::AcqRel) {
            return;
        }
        let client = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(client) = client.upgrade() else { return };
                if client.reap_now() {
                    client.reaping.store(false, Ordering::Release);
                    // Between the look and the store a connection may have come back to a pool without a reaper.
                    if client.is_empty() || client.reaping.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }

    fn reap_now(&self) -> bool {
        let keepalive = self.keepalive;
        lock(&self.idle).retain(|idle| idle.since.elapsed() < keepalive && !idle.conn.sender.is_closed());
        lock(&self.shared).retain_mut(|conn| {
            if Arc::strong_count(&conn.alive) > 1 {
                conn.idle_since = Instant::now();
            }
            !conn.sender.is_closed() && conn.idle_since.elapsed() < keepalive
        });
        self.is_empty()
    }

    fn is_empty(&self) -> bool {
        lock(&self.idle).is_empty() && lock(&self.shared).is_empty()
    }
}

#[derive(Debug)]
enum Opened {
    Http1(Http1),
    Http2(http2::SendRequest<RequestBody>, Arc<()>),
}

/// One open connection in the gauge.
#[derive(Debug)]
struct OpenGuard(Arc<BackendStats>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.connections.sub(1);
    }
}

/// Sends, and waits; the sender comes back while its connection lives.
///
/// A request handed over in the very moment in which its connection's task ends can stay in the channel between them,
/// where it fails only when the last sender is gone (hyper issue 4122). So a sender is not kept beyond its connection.
async fn answer_on(
    mut sender: http1::SendRequest<RequestBody>,
    request: Request<RequestBody>,
) -> (hyper::Result<Response<Incoming>>, Option<http1::SendRequest<RequestBody>>) {
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut sender = Some(sender);
    let sent = std::future::poll_fn(|cx| {
        if let Poll::Ready(sent) = answer.as_mut().poll(cx) {
            return Poll::Ready(sent);
        }
        let ended = sender.as_mut().is_some_and(|sender| matches!(sender.poll_ready(cx), Poll::Ready(Err(_))));
        if !ended {
            return Poll::Pending;
        }
        sender = None;
        answer.as_mut().poll(cx)
    });
    let sent = sent.await;
    (sent, sender)
}

/// As servers commonly write it: one space after each colon.
fn head_length<B>(response: &Response<B>) -> u64 {
    let fields = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let reason = response.status().canonical_reason().unwrap_or_default();
    ("HTTP/1.1 200 \r\n\r\n".len() + reason.len() + fields.sum::<usize>()) as u64
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEAD as usize);
    builder
}

/// An answer's body. Read to its end, its connection goes back to the pool; dropped before, the connection is closed,
/// which is what tells a server to stop generating.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    source: Source,
    /// About how much of what the connection has read is the head, or was handed on.
    passed: u64,
    chunked: bool,
}

#[derive(Debug)]
enum Source {
    Http1(Option<(Http1, Weak<Client>)>),
    Http2(#[expect(dead_code, reason = "held: it counts the stream")] Arc<()>),
}

impl AnswerBody {
    /// Whether more of it has been read from the connection than was handed on. A guess: a head with unusual spacing
    /// makes it wrong until [`Self::settle`].
    pub fn has_more(&self) -> bool {
        match &self.source {
            Source::Http1(Some((conn, _))) => conn.read.get() > self.passed + LEAST_CHUNK,
            Source::Http1(None) | Source::Http2(_) => false,
        }
    }

    /// Nothing more came though it was waited for: what has been read is what was handed on.
    pub fn settle(&mut self) {
        if let Source::Http1(Some((conn, _))) = &self.source {
            self.passed = conn.read.get();
        }
    }

    fn pass(&mut self, data: usize) {
        self.passed += data as u64;
        if self.chunked {
            // The size in hexadecimal and two line ends.
            self.passed += u64::from(usize::BITS - data.leading_zeros()).div_ceil(4) + 4;
        }
        if let Source::Http1(Some((conn, _))) = &self.source {
            self.passed = self.passed.min(conn.read.get());
        }
    }

    fn release(&mut self) {
        if let Source::Http1(conn) = &mut self.source
            && let Some((conn, client)) = conn.take()
            && let Some(client) = client.upgrade()
        {
            client.give_back(conn);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Err(_))) => {
                if let Source::Http1(conn) = &mut self.source {
                    *conn = None;
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, Bytes::len);
                self.pass(data);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}
