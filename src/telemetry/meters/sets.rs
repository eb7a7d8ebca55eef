//! A metric's series by their labels, of which there are never more than [`MAX_SETS`] and a few folded ones.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};
use std::sync::{Arc, PoisonError, RwLock};

use fnv::FnvHasher;

/// Series that keep their labels as they are.
pub(super) const MAX_SETS: usize = 256;
/// So many more for each step in which labels are folded.
pub(super) const MORE_SETS: usize = 64;

/// The labels of one series.
pub(super) trait Key: Hash + Eq + Clone {
    /// With less detail; `None` where there is no less.
    fn coarser(&self) -> Option<Self>;
}

/// Series by labels. So few that nobody can make them collide in earnest.
#[derive(Debug)]
pub(super) struct Sets<K, V>(RwLock<HashMap<K, Arc<V>, BuildHasherDefault<FnvHasher>>>);

impl<K, V> Default for Sets<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Key, V> Sets<K, V> {
    /// The series of `key`, or of less detail where there is no room; `None` where there is none for that either.
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

    /// Once half the room is taken, what `keep` does not name is forgotten.
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
