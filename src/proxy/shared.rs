//! Everything that the connections of applications share.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::client_io::ClientTimeouts;
use crate::health::Budget;
use crate::live::{Shutdown, Store};
use crate::stats::Stats;
use crate::telemetry::Sinks;

/// The state that every connection shares.
#[derive(Debug)]
pub struct Proxy {
    /// The state in force.
    pub store: Arc<Store>,
    /// Counters and gauges.
    pub stats: Arc<Stats>,
    /// The stages of the end.
    pub shutdown: Arc<Shutdown>,
    /// Failovers of the whole process, whatever the file becomes.
    pub budget: Mutex<Budget>,
    /// Times that applications get.
    pub timeouts: ClientTimeouts,
    /// Listeners to outcomes.
    pub sinks: Sinks,
}

impl Proxy {
    /// A proxy that has served nothing.
    pub fn new(
        store: Arc<Store>,
        stats: Arc<Stats>,
        shutdown: Arc<Shutdown>,
        timeouts: ClientTimeouts,
        sinks: Sinks,
    ) -> Self {
        Self { store, stats, shutdown, budget: Mutex::new(Budget::new(Instant::now())), timeouts, sinks }
    }
}
