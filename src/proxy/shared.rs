//! State shared by all connections of applications.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::client_io::ClientTimeouts;
use crate::health::Budget;
use crate::live::{Shutdown, Store};
use crate::rollback::Guards;
use crate::shadow::Shadows;
use crate::stats::Stats;
use crate::telemetry::Sinks;

/// State shared by all connections.
#[derive(Debug)]
pub struct Proxy {
    /// The state in force.
    pub store: Arc<Store>,
    /// Counters and gauges.
    pub stats: Arc<Stats>,
    /// The stages of shutdown.
    pub shutdown: Arc<Shutdown>,
    /// Retry budget of the process; kept across reloads.
    pub budget: Mutex<Budget>,
    /// Timeouts of applications.
    pub timeouts: ClientTimeouts,
    /// Listeners to outcomes.
    pub sinks: Sinks,
    /// Copies of requests.
    pub shadows: Arc<Shadows>,
    /// Guards of the candidates.
    pub guards: Arc<Guards>,
}

impl Proxy {
    /// Creates a proxy without requests.
    pub fn new(
        store: Arc<Store>,
        stats: Arc<Stats>,
        shutdown: Arc<Shutdown>,
        timeouts: ClientTimeouts,
        (sinks, shadows, guards): (Sinks, Arc<Shadows>, Arc<Guards>),
    ) -> Self {
        Self {
            store,
            stats,
            shutdown,
            budget: Mutex::new(Budget::new(Instant::now())),
            timeouts,
            sinks,
            shadows,
            guards,
        }
    }
}
