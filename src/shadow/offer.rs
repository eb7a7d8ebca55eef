//! A request handed over for copying, and the receivers of its copies.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::capture::Parts;
use super::served::Served;
use crate::choose::{Choice, Sample};
use crate::config::Shadow;
use crate::exchange::{Inbound, Room};
use crate::live::InForce;
use crate::model::{BackendId, TraceContext};

/// Receivers of the copies of one request. Copies to candidates are compared with the baseline's answer.
pub(super) fn receivers(shadow: &Shadow, baseline: BackendId, served: BackendId) -> Vec<BackendId> {
    let is_compared = |to: &&BackendId| **to != served && (**to == baseline || served == baseline);
    shadow.to.iter().filter(is_compared).copied().collect()
}

/// A request whose copies are decided on the thread of shadows.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) in_force: Arc<InForce>,
    pub(super) inbound: Arc<Inbound>,
    pub(super) choice: Choice,
    pub(super) sample: Sample,
    pub(super) trace: Option<TraceContext>,
    pub(super) is_wanted: Arc<AtomicBool>,
    pub(super) cancel: CancellationToken,
    /// Parts of the served answer that come before its end.
    pub(super) parts: Parts,
    pub(super) served: oneshot::Receiver<Box<Served>>,
    /// Memory of the application's body.
    pub(super) room: Room,
}

impl Offer {
    /// The backend that serves the request.
    pub(super) fn served_by(&self) -> BackendId {
        self.choice.backend()
    }

    /// Receivers of its copies.
    pub(super) fn receivers(&self) -> Vec<BackendId> {
        let config = &self.in_force.snapshot.config;
        config.shadow.as_ref().map(|shadow| receivers(shadow, config.baseline, self.served_by())).unwrap_or_default()
    }

    /// True if the baseline is to be asked once more.
    pub(super) fn has_noise(&self) -> bool {
        self.sample.has_noise && self.served_by() == self.in_force.snapshot.config.baseline
    }
}
