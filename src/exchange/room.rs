//! Bounded memory for held bytes of answers.

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

    /// Returns an empty share of the same gauge.
    pub fn sibling(&self) -> Self {
        Self { permit: self.permit.sibling(), limit: self.limit }
    }

    /// Adds `bytes` and returns true; returns false without a change at the limit.
    pub fn hold(&mut self, bytes: u64) -> bool {
        bytes == 0 || self.permit.try_grow(bytes, self.limit)
    }

    /// Gives back everything.
    pub fn release(&mut self) {
        self.permit.release();
    }
}
