//! Counters of one backend.

use std::collections::BTreeMap;
use std::time::Duration;

use super::count::{Count, Latency};
use super::gauge::Gauge;
use super::histogram::{HTTP_BOUNDS, Histogram, View};
use crate::model::{CancelledBy, Cause};
use crate::translate::answer::{Note, Notes};
use crate::translate::{Action, FieldId, Ledger, Pinned};

/// Counters and levels of one backend, kept across reloads. They count served legs only.
#[derive(Debug, Default)]
pub struct BackendStats {
    /// Requests sent to it, replays included.
    pub attempts: Count,
    /// Requests whose answer came from this backend.
    pub served: Count,
    /// Legs without a complete good answer, by the backend's fault.
    pub errors: Count,
    /// Legs after which another backend was asked.
    pub failovers: Count,
    /// Heads sent before the backend had content.
    pub early_heads: Count,
    /// Requests sent again because a reused connection had died.
    pub replays: Count,
    /// Rejections caused by our configuration.
    pub misconfigured: Count,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Prompt tokens, as the backend counted them.
    pub input_tokens: Count,
    /// Generated tokens, as the backend counted them.
    pub output_tokens: Count,
    /// Answers with a known cost.
    pub priced: Count,
    /// Cost of these answers, in 10⁻⁹ USD.
    pub nano_usd: Count,
    /// Successful polls of its metrics pages.
    pub polls_ok: Count,
    /// Failed polls of its metrics pages.
    pub polls_failed: Count,
    /// Lists of its models that were read.
    pub model_lists_ok: Count,
    /// Failed questions for the list of its models.
    pub model_lists_failed: Count,
    /// Requests sent again after this backend failed: by cause, the last entry for replays to itself.
    retries: [Count; Cause::ALL.len() + 1],
    /// Attempts cancelled before the backend ended them, in the order of [`CancelledBy::ALL`].
    cancelled: [Count; CancelledBy::ALL.len()],
    /// Lifetimes of its connections.
    pub lifetimes: Lifetimes,
    /// Times from sending a streamed request to its first generated token.
    pub ttft: Latency,
    /// Times from sending a request to the end of its complete answer.
    pub total: Latency,
    /// Fields changed by translations.
    translated: StepCounts,
    /// Repairs of answers, in the order of [`Note::ALL`].
    noticed: [Count; Note::ALL.len()],
}

/// Translation steps: one row per [`FieldId`], one column per [`Action`].
#[derive(Debug)]
struct StepCounts([[Count; Action::ALL.len()]; FieldId::COUNT]);

impl Default for StepCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
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

/// Label of a request sent again on a fresh connection.
const REPLAY: &str = "replay";

impl BackendStats {
    /// Counts a request sent again after this backend failed: to another backend for `cause`, or as a replay.
    pub fn retried(&self, cause: Option<Cause>) {
        if let Some(count) = self.retries.get(cause.map_or(Cause::ALL.len(), Cause::index)) {
            count.add(1);
        }
    }

    /// Counts an attempt cancelled before the backend ended it.
    pub fn cancelled(&self, by: CancelledBy) {
        if let Some(count) = self.cancelled.get(by.index()) {
            count.add(1);
        }
    }

    /// Requests sent again, by cause.
    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Cause::ALL.into_iter().map(Cause::as_str).chain([REPLAY]);
        words.zip(self.retries.iter().map(Count::get))
    }

    /// Cancelled attempts, by the party that cancelled them.
    pub fn cancellations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CancelledBy::ALL.iter().map(|by| by.as_str()).zip(self.cancelled.iter().map(Count::get))
    }

    /// Counts the steps of one translation.
    pub fn translated(&self, ledger: &Ledger) {
        for (field, action) in ledger.counted() {
            if let Some(count) = self.translated.0.get(field.index()).and_then(|counts| counts.get(action as usize)) {
                count.add(1);
            }
        }
    }

    /// Counts a request that was pinned during its translation.
    pub fn pinned(&self, pinned: &Pinned) {
        let mut ledger = Ledger::default();
        ledger.note(pinned.field.clone(), Action::Pinned, pinned.why);
        self.translated(&ledger);
    }

    /// Counts the repairs of one answer.
    pub fn noticed(&self, notes: Notes) {
        for note in notes.iter() {
            if let Some(count) = self.noticed.get(note as usize) {
                count.add(1);
            }
        }
    }

    /// Answers by repair; repairs without a count are omitted.
    pub fn notices(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.noticed.iter().map(Count::get);
        Note::ALL.iter().map(|note| note.as_str()).zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// Translation steps by field and action; pairs without a count are omitted.
    pub fn translations(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let rows = FieldId::all().zip(&self.translated.0);
        let steps = rows.flat_map(|(field, counts)| {
            Action::ALL.iter().zip(counts).map(move |(action, count)| ((field.name(), action.as_str()), count.get()))
        });
        steps.filter(|(_, count)| *count > 0).collect()
    }

    /// Cost of the priced answers, in USD; `None` if no answer has a price.
    pub fn cost_usd(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep their cents")]
        let usd = self.nano_usd.get() as f64 / 1e9;
        (self.priced.get() > 0).then_some(usd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_by_field_and_action() {
        let (stats, mut ledger) = (BackendStats::default(), Ledger::default());
        ledger.note("messages[].role", Action::Rewritten, "");
        ledger.note("messages[].content", Action::Rewritten, "");
        ledger.note("of the application", Action::Pinned, "");
        stats.translated(&ledger);
        let expected = BTreeMap::from([(("messages", "rewritten"), 2), (("other", "pinned"), 1)]);
        assert_eq!(stats.translations(), expected);
        assert_eq!(Action::ALL.map(|action| action as usize), [0, 1, 2, 3, 4, 5]);
        assert!(Note::ALL.iter().enumerate().all(|(place, note)| *note as usize == place));
    }
}
