//! Whether an attempt has a connection, and whether that had carried a request before.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

const NONE: u8 = 0;
const NEW: u8 = 1;
const REUSED: u8 = 2;

/// Kind of the connection of the running attempt. It is set while the attempt is awaited, so that an attempt whose
/// future is dropped tells it as well.
#[derive(Debug, Default)]
pub struct ConnUse(AtomicU8);

impl ConnUse {
    /// Notes the connection that carries the attempt.
    pub fn set(&self, is_reused: bool) {
        self.0.store(if is_reused { REUSED } else { NEW }, Relaxed);
    }

    /// True if the connection had carried a request before; `None` without a connection.
    pub fn is_reused(&self) -> Option<bool> {
        match self.0.load(Relaxed) {
            NEW => Some(false),
            REUSED => Some(true),
            _ => None,
        }
    }

    /// Forgets the connection, for the next attempt.
    pub(super) fn clear(&self) {
        self.0.store(NONE, Relaxed);
    }
}
