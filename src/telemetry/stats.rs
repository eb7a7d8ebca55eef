//! The numbers behind `/status` and `/metrics`: one set for each backend, route and the process, kept across reloads.
//!
//! Bound: entries exist for names of the file only; those that left the file are forgotten above [`MAX_NAMES`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;

use super::count::{Count, Latency, lock};
use super::histogram::{Histogram as Buckets, View};
use super::meters::{HTTP_BOUNDS, Meters};
use super::story::{CancelledBy, Story};
use crate::model::{Cause, Pin, Reason};
use crate::translate::answer::{Note, Notes};
use crate::translate::{Action, FieldId, Ledger};

/// Names kept though no longer in the file, before they are forgotten.
pub const MAX_NAMES: usize = 256;

#[derive(Debug, Default)]
pub struct BackendStats {
    pub attempts: Count,
    pub served: Count,
    pub errors: Count,
    pub failovers: Count,
    pub replays: Count,
    /// Refusals that are our configuration's fault.
    pub misconfigured: Count,
    pub in_flight: Count,
    pub connections: Count,
    pub input_tokens: Count,
    pub output_tokens: Count,
    /// Answers whose cost is known, and their sum in 10⁻⁹ USD.
    pub priced: Count,
    pub nano_usd: Count,
    /// Polls of its metrics pages.
    pub polls_ok: Count,
    pub polls_failed: Count,
    /// Requests sent once more after this backend failed: by cause, and the last as a replay to itself.
    retries: [Count; Cause::ALL.len() + 1],
    /// Attempts ended before the backend did, as [`CancelledBy::ALL`].
    cancelled: [Count; CancelledBy::ALL.len()],
    /// How long its connections lived, in seconds.
    pub lifetimes: Lifetimes,
    pub ttft: Latency,
    pub total: Latency,
    /// Steps of translations.
    translated: StepCounts,
    /// Notes on answers, as [`Note::ALL`].
    noticed: [Count; Note::ALL.len()],
}

/// Numbers of translation steps: a row for each [`FieldId`], a column for each [`Action`].
#[derive(Debug)]
struct StepCounts([[Count; Action::ALL.len()]; FieldId::COUNT]);

impl Default for StepCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

/// How long connections lived.
#[derive(Debug)]
pub struct Lifetimes(Buckets);

impl Default for Lifetimes {
    fn default() -> Self {
        Self(Buckets::new(&HTTP_BOUNDS))
    }
}

impl Lifetimes {
    pub fn record(&self, lived: Duration) {
        self.0.observe(lived.as_secs_f64(), None);
    }

    pub(super) fn view(&self) -> View {
        self.0.view()
    }
}

/// The word for a request sent again on a fresh connection.
const REPLAY: &str = "replay";

impl BackendStats {
    fn retried(&self, cause: Option<Cause>) {
        let place = Cause::ALL.iter().position(|known| Some(*known) == cause).unwrap_or(Cause::ALL.len());
        if let Some(count) = self.retries.get(place) {
            count.add(1);
        }
    }

    fn cancelled(&self, by: CancelledBy) {
        let known = CancelledBy::ALL.iter().zip(&self.cancelled).find(|(known, _)| **known == by);
        if let Some((_, count)) = known {
            count.add(1);
        }
    }

    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = Cause::ALL.into_iter().map(Cause::as_str).chain([REPLAY]);
        words.zip(self.retries.iter().map(Count::get))
    }

    pub fn cancellations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CancelledBy::ALL.iter().map(|by| by.as_str()).zip(self.cancelled.iter().map(Count::get))
    }

    pub fn translated(&self, ledger: &Ledger) {
        for (field, action) in ledger.counted() {
            if let Some(count) = self.translated.0.get(field.index()).and_then(|counts| counts.get(action as usize)) {
                count.add(1);
            }
        }
    }

    pub fn noticed(&self, notes: Notes) {
        for note in notes.iter() {
            if let Some(count) = self.noticed.get(note as usize) {
                count.add(1);
            }
        }
    }

    /// Returns the number of answers by note.
    pub fn notices(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.noticed.iter().map(Count::get);
        Note::ALL.iter().map(|note| note.as_str()).zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the number of steps by field and action, where there were any.
    pub fn translations(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let rows = FieldId::all().zip(&self.translated.0);
        let steps = rows.flat_map(|(field, counts)| {
            Action::ALL.iter().zip(counts).map(move |(action, count)| ((field.name(), action.as_str()), count.get()))
        });
        steps.filter(|(_, count)| *count > 0).collect()
    }

    /// `None` while no answer could be priced.
    pub fn cost_usd(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep their cents")]
        let usd = self.nano_usd.get() as f64 / 1e9;
        (self.priced.get() > 0).then_some(usd)
    }
}

/// What a route decided.
#[derive(Debug, Default)]
pub struct RouteStats {
    pub name: String,
    /// By backend: whom the split chose.
    chosen: Mutex<BTreeMap<String, u64>>,
    /// By reason and backend: every decision.
    decisions: Mutex<BTreeMap<&'static str, BTreeMap<String, u64>>>,
    /// By pin: requests that the split had chosen a candidate for before their translation showed the pin.
    late: Mutex<BTreeMap<&'static str, u64>>,
}

impl RouteStats {
    /// `chosen` is whom the request was to go to and `why`, `backend` who is asked for `reason`.
    pub fn decided(&self, why: Reason, chosen: &str, backend: &str, reason: Reason) {
        if why.is_share() {
            bump(&mut lock(&self.chosen), chosen);
        }
        bump(lock(&self.decisions).entry(reason.as_str()).or_default(), backend);
    }

    pub fn chosen(&self) -> BTreeMap<String, u64> {
        lock(&self.chosen).clone()
    }

    pub fn decisions(&self) -> BTreeMap<(String, &'static str), u64> {
        let decisions = lock(&self.decisions);
        let flat = decisions
            .iter()
            .flat_map(|(reason, counts)| counts.iter().map(|(backend, count)| ((backend.clone(), *reason), *count)));
        flat.collect()
    }

    /// Only its translation showed that a request cannot go where it was to go.
    pub fn pinned_late(&self, pin: Pin) {
        *lock(&self.late).entry(pin.as_str()).or_insert(0) += 1;
    }

    pub fn late(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.late).clone()
    }

    /// By pin: requests outside the split.
    pub fn pinned(&self) -> BTreeMap<&'static str, u64> {
        let mut pinned = BTreeMap::new();
        for (reason, counts) in &*lock(&self.decisions) {
            if let Some(pin) = Pin::ALL.iter().find(|pin| reason.strip_prefix("pinned:") == Some(pin.as_str())) {
                *pinned.entry(pin.as_str()).or_insert(0) += counts.values().sum::<u64>();
            }
        }
        pinned
    }
}

fn bump(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

/// What became of the spans that were made.
#[derive(Debug, Default)]
pub struct TelemetryStats {
    pub exported: Count,
    pub dropped_full: Count,
    pub dropped_failed: Count,
    /// By the collector, out of a batch that it took.
    pub dropped_rejected: Count,
    /// Of traces that would have been kept.
    pub dropped_rate: Count,
    pub dropped_shutdown: Count,
    pub queued: Count,
}

/// Readings of the file after the first.
#[derive(Debug, Default)]
pub struct Reloads {
    pub ok: Count,
    /// The file could not be read.
    pub unreadable: Count,
    /// It breaks the rules.
    pub invalid: Count,
    /// It keeps them, and cannot be put to use here.
    pub unusable: Count,
}

impl Reloads {
    /// By the kind of their error.
    pub const fn failed(&self) -> [(&'static str, &Count); 3] {
        [("unreadable", &self.unreadable), ("invalid", &self.invalid), ("unusable", &self.unusable)]
    }
}

/// Everything counted in this process.
#[derive(Debug, Default)]
pub struct Stats {
    pub telemetry: TelemetryStats,
    pub meters: Meters,
    backends: Mutex<BTreeMap<String, Arc<BackendStats>>>,
    routes: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    /// By the reason of the refusal.
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Connections of applications that were not left to their end, by why.
    closed: Mutex<BTreeMap<&'static str, u64>>,
    /// By `End`.
    ended: Mutex<BTreeMap<&'static str, u64>>,
    pub in_flight: Count,
    pub connections: Count,
    /// Connections over the limit that are being told so.
    pub refusing: Count,
    pub body_bytes: Count,
    /// Failovers that the budget did not allow.
    pub over_budget: Count,
    pub reloads: Reloads,
    /// By the limit that was reached.
    shed: Mutex<BTreeMap<&'static str, u64>>,
    /// Lines that an unread pipe cost.
    pub log_dropped: Count,
}

impl Stats {
    pub fn backend(&self, name: &str) -> Arc<BackendStats> {
        let mut backends = lock(&self.backends);
        Arc::clone(backends.entry(name.to_owned()).or_default())
    }

    pub fn route(&self, name: &str) -> Arc<RouteStats> {
        let mut routes = lock(&self.routes);
        let route = routes
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(RouteStats { name: name.to_owned(), ..RouteStats::default() }));
        Arc::clone(route)
    }

    /// Forgets names that nobody uses any more, once there are many.
    pub fn prune(&self) {
        fn prune<T>(entries: &mut BTreeMap<String, Arc<T>>) {
            if entries.len() > MAX_NAMES {
                entries.retain(|_, entry| Arc::strong_count(entry) > 1);
            }
        }
        prune(&mut lock(&self.backends));
        prune(&mut lock(&self.routes));
    }

    /// A request has begun; [`Stats::tell`] is its end.
    pub fn begin(&self, method: &Method) {
        self.meters.begins(method);
    }

    /// A request has ended; `is_traced` is whether its trace can be looked at.
    pub fn tell(&self, story: &Story, is_traced: bool) {
        self.meters.ends(&story.method);
        self.meters.tell(story, is_traced);
        for (attempt, next) in story.attempts.iter().zip(story.attempts.iter().skip(1)) {
            let cause = match story.reason {
                _ if next.is_replay => None,
                Reason::Failover(cause) => Some(cause),
                _ => continue,
            };
            self.known(&attempt.peer.name, |backend| backend.retried(cause));
        }
        for attempt in &story.attempts {
            if let Some(by) = attempt.cancelled {
                self.known(&attempt.peer.name, |backend| backend.cancelled(by));
            }
        }
    }

    fn known(&self, name: &str, count: impl FnOnce(&BackendStats)) {
        let backend = lock(&self.backends).get(name).map(Arc::clone);
        if let Some(backend) = backend {
            count(&backend);
        }
    }

    /// A request was refused because of this limit, one of a closed list.
    pub fn shed(&self, limit: &'static str) {
        *lock(&self.shed).entry(limit).or_insert(0) += 1;
    }

    pub fn sheds(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shed).clone()
    }

    pub fn refuse(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_insert(0) += 1;
    }

    pub fn end(&self, end: &'static str) {
        *lock(&self.ended).entry(end).or_insert(0) += 1;
    }

    /// `why` is of a closed list.
    pub fn close(&self, why: &'static str) {
        *lock(&self.closed).entry(why).or_insert(0) += 1;
    }

    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.closed).clone()
    }

    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.refused).clone()
    }

    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.ended).clone()
    }

    pub fn backends(&self) -> Vec<(String, Arc<BackendStats>)> {
        lock(&self.backends).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    pub fn routes(&self) -> Vec<(String, Arc<RouteStats>)> {
        lock(&self.routes).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_passed() {
        let count = Count::default();
        assert!(count.try_add(3, 4));
        assert!(!count.try_add(2, 4));
        assert!(count.try_add(1, 4));
        assert!(!count.try_add(u64::MAX, u64::MAX));
        count.sub(4);
        assert_eq!(count.get(), 0);
    }

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

    #[test]
    fn quantiles_are_unknown_before_the_first_and_in_milliseconds_after() {
        let latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), None);
        latency.record(Duration::from_millis(41));
        latency.record(Duration::from_secs(7200));
        let p50 = latency.quantile_ms(0.5).unwrap();
        assert!((40.5..=41.5).contains(&p50), "{p50}");
    }

    #[test]
    fn shares_leave_out_what_was_pinned() {
        let route = RouteStats::default();
        route.decided(Reason::Split, "openai", "openai", Reason::Split);
        route.decided(Reason::Split, "qwen", "openai", Reason::Overload);
        route.decided(Reason::Override, "qwen", "openai", Reason::Breaker);
        route.decided(Reason::Pinned(Pin::Endpoint), "openai", "openai", Reason::Pinned(Pin::Endpoint));
        assert_eq!(route.chosen(), BTreeMap::from([("openai".to_owned(), 1), ("qwen".to_owned(), 1)]));
        assert_eq!(route.pinned(), BTreeMap::from([("endpoint", 1)]));
    }
}
