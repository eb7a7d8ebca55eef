//! The pool of one backend: reuses the newest connection first, and closes idle ones before the server does.
//!
//! Bound: at most [`MAX_IDLE`] idle HTTP/1 connections; open ones are bounded by the process' requests in flight.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};

use super::io::BytesRead;
use super::request_body::RequestBody;
use crate::stats::lock;

/// Number of idle connections kept for one backend; beyond it the oldest is closed.
const MAX_IDLE: usize = 256;
/// Number of streams that share one h2 connection; a further one opens the next.
const MAX_STREAMS: usize = 80;
/// Share, in percent, of the server's stream limit that is used; a stream above the limit would wait for another's end.
const STREAMS_PERCENT: usize = 80;
/// Age, plus or minus a fifth, at which a connection is no longer reused, so that load balancers and changed addresses
/// take effect. The jitter keeps connections from expiring together.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Interval between checks for idle connections. uvicorn closes after 5 s, shiftgate after 3 s, so one tick fits in
/// between.
const TICK: Duration = Duration::from_secs(1);
/// Time that a pooled connection has to become ready; a new one is opened after that.
const SETTLE: Duration = Duration::from_millis(50);

/// Pooled connections of one backend.
#[derive(Debug)]
pub(super) struct Kept {
    keepalive: Duration,
    idle: Mutex<VecDeque<Idle>>,
    shared: Mutex<Vec<Shared>>,
    is_reaping: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    conn: Http1,
    since: Instant,
}

/// An idle HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) read: BytesRead,
    pub(super) retire_at: Instant,
}

/// An HTTP/2 connection. Its number of streams is the number of clones of `alive` outside the pool.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) alive: Arc<()>,
    /// The server's latest limit of concurrent streams.
    pub(super) allowed: Arc<AtomicUsize>,
    pub(super) idle_since: Instant,
    pub(super) retire_at: Instant,
}

impl Http1 {
    fn is_done(&self) -> bool {
        self.sender.is_closed() || Instant::now() >= self.retire_at
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        let allowed = (self.allowed.load(Relaxed).saturating_mul(STREAMS_PERCENT) / 100).max(1);
        // The pool holds one reference itself.
        Arc::strong_count(&self.alive) <= MAX_STREAMS.min(allowed)
    }
}

/// Returns the instant at which a connection opened now is too old for reuse.
pub(super) fn retirement() -> Instant {
    Instant::now() + MAX_AGE.mul_f64(rand::random_range(0.8..1.2))
}

impl Kept {
    /// Creates an empty pool that closes connections idle for `keepalive`.
    pub(super) fn new(keepalive: Duration) -> Arc<Self> {
        let (idle, shared) = (Mutex::default(), Mutex::default());
        Arc::new(Self { keepalive, idle, shared, is_reaping: AtomicBool::new(false) })
    }

    /// Takes the newest idle HTTP/1 connection.
    pub(super) async fn checkout(&self) -> Option<Http1> {
        loop {
            let Idle { mut conn, since } = lock(&self.idle).pop_back()?;
            if since.elapsed() >= self.keepalive || conn.is_done() {
                continue;
            }
            // The end of the last answer may be visible before the connection's own task is ready.
            if conn.sender.is_ready() || matches!(tokio::time::timeout(SETTLE, conn.sender.ready()).await, Ok(Ok(()))) {
                return Some(conn);
            }
        }
    }

    /// Returns a stream on an HTTP/2 connection that has room.
    pub(super) fn stream(&self) -> Option<(http2::SendRequest<RequestBody>, Arc<()>)> {
        let mut shared = lock(&self.shared);
        shared.retain(|conn| !conn.sender.is_closed());
        let now = Instant::now();
        let conn = shared.iter_mut().find(|conn| now < conn.retire_at && conn.has_room())?;
        conn.idle_since = now;
        Some((conn.sender.clone(), Arc::clone(&conn.alive)))
    }

    /// Keeps an HTTP/1 connection whose answer was read to its end.
    pub(super) fn give_back(self: &Arc<Self>, conn: Http1) {
        if conn.is_done() {
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

    /// Adds a newly opened HTTP/2 connection.
    pub(super) fn share(self: &Arc<Self>, conn: Shared) {
        lock(&self.shared).push(conn);
        self.reap();
    }

    /// Closes expired idle connections, from a task that ends when the pool is empty.
    fn reap(self: &Arc<Self>) {
        if self.is_reaping.swap(true, Ordering::AcqRel) {
            return;
        }
        let kept = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(kept) = kept.upgrade() else { return };
                if kept.reap_now() {
                    kept.is_reaping.store(false, Ordering::Release);
                    // A connection may have returned to the pool between the check and the store.
                    if kept.is_empty() || kept.is_reaping.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }

    fn reap_now(&self) -> bool {
        let keepalive = self.keepalive;
        lock(&self.idle).retain(|idle| idle.since.elapsed() < keepalive && !idle.conn.is_done());
        lock(&self.shared).retain_mut(|conn| {
            if Arc::strong_count(&conn.alive) > 1 {
                conn.idle_since = Instant::now();
            }
            // An old connection stays open for its running streams, and gets no new ones.
            !conn.sender.is_closed() && conn.idle_since.elapsed() < keepalive && Instant::now() < conn.retire_at
        });
        self.is_empty()
    }

    /// Number of open connections without a request.
    pub(super) fn idle(&self) -> usize {
        let shared = lock(&self.shared).iter().filter(|conn| Arc::strong_count(&conn.alive) == 1).count();
        lock(&self.idle).len() + shared
    }

    fn is_empty(&self) -> bool {
        lock(&self.idle).is_empty() && lock(&self.shared).is_empty()
    }
}
