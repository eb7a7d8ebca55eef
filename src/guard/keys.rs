//! Number of distinct keys: exact up to a limit, then estimated from the smallest hashes (the k minimum values).

use std::collections::BTreeSet;

/// Number of hashes that are kept, 8 bytes each; up to it the count is exact, above it its standard error is 3 %.
const KEPT: usize = 1_000;

/// Distinct keys, by their hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// The smallest hashes.
    smallest: BTreeSet<u64>,
    is_estimated: bool,
}

impl Keys {
    /// Adds a key by its hash, which has to be evenly spread.
    pub(super) fn insert(&mut self, hash: u64) {
        if self.smallest.len() == KEPT && self.smallest.last().is_some_and(|largest| hash > *largest) {
            self.is_estimated = true;
            return;
        }
        self.smallest.insert(hash);
        if self.smallest.len() > KEPT {
            self.smallest.pop_last();
            self.is_estimated = true;
        }
    }

    /// Number of distinct keys.
    pub(super) fn count(&self) -> u64 {
        let exact = self.smallest.len() as u64;
        let Some(largest) = self.smallest.last().filter(|_| self.is_estimated) else { return exact };
        // k hashes lie in (largest + 1) / 2^64 of all; k − 1 makes the estimate unbiased. Never 0, because k are there.
        let estimate = (u128::from(exact - 1) << 64) / (u128::from(*largest) + 1);
        u64::try_from(estimate).unwrap_or(u64::MAX).max(exact + 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn exact_to_a_thousand_then_within_a_tenth() {
        let mut rng = StdRng::seed_from_u64(19);
        let mut keys = Keys::default();
        let mut hashes: Vec<u64> = Vec::new();
        for n in 1..=100_000_u64 {
            hashes.push(rng.random());
            keys.insert(*hashes.last().unwrap());
            let again = rng.random_range(0..hashes.len());
            keys.insert(*hashes.get(again).unwrap());
            match n {
                1..=1_000 => assert_eq!(keys.count(), n),
                _ => assert!(keys.count() > 1_000, "an estimate is never below what is known"),
            }
            if [2_000, 10_000, 100_000].contains(&n) {
                assert!(keys.count().abs_diff(n) * 10 < n, "{} of {n}", keys.count());
            }
        }
        assert_eq!(keys.smallest.len(), KEPT);
    }

    #[test]
    fn no_hash_makes_it_fail() {
        let mut keys = Keys::default();
        assert_eq!(keys.count(), 0);
        for hash in [0, u64::MAX, 1].into_iter().chain(0..2_000) {
            keys.insert(hash);
        }
        assert!(keys.count() > 1_000);
    }
}
