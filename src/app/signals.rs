//! The signals that end the process or reload its file.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::StartError;

/// Handlers of the signals for shutdown and reload. Installed before the process announces itself: until then a signal
/// would kill it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers. Fails if the system refuses one.
    pub fn new() -> Result<Self, StartError> {
        let install = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next_is_hangup(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.hangup.recv() => true,
        }
    }

    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
