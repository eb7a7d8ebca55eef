//! Settings of the whole process: `[server]`, `[limits]`, `[failover]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[server]`. A change of `listen`, `admin` or `threads` needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address that applications connect to.
    pub listen: Listen,
    /// Address of `/healthz`, `/readyz`, `/status` and `/metrics`.
    pub admin: SocketAddr,
    /// Limit, in bytes, up to which a request's body is read; a larger one streams to the baseline unread.
    pub max_body: u64,
    /// Time that running answers get to finish after SIGTERM.
    pub drain: Duration,
    /// Number of worker threads.
    pub threads: usize,
    /// True if one line is logged for each request.
    pub request_log: bool,
    /// True if a request may name its backend in `x-shiftgate-backend`.
    pub allow_override: bool,
    /// Resolved path of the file that keeps what survives a restart; `None`: in memory only.
    pub state: Option<PathBuf>,
}

/// Address of the listener for applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// `[limits]` of the whole process: above `head` a request gets 431, above the others 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of requests in flight at once.
    pub in_flight: usize,
    /// Number of open connections from applications.
    pub connections: usize,
    /// Bytes of request bodies and answers held in memory at once.
    pub body_bytes: u64,
    /// Bytes of one request's head.
    pub head: usize,
}

/// `[failover]`: moving a candidate's failed request to the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failover {
    /// True if failed requests are moved.
    pub enabled: bool,
    /// Share, 0 to 1, of the requests that ran in the last ten seconds that may be moved; ten a second always may.
    pub retry_budget: f64,
    /// Time without content after which a candidate's stream gets its head, and as long between two pings; `None`: never.
    pub early_head: Option<Duration>,
}
