//! Handles of the receivers: with connections and counters of their own, so that copies and served requests share no
//! pool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::backend::{PrepareError, Target};
use crate::health::State;
use crate::stats::lock;

/// Longest pause after a 429 to a copy.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Pause after a 429 to a copy without `retry-after`.
const PAUSE: Duration = Duration::from_secs(1);
/// Share of `max_waiting` above which a backend gets no copies.
const WAITING: f64 = 0.5;
/// Share of `max_kv_usage` above which a backend gets no copies.
const KV_USAGE: f64 = 0.9;

/// Handles by the backend's name. Bound: backends of the file; those that left it are dropped at a reload.
#[derive(Debug, Default)]
pub(super) struct Receivers(Mutex<BTreeMap<String, Receiver>>);

#[derive(Debug)]
struct Receiver {
    /// The handle that served requests use.
    served: Arc<Target>,
    timeout: Duration,
    own: Arc<Target>,
    /// End of the pause that the backend asked for.
    paused_until: Option<Instant>,
}

impl Receivers {
    /// Returns the handle for copies to this backend.
    pub(super) fn of(&self, served: &Arc<Target>, timeout: Duration) -> Result<Arc<Target>, PrepareError> {
        let mut receivers = lock(&self.0);
        let before = receivers.get(&served.config.name);
        if let Some(known) = before.filter(|known| Arc::ptr_eq(&known.served, served) && known.timeout == timeout) {
            return Ok(Arc::clone(&known.own));
        }
        let own = Arc::new(served.for_copies(timeout, before.map(|before| before.own.as_ref()))?);
        let paused_until = before.and_then(|before| before.paused_until);
        let receiver = Receiver { served: Arc::clone(served), timeout, own: Arc::clone(&own), paused_until };
        receivers.insert(served.config.name.clone(), receiver);
        Ok(own)
    }

    /// Drops the handles of backends that `is_in_file` does not know.
    pub(super) fn keep(&self, is_in_file: impl Fn(&str) -> bool) {
        lock(&self.0).retain(|name, _| is_in_file(name));
    }

    /// Pauses copies to this backend after its 429.
    pub(super) fn pause(&self, name: &str, retry_after: Option<Duration>, now: Instant) {
        let until = now + retry_after.unwrap_or(PAUSE).min(MAX_PAUSE);
        if let Some(receiver) = lock(&self.0).get_mut(name) {
            receiver.paused_until = receiver.paused_until.max(Some(until));
        }
    }

    /// True if copies to this backend are paused.
    pub(super) fn is_paused(&self, name: &str, now: Instant) -> bool {
        lock(&self.0).get(name).and_then(|receiver| receiver.paused_until).is_some_and(|until| now < until)
    }
}

/// True if a candidate may get copies: its breaker is closed, it is not cooling down, and its load is low.
/// `is_withdrawn` is true for a candidate without served requests, whose breaker says nothing.
pub(super) fn is_candidate_well(served: &Target, is_withdrawn: bool, now: Instant) -> bool {
    let health = served.health.report(now);
    let is_closed = is_withdrawn || health.state == State::Closed;
    is_closed && !health.cooling && is_load_low(served, now)
}

/// True if the load of a backend's servers is well below the limits above which it would get no served requests.
pub(super) fn is_load_low(served: &Target, now: Instant) -> bool {
    let reading = served.load.reading(now);
    let is_above =
        |value: Option<f64>, limit: Option<f64>| matches!((value, limit), (Some(value), Some(limit)) if value > limit);
    #[expect(clippy::cast_precision_loss, reason = "the file allows a million")]
    let waiting = served.config.max_waiting.map(|limit| limit as f64 * WAITING);
    let kv_usage = served.config.max_kv_usage.map(|limit| limit * KV_USAGE);
    !is_above(reading.waiting, waiting) && !is_above(reading.kv_usage, kv_usage)
}
