//! Bounded memory for the bytes of answers that are held.

use crate::stats::{Gauge, Permit};

/// A leg's share of a gauge of held bytes. Dropping it gives the share back.
#[derive(Debug)]
pub struct Room {
    permit: Permit,
    limit: u64,
}

impl Room {
    /// An empty share of `gauge`, whose level may not pass `limit` bytes.
    pub fn of(gauge: &Gauge, limit: u64) -> Self {
        Self { permit: gauge.empty_permit(), limit }
    }

    /// Takes room for `bytes` more; false, and nothing changes, where there is none.
    pub fn hold(&mut self, bytes: u64) -> bool {
        bytes == 0 || self.permit.try_grow(bytes, self.limit)
    }

    /// Gives all of it back.
    pub fn release(&mut self) {
        self.permit.release();
    }
}
