//! A map that keeps the smallest keys.

use std::collections::BTreeMap;

/// A map of at most `limit` keys: the smallest of all that it was asked for. It does not depend on their order, because a
/// key that was dropped is larger than every key that is kept, for good.
#[derive(Debug, Clone)]
pub(super) struct Kept<K, V> {
    entries: BTreeMap<K, V>,
    limit: usize,
    is_cut: bool,
}

impl<K: Ord + Clone, V: Default> Kept<K, V> {
    /// Makes an empty map with this limit, in keys.
    pub(super) const fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), limit, is_cut: false }
    }

    /// Returns the value of a key, made if it is new; `None` if the key is not kept.
    pub(super) fn entry(&mut self, key: &K) -> Option<&mut V> {
        if !self.entries.contains_key(key) {
            if self.entries.len() >= self.limit {
                self.is_cut = true;
                if self.entries.last_key_value().is_none_or(|(last, _)| last < key) {
                    return None;
                }
                self.entries.pop_last();
            }
            self.entries.insert(key.clone(), V::default());
        }
        self.entries.get_mut(key)
    }

    /// Lowers the limit; a higher one changes nothing.
    pub(super) fn truncate(&mut self, limit: usize) {
        self.limit = self.limit.min(limit);
        while self.entries.len() > self.limit {
            self.entries.pop_last();
            self.is_cut = true;
        }
    }

    /// Returns the entries by key.
    pub(super) const fn entries(&self) -> &BTreeMap<K, V> {
        &self.entries
    }

    /// True if a key was dropped.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_keeps_the_smallest_with_all_that_came(
            keys in prop::collection::vec(0_u8..30, 0..200),
            limit in 1_usize..12,
            (lowered, at) in (1_usize..12, 0_usize..200),
        ) {
            let mut kept = Kept::<u8, u32>::new(limit);
            for (position, key) in keys.iter().enumerate() {
                if position == at {
                    kept.truncate(lowered);
                }
                if let Some(count) = kept.entry(key) {
                    *count += 1;
                }
            }
            kept.truncate(lowered);
            let mut all = BTreeMap::new();
            for key in &keys {
                *all.entry(*key).or_insert(0_u32) += 1;
            }
            prop_assert_eq!(kept.is_cut(), all.len() > limit.min(lowered));
            let expected: BTreeMap<u8, u32> = all.into_iter().take(limit.min(lowered)).collect();
            prop_assert_eq!(kept.entries(), &expected);
        }
    }
}
