//! The state that all connections of one simulated server share: its behaviour and the counts of what it was asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::watch;

use super::config::{Behaviour, SimConfig};
use super::metrics::TokenCounts;

/// Number of requests kept for [`SharedState::received`]; beyond it the oldest is dropped. More than any test sends
/// before it looks.
const MAX_RECEIVED: usize = 4096;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method of the request line.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Answers whose client went away before their end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Aborts {
    /// Number since the start.
    pub count: u64,
    /// Time of the newest one.
    pub last: Option<Instant>,
}

/// Shared by all connections of one server.
#[derive(Debug)]
pub(super) struct SharedState {
    pub(super) config: SimConfig,
    behaviour: Mutex<Arc<Behaviour>>,
    received: Mutex<VecDeque<Received>>,
    /// Requests whose head arrived.
    requests: AtomicU64,
    /// Answers that were sent to their end.
    answered: AtomicU64,
    /// Connections ever opened.
    opened: AtomicU64,
    pub(super) tokens: TokenCounts,
    /// Open connections.
    pub(super) connections: watch::Sender<u64>,
    /// Requests being answered.
    pub(super) in_flight: watch::Sender<u64>,
    pub(super) aborts: watch::Sender<Aborts>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedState {
    pub(super) fn new(config: SimConfig, behaviour: Behaviour) -> Self {
        Self {
            config,
            behaviour: Mutex::new(Arc::new(behaviour)),
            received: Mutex::default(),
            requests: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            tokens: TokenCounts::default(),
            connections: watch::Sender::new(0),
            in_flight: watch::Sender::new(0),
            aborts: watch::Sender::new(Aborts::default()),
        }
    }

    pub(super) fn behaviour(&self) -> Arc<Behaviour> {
        Arc::clone(&lock(&self.behaviour))
    }

    pub(super) fn set_behaviour(&self, behaviour: Behaviour) {
        *lock(&self.behaviour) = Arc::new(behaviour);
    }

    /// Keeps a request for [`received`](Self::received).
    pub(super) fn keep(&self, received: Received) {
        let mut kept = lock(&self.received);
        if kept.len() == MAX_RECEIVED {
            kept.pop_front();
        }
        kept.push_back(received);
    }

    /// Returns the newest requests, oldest first.
    pub(super) fn received(&self) -> Vec<Received> {
        lock(&self.received).iter().cloned().collect()
    }

    /// Counts a request and returns its number, from 1.
    pub(super) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn count_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn count_abort(&self) {
        self.aborts.send_modify(|aborts| {
            aborts.count += 1;
            aborts.last = Some(Instant::now());
        });
    }
}
