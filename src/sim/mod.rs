//! Simulated servers, one for each engine: part of the product, because the demo runs on them and every test leans on
//! them.
//!
//! Owns: wire formats as real servers speak them, latency, and cruelty on request. Refuses: models; the words mean
//! nothing. It imports none of the other rooms, so that it cannot agree with them by sharing their mistakes.
//! Invariant: the same request gets the same words from the same kind of server.

mod ask;
mod body;
mod compatible;
mod config;
mod dashscope;
mod engine;
mod io;
mod metrics;
mod openai;
mod prompt;
mod pydantic;
mod responses;
mod routes;
mod schema;
mod server;
mod sglang;
mod tgi;
mod trtllm;
mod vllm;

pub use config::{Behaviour, Collector, Fault, Load, SimConfig, Template, Traced, Wire};

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Requests kept for a test to look at; older ones are forgotten.
const MAX_RECEIVED: usize = 4096;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Shared by all connections of one server.
#[derive(Debug)]
struct Shared {
    config: SimConfig,
    behaviour: Mutex<Arc<Behaviour>>,
    received: Mutex<VecDeque<Received>>,
    requests: AtomicU64,
    answered: AtomicU64,
    tokens: metrics::Tokens,
    connections: watch::Sender<u64>,
    opened: AtomicU64,
    in_flight: watch::Sender<u64>,
    aborts: watch::Sender<Aborts>,
}

/// Answers that the other side gave up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aborts {
    pub count: u64,
    pub last: Option<Instant>,
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on a free port of the loopback.
pub async fn start(config: SimConfig, behaviour: Behaviour) -> std::io::Result<Sim> {
    start_at(SocketAddr::from(([127, 0, 0, 1], 0)), config, behaviour).await
}

/// Starts a server at an address of its own.
pub async fn start_at(address: SocketAddr, config: SimConfig, behaviour: Behaviour) -> std::io::Result<Sim> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared {
        config,
        behaviour: Mutex::new(Arc::new(behaviour)),
        received: Mutex::default(),
        requests: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        tokens: metrics::Tokens::default(),
        connections: watch::Sender::new(0),
        opened: AtomicU64::new(0),
        in_flight: watch::Sender::new(0),
        aborts: watch::Sender::new(Aborts::default()),
    });
    let task = tokio::spawn(server::run(listener, Arc::clone(&shared)));
    Ok(Sim { address, shared, task })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client or a `[backend.X]` is given.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn set(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = Arc::new(behaviour);
    }

    /// Requests whose head arrived.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Answers that were sent to their end.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// The newest requests, oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).iter().cloned().collect()
    }

    /// Connections that were ever opened.
    pub fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }

    /// Open connections, as they change.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections.subscribe()
    }

    /// Requests being answered, as they change.
    pub fn in_flight(&self) -> watch::Receiver<u64> {
        self.shared.in_flight.subscribe()
    }

    pub fn aborts(&self) -> watch::Receiver<Aborts> {
        self.shared.aborts.subscribe()
    }
}

impl Shared {
    fn behaviour(&self) -> Arc<Behaviour> {
        Arc::clone(&lock(&self.behaviour))
    }

    fn keep(&self, received: Received) {
        let mut kept = lock(&self.received);
        if kept.len() == MAX_RECEIVED {
            kept.pop_front();
        }
        kept.push_back(received);
    }
}
