//! The stages of the end: draining, closing, cut.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Told once for each stage; every task listens for its own.
#[derive(Debug, Default)]
pub struct Shutdown {
    /// Not ready any more: `/readyz` says so.
    pub draining: CancellationToken,
    /// No new connections; those that are open end with their running answers.
    pub closing: CancellationToken,
    /// Running answers end now.
    pub cut: CancellationToken,
    /// Connections and tunnels.
    pub tasks: TaskTracker,
}
