//! Bounded set of a metric's series: at most [`MAX_SETS`], and a few with folded labels.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};
use std::sync::{Arc, PoisonError, RwLock};

use fnv::FnvHasher;

/// Limit of series with full labels; further ones are folded.
pub(super) const MAX_SETS: usize = 256;
/// Extra series allowed at each level of [`Key::coarser`].
pub(super) const MORE_SETS: usize = 64;

/// Labels of one series.
pub(super) trait Key: Hash + Eq + Clone {
    /// Returns the labels with less detail; `None` at the coarsest level.
    fn coarser(&self) -> Option<Self>;
}

/// Series by labels. FNV is enough: the set is too small for an attack by collisions.
#[derive(Debug)]
pub(super) struct Sets<K, V>(RwLock<HashMap<K, Arc<V>, BuildHasherDefault<FnvHasher>>>);

impl<K, V> Default for Sets<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Key, V> Sets<K, V> {
    /// Returns the series of `key`, or a coarser one at the limit; `None` if the coarsest level is full too.
    pub(super) fn at(&self, key: K, new: impl Fn() -> V) -> Option<Arc<V>> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Some(Arc::clone(known));
        }
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (mut key, mut limit) = (key, MAX_SETS);
        loop {
            if let Some(known) = sets.get(&key) {
                return Some(Arc::clone(known));
            }
            if sets.len() < limit {
                let set = Arc::new(new());
                sets.insert(key, Arc::clone(&set));
                return Some(set);
            }
            key = key.coarser()?;
            limit += MORE_SETS;
        }
    }

    /// Removes series that `keep` rejects, once half the limit is reached.
    pub(super) fn prune(&self, keep: impl Fn(&K) -> bool) {
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if sets.len() > MAX_SETS / 2 {
            sets.retain(|key, _| keep(key));
        }
    }

    pub(super) fn all(&self) -> Vec<(K, Arc<V>)> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sets.iter().map(|(key, set)| (key.clone(), Arc::clone(set))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Count;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Tens(usize, u8);

    impl Key for Tens {
        fn coarser(&self) -> Option<Self> {
            (self.1 == 0).then_some(Self(self.0 % 100, 1))
        }
    }

    #[test]
    fn there_is_a_bound_and_what_is_above_it_is_folded_then_left_out() {
        let sets: Sets<Tens, Count> = Sets::default();
        let told = (0..1000).filter(|n| {
            sets.at(Tens(*n, 0), Count::default).is_some_and(|set| {
                set.add(1);
                true
            })
        });
        let told = told.count() as u64;
        let all = sets.all();
        assert_eq!(all.len(), MAX_SETS + MORE_SETS);
        assert_eq!(all.iter().map(|(_, count)| count.get()).sum::<u64>(), told);
        assert!(told > 700 && told < 1000, "{told}");
        assert!(sets.at(Tens(3, 0), Count::default).is_some(), "those that have a place keep it");
        sets.prune(|key| *key == Tens(3, 0));
        assert_eq!(sets.all().len(), 1);
        sets.prune(|_| false);
        assert_eq!(sets.all().len(), 1, "few are not worth forgetting");
    }
}
