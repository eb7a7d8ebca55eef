//! The client of one backend: sends a request on a pooled or a new connection.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::answer::AnswerBody;
use super::connect::Connector;
use super::error::Failure;
use super::io::Counted;
use super::kept::{Http1, Kept, Shared, retirement};
use super::request_body::RequestBody;
use crate::outcome::ConnUse;
use crate::stats::{BackendStats, Permit};

/// Limit of an answer's head, in bytes; a larger head fails the attempt.
pub(super) const MAX_HEAD: u32 = 64 * 1024;
/// Limit of the head of an answer to a copy, in bytes. It bounds the read buffers of copies, which count beside
/// `shadow.max_bytes`.
pub(super) const MAX_COPY_HEAD: u32 = 16 * 1024;
/// Read-ahead limit, in bytes, while the client is not reading, beyond that of a head.
const BUFFER: usize = 8 * 1024;

/// HTTP client with a pool that all its requests share.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    h2: bool,
    /// Limit of an answer's head, in bytes.
    max_head: u32,
    kept: Arc<Kept>,
    stats: Arc<BackendStats>,
}

/// Failure of a request on one connection.
#[derive(Debug)]
pub struct SendError {
    /// The failure itself.
    pub failure: Failure,
    /// True if the request may be sent once more on a new connection: a reused connection died without a byte of an
    /// answer.
    pub stale: bool,
}

impl Client {
    /// Creates a client. `h2` prefers HTTP/2 where ALPN agrees; `keepalive` is the idle timeout of pooled connections;
    /// `max_head` limits an answer's head, in bytes.
    pub fn new(
        connector: Connector,
        (h2, max_head): (bool, u32),
        keepalive: Duration,
        stats: Arc<BackendStats>,
    ) -> Arc<Self> {
        Arc::new(Self { connector, h2, max_head, kept: Kept::new(keepalive), stats })
    }

    /// Sends one request on a pooled or a new connection; `fresh` requires a new one. Notes in `conn` which it is.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        fresh: bool,
        conn: &ConnUse,
    ) -> Result<Response<AnswerBody>, SendError> {
        if self.h2
            && !fresh
            && let Some((sender, alive)) = self.kept.stream()
        {
            conn.set(true);
            return Box::pin(self.exchange_h2(sender, alive, request, true)).await;
        }
        if !fresh && let Some(pooled) = self.kept.checkout().await {
            conn.set(true);
            return self.exchange(pooled, request, true).await;
        }
        // Opening is rare and its future is large: boxed, so that it does not enlarge every request's future.
        let opened = Box::pin(self.open()).await.map_err(|failure| SendError { failure, stale: false })?;
        conn.set(false);
        match opened {
            Opened::Http1(new) => self.exchange(new, request, false).await,
            Opened::Http2(sender, alive) => Box::pin(self.exchange_h2(sender, alive, request, false)).await,
        }
    }

    /// Sends a request that may become a tunnel, on its own connection that is never pooled.
    pub async fn send_upgrade(
        &self,
        request: Request<RequestBody>,
        conn: &ConnUse,
    ) -> Result<Response<Incoming>, Failure> {
        let (io, _) = Counted::new(self.connector.connect().await?);
        conn.set(false);
        let (sender, running) =
            builder(self.max_head).handshake(TokioIo::new(io)).await.map_err(|error| Failure::of_exchange(&error))?;
        let guard = self.opened();
        tokio::spawn(async move {
            let _open = guard;
            // The other half of the exchange reports the error.
            drop(running.with_upgrades().await);
        });
        let (sent, _) = answer_on(sender, request).await;
        sent.map_err(|error| Failure::of_exchange(&error))
    }

    fn opened(&self) -> OpenGuard {
        let permit = self.stats.connections.acquire(1);
        OpenGuard { stats: Arc::clone(&self.stats), since: Instant::now(), _permit: permit }
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
                .max_header_list_size(self.max_head)
                // Holds until the server's SETTINGS frame arrives.
                .initial_max_send_streams(1)
                .handshake(TokioIo::new(io))
                .await
                .map_err(|error| Failure::of_exchange(&error))?;
            let allowed = Arc::new(AtomicUsize::new(1));
            let latest = Arc::clone(&allowed);
            tokio::spawn(async move {
                let _open = guard;
                let mut conn = std::pin::pin!(conn);
                let running = std::future::poll_fn(|cx| {
                    let polled = conn.as_mut().poll(cx);
                    latest.store(conn.current_max_send_streams(), Relaxed);
                    polled
                });
                drop(running.await);
            });
            let alive = Arc::new(());
            let (idle_since, retire_at) = (Instant::now(), retirement());
            let shared = Shared { sender: sender.clone(), alive: Arc::clone(&alive), allowed, idle_since, retire_at };
            self.kept.share(shared);
            return Ok(Opened::Http2(sender, alive));
        }
        let (sender, conn) =
            builder(self.max_head).handshake(TokioIo::new(io)).await.map_err(|error| Failure::of_exchange(&error))?;
        tokio::spawn(async move {
            let _open = guard;
            drop(conn.await);
        });
        Ok(Opened::Http1(Http1 { sender, read, retire_at: retirement() }))
    }

    async fn exchange(
        self: &Arc<Self>,
        conn: Http1,
        request: Request<RequestBody>,
        reused: bool,
    ) -> Result<Response<AnswerBody>, SendError> {
        let Http1 { sender, read, retire_at } = conn;
        let before = read.get();
        let (sent, sender) = answer_on(sender, request).await;
        match sent {
            // Intermediaries may disagree about the end of such an answer (RFC 9112 §6.3): its connection is closed.
            Ok(response) if is_framed_twice(response.headers()) => {
                let what = "it has both content-length and transfer-encoding".to_owned();
                Err(SendError { failure: Failure::BadAnswer(what), stale: false })
            }
            Ok(response) => {
                let kept = sender.map(|sender| (Http1 { sender, read, retire_at }, Arc::downgrade(&self.kept)));
                Ok(AnswerBody::http1(response, kept, before))
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
    ) -> Result<Response<AnswerBody>, SendError> {
        // HTTP/2 carries scheme and authority in pseudo-headers and has no Host.
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(TRANSFER_ENCODING);
        *request.uri_mut() = self.connector.absolute(request.uri());
        *request.version_mut() = Version::HTTP_2;
        let sent = sender.send_request(request);
        // See `answer_on`: a sender kept here could keep the answer from failing.
        drop(sender);
        match sent.await {
            Ok(response) => Ok(response.map(|incoming| AnswerBody::http2(incoming, alive))),
            Err(error) => {
                // A closing or full server lists the streams that it did not process (RFC 9113 §8.7).
                let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
                let refused = cause.is_some_and(|cause| {
                    cause.reason() == Some(h2::Reason::REFUSED_STREAM)
                        || (cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR))
                });
                // Any other stream reset is the server's answer to this request.
                let stale = refused || (reused && !cause.is_some_and(h2::Error::is_reset));
                Err(SendError { failure: Failure::of_exchange(&error), stale })
            }
        }
    }

    /// Number of open connections without a request.
    pub fn idle(&self) -> usize {
        self.kept.idle()
    }
}

#[derive(Debug)]
enum Opened {
    Http1(Http1),
    Http2(http2::SendRequest<RequestBody>, Arc<()>),
}

/// Counts one open connection in the gauge until it is dropped.
#[derive(Debug)]
struct OpenGuard {
    stats: Arc<BackendStats>,
    since: Instant,
    _permit: Permit,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.stats.lifetimes.record(self.since.elapsed());
    }
}

/// Sends the request and waits for the head. Returns the sender too while its connection is open.
///
/// A request handed over while its connection's task ends can stay in the channel between them, and fails only when the
/// last sender is dropped (hyper issue 4122). Therefore no sender may outlive its connection.
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

fn is_framed_twice(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
}

fn builder(max_head: u32) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(max_head as usize).max_buf_size(max_head as usize + BUFFER);
    builder
}
