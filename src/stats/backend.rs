//! Numbers of one backend.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::count::{Count, Latency, lock};
use super::gauge::Gauge;
use super::histogram::{HTTP_BOUNDS, Histogram, View};
use crate::model::{CancelledBy, Cause};
use crate::translate::answer::Notes;
use crate::translate::{Action, Ledger, Pinned};

/// Counters and levels of one backend, kept across reloads. All of served legs only.
#[derive(Debug, Default)]
pub struct BackendStats {
    /// Requests sent to it, replays included.
    pub attempts: Count,
    /// Requests that its own answer was passed on for.
    pub served: Count,
    /// Legs that ended without a complete good answer through its fault.
    pub errors: Count,
    /// Legs that another backend then answered for.
    pub failovers: Count,
    /// Requests sent once more because a reused connection had died.
    pub replays: Count,
    /// Refusals that our configuration is to blame for.
    pub misconfigured: Count,
    /// Requests that it is answering.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Prompt tokens, as the backend counted them.
    pub input_tokens: Count,
    /// Generated tokens, as the backend counted them.
    pub output_tokens: Count,
    /// Number of answers whose cost is known.
    pub priced: Count,
    /// Cost of these answers, in 10⁻⁹ USD.
    pub nano_usd: Count,
    /// Good polls of its metrics pages.
    pub polls_ok: Count,
    /// Failed polls of its metrics pages.
    pub polls_failed: Count,
    /// Requests sent once more after this backend failed: by cause, and the last as a replay to itself.
    retries: [Count; Cause::ALL.len() + 1],
    /// Attempts ended before the backend did, as [`CancelledBy::ALL`].
    cancelled: [Count; CancelledBy::ALL.len()],
    /// Lifetimes of its connections.
    pub lifetimes: Lifetimes,
    /// Times from sending a streamed request to its first generated token.
    pub ttft: Latency,
    /// Times from sending a request to the end of its complete answer.
    pub total: Latency,
    /// By field and what was done to it; fields are those of the translation's tables.
    translated: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// By what was noticed in an answer.
    noticed: Mutex<BTreeMap<&'static str, u64>>,
}

/// Lifetimes of connections.
#[derive(Debug)]
pub struct Lifetimes(Histogram);

impl Default for Lifetimes {
    fn default() -> Self {
        Self(Histogram::new(&HTTP_BOUNDS))
    }
}

impl Lifetimes {
    /// Adds one connection.
    pub fn record(&self, lived: Duration) {
        self.0.observe(lived.as_secs_f64(), None);
    }

    /// The histogram at this moment, in seconds.
    pub fn view(&self) -> View {
        self.0.view()
    }
}

/// The word for a request sent again on a fresh connection.
const REPLAY: &str = "replay";

impl BackendStats {
    /// Counts a request sent once more after this backend failed: to another backend for `cause`, or as a replay.
    pub fn retried(&self, cause: Option<Cause>) {
        if let Some(count) = self.retries.get(cause.map_or(Cause::ALL.len(), Cause::index)) {
            count.add(1);
        }
    }

    /// Counts an attempt that ended before the backend did.
    pub fn cancelled(&self, by: CancelledBy) {
        if let Some(count) = self.cancelled.get(by.index()) {
            count.add(1);
        }
    }

    /// Requests sent once more, by the word of their cause.
    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Cause::ALL.into_iter().map(Cause::as_str).chain([REPLAY]);
        words.zip(self.retries.iter().map(Count::get))
    }

    /// Attempts ended early, by the party that ended them.
    pub fn cancellations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CancelledBy::ALL.iter().map(|by| by.as_str()).zip(self.cancelled.iter().map(Count::get))
    }

    /// Counts the steps of one translation.
    pub fn translated(&self, ledger: &Ledger) {
        let mut counts = lock(&self.translated);
        for (field, action) in ledger.counted() {
            *counts.entry((field, action.as_str())).or_insert(0) += 1;
        }
    }

    /// Counts a request that its translation showed to be pinned.
    pub fn pinned(&self, pinned: &Pinned) {
        let mut ledger = Ledger::default();
        ledger.note(pinned.field.clone(), Action::Pinned, pinned.why);
        self.translated(&ledger);
    }

    /// Counts what one answer needed.
    pub fn noticed(&self, notes: Notes) {
        if notes == Notes::default() {
            return;
        }
        let mut counts = lock(&self.noticed);
        for note in notes.iter() {
            *counts.entry(note.as_str()).or_insert(0) += 1;
        }
    }

    /// Answers by what they needed.
    pub fn notices(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.noticed).clone()
    }

    /// Steps of translations by field and action.
    pub fn translations(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        lock(&self.translated).clone()
    }

    /// Cost of the priced answers, in USD; `None` while no answer could be priced.
    pub fn cost_usd(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep their cents")]
        let usd = self.nano_usd.get() as f64 / 1e9;
        (self.priced.get() > 0).then_some(usd)
    }
}
