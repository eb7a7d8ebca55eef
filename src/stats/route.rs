//! Counters of one route: decisions by backend and reason, and pins.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::count::{Count, lock};
use crate::model::{Pin, Reason};

/// Decisions of one route. Bound: one entry per backend name that a file has had on this route.
#[derive(Debug, Default)]
pub struct RouteStats {
    /// The route's name.
    pub name: String,
    /// Counters by the backend's name.
    shares: Mutex<BTreeMap<String, Arc<ShareStats>>>,
    /// Requests pinned only during their translation, by pin.
    late: PinCounts,
}

/// Decisions of one route for one backend.
#[derive(Debug)]
pub struct ShareStats {
    /// Requests for which the split chose this backend.
    chosen: Count,
    /// Results of these requests.
    results: ShareResults,
    /// Signals of the application about the answers of these requests.
    signals: Signals,
    /// Requests sent to this backend, by reason.
    decisions: [Count; Reason::COUNT],
}

/// Results, at this backend, of the requests for which the split chose it. Requests that it gets by a pin or a failover
/// are not among them, because they are not a fair sample.
#[derive(Debug, Default)]
pub struct ShareResults {
    /// Requests that were sent to it and have ended.
    pub attempted: Count,
    /// Those of `attempted` whose answer the application got from it, without a fault of its own.
    pub served: Count,
    /// Those of `attempted` that failed by its own fault, or by that of its configuration.
    pub failed: Count,
    /// Those of `served` with a known cost.
    pub priced: Count,
    /// Cost of `priced`, in 10⁻⁹ USD.
    pub nano_usd: Count,
}

/// Signals that need no judge: they are counted and shown, and nothing acts on them.
#[derive(Debug, Default)]
pub struct Signals {
    /// Streams that the application left after their first content.
    pub aborts: Count,
    /// Requests that an SDK repeated after this backend was chosen for the first try.
    pub retries: Count,
}

#[derive(Debug)]
struct PinCounts([Count; Pin::ALL.len()]);

impl Default for PinCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl Default for ShareStats {
    fn default() -> Self {
        Self {
            chosen: Count::default(),
            results: ShareResults::default(),
            signals: Signals::default(),
            decisions: std::array::from_fn(|_| Count::default()),
        }
    }
}

impl ShareStats {
    /// Counts a request decided for this backend, for the reason `why`.
    pub fn decided(&self, why: Reason) {
        if why.is_share() {
            self.chosen.add(1);
        }
    }

    /// Requests for which the split chose this backend.
    pub fn chosen(&self) -> u64 {
        self.chosen.get()
    }

    /// Results of these requests.
    pub const fn results(&self) -> &ShareResults {
        &self.results
    }

    /// Signals of the application about these requests.
    pub const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Counts a request sent to this backend, for `reason`.
    pub fn asked(&self, reason: Reason) {
        if let Some(count) = self.decisions.get(reason.index()) {
            count.add(1);
        }
    }
}

impl RouteStats {
    /// Creates a route without decisions.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Returns the counters of this backend on the route.
    pub fn share(&self, backend: &str) -> Arc<ShareStats> {
        Arc::clone(lock(&self.shares).entry(backend.to_owned()).or_default())
    }

    /// Counters of every backend on the route, by name.
    pub fn shares(&self) -> Vec<(String, Arc<ShareStats>)> {
        lock(&self.shares).iter().map(|(backend, share)| (backend.clone(), Arc::clone(share))).collect()
    }

    /// Counts a request pinned during its translation.
    pub fn pinned_late(&self, pin: Pin) {
        if let Some(count) = self.late.0.get(pin.index()) {
            count.add(1);
        }
    }

    /// Requests for which the split chose a backend, by backend; backends without a count are omitted.
    pub fn chosen(&self) -> BTreeMap<String, u64> {
        let shares = lock(&self.shares);
        let counts = shares.iter().map(|(backend, share)| (backend.clone(), share.chosen.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Aborts and retries by backend.
    pub fn signals(&self) -> BTreeMap<String, [u64; 2]> {
        let shares = lock(&self.shares);
        let counts = |share: &ShareStats| [share.signals.aborts.get(), share.signals.retries.get()];
        shares.iter().map(|(backend, share)| (backend.clone(), counts(share))).collect()
    }

    /// Decisions by backend and reason; pairs without a count are omitted.
    pub fn decisions(&self) -> BTreeMap<(String, &'static str), u64> {
        let mut decisions = BTreeMap::new();
        for (backend, share) in &*lock(&self.shares) {
            for (reason, count) in Reason::all().zip(&share.decisions) {
                if count.get() > 0 {
                    decisions.insert((backend.clone(), reason.as_str()), count.get());
                }
            }
        }
        decisions
    }

    /// Late pins by name; pins without a count are omitted.
    pub fn late(&self) -> BTreeMap<&'static str, u64> {
        let counts = Pin::ALL.iter().zip(&self.late.0).map(|(pin, count)| (pin.as_str(), count.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Requests outside the split, by pin; pins without a count are omitted.
    pub fn pinned(&self) -> BTreeMap<&'static str, u64> {
        let mut pinned = BTreeMap::new();
        for share in lock(&self.shares).values() {
            for pin in Pin::ALL {
                let count = share.decisions.get(Reason::Pinned(*pin).index()).map_or(0, Count::get);
                if count > 0 {
                    *pinned.entry(pin.as_str()).or_insert(0) += count;
                }
            }
        }
        pinned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_out_what_was_pinned() {
        let route = RouteStats::default();
        let (openai, qwen) = (route.share("openai"), route.share("qwen"));
        let decided = |chosen: &ShareStats, why, asked: &ShareStats, reason| {
            chosen.decided(why);
            asked.asked(reason);
        };
        decided(&openai, Reason::Split, &openai, Reason::Split);
        decided(&qwen, Reason::Split, &openai, Reason::Overload);
        decided(&qwen, Reason::Override, &openai, Reason::Breaker);
        let endpoint = Reason::Pinned(Pin::Endpoint);
        decided(&openai, endpoint, &openai, endpoint);
        assert_eq!(route.chosen(), BTreeMap::from([("openai".to_owned(), 1), ("qwen".to_owned(), 1)]));
        assert_eq!(route.pinned(), BTreeMap::from([("endpoint", 1)]));
        assert_eq!(route.decisions().len(), 4);
    }
}
