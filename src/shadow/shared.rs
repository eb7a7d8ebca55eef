//! State that the threads of shadows share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio_util::task::TaskTracker;

use super::budget::Budget;
use super::instance::Instance;
use super::offer::Offer;
use super::targets::Receivers;
use super::verdicts::Verdicts;
use crate::model::CopyResult;
use crate::records::Writer;
use crate::stats::{PairingStats, Stats, lock};
use crate::telemetry::Tracer;

/// State of all shadows of the process.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stats: Arc<Stats>,
    /// Exporter of traces, if configured.
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) receivers: Receivers,
    /// Money for copies; `None` before the first `[shadow]`.
    pub(super) budget: Mutex<Option<Budget>>,
    /// Writer of records, if the file has `[records]`.
    pub(super) records: Mutex<Option<Writer>>,
    /// Verdicts on the pairs since the start.
    pub(super) verdicts: Verdicts,
    /// True if the file in force asks for content in the records. A request that began before has no content either once
    /// this is false.
    pub(super) has_content: AtomicBool,
    pub(super) instance: Instance,
    /// Requests whose copies are running.
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn new(stats: Arc<Stats>, tracer: Option<Arc<Tracer>>) -> Self {
        Self {
            stats,
            tracer,
            receivers: Receivers::default(),
            budget: Mutex::default(),
            records: Mutex::default(),
            verdicts: Verdicts::default(),
            has_content: AtomicBool::new(false),
            instance: Instance::random(),
            tasks: TaskTracker::new(),
        }
    }

    /// Counters of the copies of a request for this receiver.
    pub(super) fn pairing(&self, offer: &Offer, to: crate::model::BackendId) -> Arc<PairingStats> {
        let config = &offer.in_force.snapshot.config;
        self.stats.shadow.pairing(&config[offer.choice.route()].name, &config[to].name)
    }

    /// Counts a result of the noise leg of a request.
    pub(super) fn count_noise(&self, offer: &Offer, result: CopyResult) {
        let config = &offer.in_force.snapshot.config;
        self.stats.shadow.noise(&config[offer.choice.route()].name).leg(result);
    }

    /// Money left for copies, in USD; `None` before the first `[shadow]`.
    pub(super) fn budget_left(&self, now: Instant) -> Option<f64> {
        lock(&self.budget).as_mut().map(|budget| budget.left(now))
    }
}
