//! The served side of a pair: what the request's own path hands over. It copies bytes and takes a lock for the first
//! and the last step; it never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::capture::Captured;
use crate::model::End;
use crate::outcome::Outcome;

/// The answer that the application got.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) outcome: Outcome,
    pub(super) captured: Captured,
    /// Time for which the answer waited for the application.
    pub(super) client_waits: Duration,
    /// True if another attempt than the copied one answered.
    pub(super) is_elsewhere: bool,
}

/// A served request that is being copied.
#[derive(Debug)]
pub struct ServedCopy {
    captured: Captured,
    client_waits: Duration,
    is_elsewhere: bool,
    /// False once no copy of the request is running.
    is_wanted: Arc<AtomicBool>,
    /// Ends the copies.
    cancel: CancellationToken,
    end: oneshot::Sender<Box<Served>>,
}

impl ServedCopy {
    pub(super) const fn new(
        captured: Captured,
        is_wanted: Arc<AtomicBool>,
        cancel: CancellationToken,
        end: oneshot::Sender<Box<Served>>,
    ) -> Self {
        Self { captured, client_waits: Duration::ZERO, is_elsewhere: false, is_wanted, cancel, end }
    }

    /// Adds bytes that the application gets.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_wanted.load(Relaxed) && !self.is_elsewhere {
            self.captured.push(bytes);
        }
    }

    /// Adds time for which the answer waited for the application.
    pub fn waited_for_client(&mut self, time: Duration) {
        self.client_waits += time;
    }

    /// Cancels the copies: another attempt is going to answer.
    pub fn answers_elsewhere(&mut self) {
        self.is_elsewhere = true;
        self.cancel.cancel();
    }

    /// Hands the request over at its end. An application that left before it cancels the copies.
    pub fn ends(self, outcome: Outcome) {
        if matches!(outcome.end, End::ClientGone | End::Drained) {
            self.cancel.cancel();
        }
        let Self { captured, client_waits, is_elsewhere, end, .. } = self;
        // Without a copy nobody waits for the answer.
        drop(end.send(Box::new(Served { outcome, captured, client_waits, is_elsewhere })));
    }
}
