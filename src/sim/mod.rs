//! Simulated servers, one for each engine. They are part of the product: the demo and the tests run on them.
//!
//! Owns: wire formats as real servers speak them, latency, and faults on request. Refuses: models; the words mean
//! nothing. It imports none of the other rooms, so that it cannot agree with them by sharing their mistakes.
//! Invariant: the same request gets the same words from every engine, unless a difference is planted or recordings show
//! that the engine answers otherwise.

mod body;
mod calls;
mod config;
mod differences;
mod engines;
mod faulty;
mod metrics;
mod params;
mod prompt;
mod pydantic;
mod quirks;
mod responses;
mod routes;
mod schema;
mod server;
mod simulator;
mod stamp;
mod state;
mod step;
mod wire;
mod words;

pub use config::{Behaviour, Collector, Fault, Load, SimConfig, Template, TracedRequest};
pub use differences::{Difference, Differences, Form};
pub use state::{Aborts, Received};
pub use wire::Wire;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use state::SharedState;

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    shared: Arc<SharedState>,
    task: JoinHandle<()>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on a free port of the loopback interface.
///
/// # Errors
/// When no port can be bound.
pub async fn start(config: SimConfig, behaviour: Behaviour) -> std::io::Result<Sim> {
    start_at(SocketAddr::from(([127, 0, 0, 1], 0)), config, behaviour).await
}

/// Starts a server at this address.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start_at(address: SocketAddr, config: SimConfig, behaviour: Behaviour) -> std::io::Result<Sim> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(SharedState::new(config, behaviour));
    let task = tokio::spawn(server::run(listener, Arc::clone(&shared)));
    Ok(Sim { address, shared, task })
}

impl Sim {
    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL for a client or a `[backend.X]`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Replaces the behaviour, for requests that come from now on.
    pub fn set(&self, behaviour: Behaviour) {
        self.shared.set_behaviour(behaviour);
    }

    /// Number of requests whose head arrived.
    pub fn requests(&self) -> u64 {
        self.shared.requests()
    }

    /// Number of answers that were sent to their end.
    pub fn answered(&self) -> u64 {
        self.shared.answered()
    }

    /// Returns the newest 4,096 requests, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received()
    }

    /// Number of connections that were ever opened.
    pub fn opened(&self) -> u64 {
        self.shared.opened()
    }

    /// Number of open connections, as it changes.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections.subscribe()
    }

    /// Number of requests being answered, as it changes.
    pub fn in_flight(&self) -> watch::Receiver<u64> {
        self.shared.in_flight.subscribe()
    }

    /// Returns the answers whose client went away before their end, as they change.
    pub fn aborts(&self) -> watch::Receiver<Aborts> {
        self.shared.aborts.subscribe()
    }
}
