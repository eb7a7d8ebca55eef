//! The stages of shutdown: draining, closing, cut.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// One token per stage; tasks wait for the token of their stage.
#[derive(Debug, Default)]
pub struct Shutdown {
    /// The process is not ready: `/readyz` answers 503.
    pub draining: CancellationToken,
    /// No new connections are accepted; open ones end after their current answers.
    pub closing: CancellationToken,
    /// Answers in flight end at once.
    pub cut: CancellationToken,
    /// Connections and tunnels.
    pub tasks: TaskTracker,
}
