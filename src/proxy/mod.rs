//! The path of a request: from the listener to the last byte of the answer.
//!
//! Owns: the order of the steps. Refuses: policy of its own; every step is a call into the room that knows.
//! Invariant: a request uses one snapshot, and yields exactly one outcome however it ends.

mod answer;
mod asked;
mod attempt;
mod client_io;
mod connection;
mod deadlines;
mod handler;
mod intake;
mod journey;
mod listener;
mod reader;
mod record;
mod respond;
mod tunnel;

use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use client_io::ClientTimeouts;
pub use listener::{BindError, Inherited, Listener, tcp_of};

use crate::health::Budget;
use crate::live::{Shutdown, Store};
use crate::stats::Stats;
use crate::telemetry::tracer::Tracer;

/// What every connection shares.
#[derive(Debug)]
pub struct Proxy {
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub life: Arc<Shutdown>,
    /// Of the whole process, whatever the file becomes.
    pub budget: Mutex<Budget>,
    pub patience: ClientTimeouts,
    /// Where traces go, if anywhere.
    pub tracer: Option<Arc<Tracer>>,
    /// Sent where a head never comes.
    too_slow: Arc<[u8]>,
}

impl Proxy {
    pub fn new(
        store: Arc<Store>,
        stats: Arc<Stats>,
        life: Arc<Shutdown>,
        patience: ClientTimeouts,
        tracer: Option<Arc<Tracer>>,
    ) -> Self {
        let budget = Mutex::new(Budget::new(Instant::now()));
        Self { store, stats, life, budget, patience, tracer, too_slow: connection::too_slow() }
    }
}
