//! The bound of sets of counters by name.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Limit of names in one set; above it, names that left the file are removed.
pub(crate) const MAX_NAMES: usize = 256;

/// Removes unused entries above [`MAX_NAMES`].
pub(super) fn make_room<K: Ord, T>(entries: &mut BTreeMap<K, Arc<T>>) {
    if entries.len() > MAX_NAMES {
        entries.retain(|_, entry| Arc::strong_count(entry) > 1);
    }
}
