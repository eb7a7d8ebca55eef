//! Counters of shadows: copies by result, pairs by result, agreement, cost. They are apart from every number of the
//! served path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::count::{Count, lock};
use super::gauge::Gauge;
use super::histogram::{Histogram, View};
use crate::model::{CopyResult, PairResult};

/// Upper bounds of agreement, which lies between 0 and 1.
const AGREEMENT_BOUNDS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Route and receiver of copies.
pub(super) type Pairing = (String, String);

/// Counters of all shadows of the process. Bound: one entry per route and receiver that a file has named; at
/// [`super::names::MAX_NAMES`] entries those without a reader are removed.
#[derive(Debug, Default)]
pub struct ShadowStats {
    pairings: Mutex<BTreeMap<Pairing, Arc<PairingStats>>>,
    noise: Mutex<BTreeMap<String, Arc<NoiseStats>>>,
    /// Copies and noise legs in flight.
    pub in_flight: Gauge,
    /// Bytes held of copies' bodies and of captured answers.
    pub bytes: Gauge,
}

/// Counters of the copies of one route for one receiver.
#[derive(Debug, Default)]
pub struct PairingStats {
    copies: [Count; CopyResult::ALL.len()],
    pairs: [Count; PairResult::ALL.len()],
    agreement: Mutex<BTreeMap<&'static str, Arc<KindStats>>>,
    /// Prompt tokens of the copies.
    pub input_tokens: Count,
    /// Generated tokens of the copies.
    pub output_tokens: Count,
    /// Cost of the copies in 10⁻⁹ USD, as far as it is known.
    pub nano_usd: Count,
}

/// Counters of one route's noise legs.
#[derive(Debug, Default)]
pub struct NoiseStats {
    legs: [Count; CopyResult::ALL.len()],
    /// Cost of the legs in 10⁻⁹ USD, as far as it is known.
    pub nano_usd: Count,
}

/// Agreement of one kind, beside that of the baseline with itself.
#[derive(Debug)]
pub struct KindStats {
    agreement: Histogram,
    floor: Histogram,
}

impl Default for KindStats {
    fn default() -> Self {
        Self { agreement: Histogram::new(&AGREEMENT_BOUNDS), floor: Histogram::new(&AGREEMENT_BOUNDS) }
    }
}

impl KindStats {
    /// Agreement of baseline and candidate.
    pub fn agreement(&self) -> View {
        self.agreement.view()
    }

    /// Agreement of the baseline with itself.
    pub fn floor(&self) -> View {
        self.floor.view()
    }
}

impl ShadowStats {
    /// Returns the counters of a route's copies for a receiver.
    pub fn pairing(&self, route: &str, receiver: &str) -> Arc<PairingStats> {
        let mut pairings = lock(&self.pairings);
        super::names::make_room(&mut pairings);
        Arc::clone(pairings.entry((route.to_owned(), receiver.to_owned())).or_default())
    }

    /// Returns the counters of a route's noise legs.
    pub fn noise(&self, route: &str) -> Arc<NoiseStats> {
        let mut noise = lock(&self.noise);
        super::names::make_room(&mut noise);
        Arc::clone(noise.entry(route.to_owned()).or_default())
    }

    /// Counters of every route and receiver.
    pub fn pairings(&self) -> Vec<(Pairing, Arc<PairingStats>)> {
        lock(&self.pairings).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    /// Counters of every route's noise legs.
    pub fn noises(&self) -> Vec<(String, Arc<NoiseStats>)> {
        lock(&self.noise).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }
}

impl PairingStats {
    /// Counts a request that was chosen for a copy.
    pub fn copy(&self, result: CopyResult) {
        if let Some(count) = self.copies.get(result.index()) {
            count.add(1);
        }
    }

    /// Counts a pair.
    pub fn pair(&self, result: PairResult) {
        if let Some(count) = self.pairs.get(result.index()) {
            count.add(1);
        }
    }

    /// Adds a score of this kind: of baseline and candidate, or the baseline's with itself.
    pub fn agreed(&self, kind: &'static str, score: f64, is_floor: bool) {
        let stats = Arc::clone(lock(&self.agreement).entry(kind).or_default());
        let histogram = if is_floor { &stats.floor } else { &stats.agreement };
        histogram.observe(score, None);
    }

    /// Requests by result, in the order of [`CopyResult::ALL`].
    pub fn copies(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CopyResult::ALL.iter().zip(&self.copies).map(|(result, count)| (result.as_str(), count.get()))
    }

    /// Pairs by result, in the order of [`PairResult::ALL`].
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PairResult::ALL.iter().zip(&self.pairs).map(|(result, count)| (result.as_str(), count.get()))
    }

    /// Agreement by kind; kinds without a score are omitted.
    pub fn agreement(&self) -> Vec<(&'static str, Arc<KindStats>)> {
        lock(&self.agreement).iter().map(|(kind, stats)| (*kind, Arc::clone(stats))).collect()
    }
}

impl NoiseStats {
    /// Counts a request that was chosen for a noise leg.
    pub fn leg(&self, result: CopyResult) {
        if let Some(count) = self.legs.get(result.index()) {
            count.add(1);
        }
    }

    /// Requests by result, in the order of [`CopyResult::ALL`].
    pub fn legs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CopyResult::ALL.iter().zip(&self.legs).map(|(result, count)| (result.as_str(), count.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_stands_at_zero_before_the_first_copy() {
        let stats = ShadowStats::default();
        let pairing = stats.pairing("default", "qwen");
        assert_eq!(pairing.copies().map(|(_, count)| count).sum::<u64>(), 0);
        assert_eq!((pairing.copies().count(), pairing.pairs().count(), pairing.agreement().len()), (9, 7, 0));
        pairing.copy(CopyResult::Budget);
        pairing.pair(PairResult::OverCap);
        pairing.agreed("text", 0.5, false);
        pairing.agreed("text", 0.75, true);
        assert!(pairing.copies().any(|one| one == ("budget", 1)) && pairing.pairs().any(|one| one == ("over_cap", 1)));
        let (kind, agreement) = pairing.agreement().remove(0);
        assert_eq!((kind, agreement.agreement().sum, agreement.floor().sum), ("text", 0.5, 0.75));
        assert_eq!(stats.pairings().len(), 1);
    }
}
