//! Counters of shadows: copies by result, pairs by result, agreement, cost. They are apart from every number of the
//! served path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::count::{Count, lock};
use super::gauge::Gauge;
use super::histogram::{Histogram, View};
use crate::compare::Kind;
use crate::model::{CopyResult, PairResult};
use crate::wire::answer_facts::Usage;

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
    agreement: [KindStats; Kind::ALL.len()],
    /// Tokens and cost of the copies.
    pub spent: Spent,
}

/// Tokens and cost of copies or noise legs, as far as they are known.
#[derive(Debug, Default)]
pub struct Spent {
    /// Prompt tokens.
    pub input_tokens: Count,
    /// Generated tokens.
    pub output_tokens: Count,
    /// Cost in 10⁻⁹ USD.
    pub nano_usd: Count,
}

impl Spent {
    /// Adds one leg.
    pub fn add(&self, usage: Option<Usage>, usd: Option<f64>) {
        if let Some(usage) = usage {
            self.input_tokens.add(usage.input);
            self.output_tokens.add(usage.output);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "costs of requests, never below 0"
        )]
        self.nano_usd.add(usd.map_or(0, |usd| (usd * 1e9).round() as u64));
    }
}

/// Counters of one route's noise legs.
#[derive(Debug, Default)]
pub struct NoiseStats {
    legs: [Count; CopyResult::ALL.len()],
    /// Tokens and cost of the legs.
    pub spent: Spent,
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

    /// Number of copies that a receiver answered, and of those that it answered or failed, over all routes. Copies that
    /// ended for another reason say nothing about it.
    pub fn answered(&self, receiver: &str) -> (u64, u64) {
        let mut sums = (0, 0);
        for ((_, to), pairing) in &*lock(&self.pairings) {
            if to == receiver {
                let of = |result: PairResult| pairing.pairs.get(result.index()).map_or(0, Count::get);
                let answered = of(PairResult::Compared) + of(PairResult::OverCap);
                sums = (sums.0 + answered, sums.1 + answered + of(PairResult::Failed) + of(PairResult::Timeout));
            }
        }
        sums
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
    pub fn agreed(&self, kind: Kind, score: f64, is_floor: bool) {
        let place = Kind::ALL.iter().position(|one| *one == kind);
        if let Some(stats) = place.and_then(|place| self.agreement.get(place)) {
            let histogram = if is_floor { &stats.floor } else { &stats.agreement };
            histogram.observe(score, None);
        }
    }

    /// Requests by result, in the order of [`CopyResult::ALL`].
    pub fn copies(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CopyResult::ALL.iter().zip(&self.copies).map(|(result, count)| (result.as_str(), count.get()))
    }

    /// Pairs by result, in the order of [`PairResult::ALL`].
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PairResult::ALL.iter().zip(&self.pairs).map(|(result, count)| (result.as_str(), count.get()))
    }

    /// Agreement by kind.
    pub fn agreement(&self) -> impl Iterator<Item = (&'static str, &KindStats)> {
        Kind::ALL.iter().zip(&self.agreement).map(|(kind, stats)| (kind.as_str(), stats))
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
        assert_eq!((pairing.copies().count(), pairing.pairs().count(), pairing.agreement().count()), (9, 7, 6));
        pairing.copy(CopyResult::Budget);
        pairing.pair(PairResult::OverCap);
        pairing.agreed(Kind::Text, 0.5, false);
        pairing.agreed(Kind::Text, 0.75, true);
        assert!(pairing.copies().any(|one| one == ("budget", 1)) && pairing.pairs().any(|one| one == ("over_cap", 1)));
        let text = pairing.agreement().find(|(kind, _)| *kind == "text").unwrap().1;
        assert_eq!((text.agreement().sum, text.floor().sum), (0.5, 0.75));
        assert_eq!(stats.pairings().len(), 1);
    }
}
