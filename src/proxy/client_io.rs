//! The application's byte stream, and the state of its connection: idle, reading a head, busy, stalled.
//!
//! Invariant: bytes pass unchanged; tracking costs no system call and no timer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::framing::{Fault, Framing};

/// Timeouts of applications' connections.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimeouts {
    /// Time limit of a head, from its first byte; then 408.
    pub head: Duration,
    /// Limit of the pause between two pieces of a body; then 408.
    pub body: Duration,
    /// Limit of the time between two requests; the connection is then closed.
    pub idle: Duration,
    /// Limit of the time without a write while an answer is pending; the connection is then closed.
    pub write: Duration,
    /// Time without a byte after which a stream that holds reasoning back sends a keep-alive comment.
    pub quiet: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(300),
            quiet: Duration::from_secs(15),
        }
    }
}

/// Timeout that a connection has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Head,
    Idle,
    Write,
}

impl Overdue {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "slow_head",
            Self::Idle => "idle",
            Self::Write => "slow_reader",
        }
    }
}

const NEVER: u64 = u64::MAX;

/// State shared by a connection's stream, its task and its requests. Times are ms since the connection was accepted.
#[derive(Debug)]
pub(super) struct ConnActivity {
    accepted: Instant,
    /// Number of requests in flight.
    busy: AtomicU32,
    /// Number of requests so far, and the number of the first one with a framing fault.
    requests: AtomicU64,
    fault: AtomicU64,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    write_since: AtomicU64,
    /// Number of answers that offered data and were not polled again: over HTTP/2 a peer can stall them.
    giving: AtomicU32,
    given_at: AtomicU64,
    /// True if the head missed its timeout: the stream sends the 408 and ends.
    expired: AtomicBool,
    /// True after an upgrade to another protocol.
    switched: AtomicBool,
}

impl ConnActivity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            accepted: Instant::now(),
            busy: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            fault: AtomicU64::new(NEVER),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            write_since: AtomicU64::new(NEVER),
            giving: AtomicU32::new(0),
            given_at: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            switched: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// Begins a request. Returns its guard, and a framing fault that its parsed head does not show.
    pub(super) fn begin(self: &Arc<Self>) -> (Busy, Option<Fault>) {
        self.busy.fetch_add(1, Relaxed);
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        let (first, fault) = unpack(self.fault.load(Relaxed));
        (Busy { activity: Arc::clone(self), gives: false }, fault.filter(|_| first <= number))
    }

    pub(super) fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    pub(super) fn expire(&self) {
        self.expired.store(true, Relaxed);
    }

    /// True if a request has begun.
    pub(super) fn is_used(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Instant at which the last answer ended.
    pub(super) fn idle_since(&self) -> Instant {
        self.accepted + Duration::from_millis(self.idle_since.load(Relaxed))
    }

    /// Deadline of the connection in its present state, and its kind.
    pub(super) fn due(&self, timeouts: &ClientTimeouts) -> Option<(Instant, Overdue)> {
        let after = |since: u64, wait: Duration| self.accepted + Duration::from_millis(since) + wait;
        let write = self.write_since.load(Relaxed);
        if write != NEVER {
            return Some((after(write, timeouts.write), Overdue::Write));
        }
        if self.giving.load(Relaxed) > 0 {
            return Some((after(self.given_at.load(Relaxed), timeouts.write), Overdue::Write));
        }
        if self.busy.load(Relaxed) > 0 {
            return None;
        }
        let idle = self.idle_since.load(Relaxed);
        match self.head_since.load(Relaxed) {
            NEVER => Some((after(idle, timeouts.idle), Overdue::Idle)),
            head => Some((after(head.max(idle), timeouts.head), Overdue::Head)),
        }
    }
}

/// Guard of a request in flight.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<ConnActivity>,
    gives: bool,
}

impl Busy {
    /// Notes whether the answer has just offered data; false once it is polled again.
    pub(super) fn gives(&mut self, now: bool) {
        let activity = &self.activity;
        match (std::mem::replace(&mut self.gives, now), now) {
            (false, true) => {
                activity.given_at.store(activity.now(), Relaxed);
                activity.giving.fetch_add(1, Relaxed);
            }
            (true, false) => {
                activity.giving.fetch_sub(1, Relaxed);
            }
            _ => {}
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.gives(false);
        if self.activity.busy.fetch_sub(1, Relaxed) == 1 {
            self.activity.idle_since.store(self.activity.now(), Relaxed);
        }
    }
}

/// Packs a request's number and its fault into one word.
fn pack(number: u64, fault: Fault) -> u64 {
    let fault = match fault {
        Fault::TwoLengths => 0,
        Fault::Fragment => 1,
        Fault::Unclear => 2,
    };
    (number << 2) | fault
}

fn unpack(word: u64) -> (u64, Option<Fault>) {
    let fault = match word & 3 {
        0 => Some(Fault::TwoLengths),
        1 => Some(Fault::Fragment),
        2 => Some(Fault::Unclear),
        _ => None,
    };
    (word >> 2, fault)
}

/// Stream between hyper and the client.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    framing: Framing,
    activity: Arc<ConnActivity>,
    /// Answer to a head that misses its timeout.
    too_slow: Arc<[u8]>,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, activity: Arc<ConnActivity>, too_slow: Arc<[u8]>) -> Self {
        Self { stream, framing: Framing::default(), activity, too_slow }
    }

    fn saw(&mut self, bytes: &[u8]) {
        if self.activity.switched.load(Relaxed) {
            self.framing.stop();
        }
        self.framing.push(bytes);
        if let Some((number, fault)) = self.framing.fault() {
            self.activity.fault.store(pack(number, fault), Relaxed);
        }
        let head = &self.activity.head_since;
        match (self.framing.in_head(), head.load(Relaxed)) {
            (true, NEVER) => head.store(self.activity.now(), Relaxed),
            (false, since) if since != NEVER => head.store(NEVER, Relaxed),
            _ => {}
        }
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        let since = &self.activity.write_since;
        match (&polled, since.load(Relaxed)) {
            (Poll::Pending, NEVER) => since.store(self.activity.now(), Relaxed),
            (Poll::Ready(_), stuck) if stuck != NEVER => since.store(NEVER, Relaxed),
            _ => {}
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.activity.expired.load(Relaxed) {
            // The answer is sent best-effort: the stream ends here in any case.
            drop(Pin::new(&mut this.stream).poll_write(cx, &this.too_slow));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            this.saw(bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_follows_what_the_connection_does() {
        let activity = ConnActivity::new();
        let timeouts = ClientTimeouts::default();
        let due = || activity.due(&timeouts).map(|(at, overdue)| ((at - activity.accepted).as_secs(), overdue));
        assert_eq!(due(), Some((75, Overdue::Idle)));
        activity.head_since.store(2000, Relaxed);
        assert_eq!(due(), Some((12, Overdue::Head)));
        let (busy, fault) = activity.begin();
        assert_eq!((due(), fault), (None, None));
        activity.write_since.store(1000, Relaxed);
        assert_eq!(due(), Some((301, Overdue::Write)));
        activity.write_since.store(NEVER, Relaxed);
        drop(busy);
        assert_eq!(due().map(|due| due.1), Some(Overdue::Head));
        activity.fault.store(pack(3, Fault::Fragment), Relaxed);
        assert_eq!(activity.begin().1, None);
        assert_eq!(activity.begin().1, Some(Fault::Fragment));
    }
}
