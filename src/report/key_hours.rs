//! Key-hours: the unit of every interval, because pairs of one user resemble each other.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::cell::{Cell, Quantity};
use super::kept::Kept;
use super::line::Pair;

/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;

/// Pairs of one row with the same key of the same process in the same hour. A pair without key is one by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHour {
    /// Key, or the id of a pair without key.
    pub(super) key: Tag<16>,
    pub(super) instance: Tag<8>,
    /// Hours since 1970, UTC.
    pub(super) hour: i32,
}

/// A short string in N bytes, in the order of strings. The writer's keys have 16, its instances 6; of a longer one the first
/// half and a hash of all stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag<const N: usize>([u8; N]);

impl KeyHour {
    pub(super) fn of(pair: &Pair<'_>) -> Self {
        let key = pair.key.as_ref().unwrap_or(&pair.id);
        Self { key: Tag::of(key), instance: Tag::of(&pair.instance), hour: hour(pair.at) }
    }
}

/// Returns the hour of a time. The calendar ends long before the range does.
fn hour(at: i64) -> i32 {
    i32::try_from(at.div_euclid(HOUR)).unwrap_or(i32::MAX)
}

impl<const N: usize> Tag<N> {
    fn of(text: &str) -> Self {
        let mut tag = [0; N];
        let bytes = text.as_bytes();
        for (slot, byte) in tag.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        if bytes.len() > tag.len() {
            for (slot, byte) in tag.iter_mut().skip(N / 2).zip(hash(bytes).to_be_bytes()) {
                *slot = byte;
            }
        }
        Self(tag)
    }
}

/// Returns a hash that is the same in every process.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}

/// Key-hours of a row in the order of observations.
#[derive(Debug)]
pub(super) struct Observations<'a> {
    cells: Vec<(&'a KeyHour, &'a Cell)>,
    /// Number of distinct keys.
    pub(super) keys: u64,
}

impl<'a> Observations<'a> {
    pub(super) fn of(kept: &'a Kept<KeyHour, Cell>) -> Self {
        let mut cells: Vec<_> = kept.entries().iter().collect();
        let mut keys = 0;
        let mut last = None;
        for (at, _) in &cells {
            keys += u64::from(last.replace((at.key, at.instance)) != Some((at.key, at.instance)));
        }
        cells.sort_unstable_by_key(|(at, _)| (at.hour, at.instance, at.key));
        Self { cells, keys }
    }

    /// Returns the observations of a quantity.
    pub(super) fn of_quantity(&self, quantity: Quantity) -> Vec<f64> {
        self.cells.iter().filter_map(|(_, cell)| cell.mean(quantity)).collect()
    }

    /// Number of key-hours.
    pub(super) const fn len(&self) -> usize {
        self.cells.len()
    }
}

/// Returns the largest limit for each row with which the key-hours of all rows are at most `most`.
pub(super) fn limit(mut lengths: Vec<usize>, most: usize) -> usize {
    lengths.sort_unstable();
    let (mut left, mut rows) = (most, lengths.len());
    for length in lengths {
        if length.saturating_mul(rows) > left {
            return left / rows;
        }
        left -= length;
        rows -= 1;
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_have_the_order_of_strings() {
        let texts = ["", "0", "00ff00ff00ff00fe", "00ff00ff00ff00ff", "a", "ab", "b"];
        assert!(texts.windows(2).all(|two| Tag::<16>::of(two[0]) < Tag::of(two[1])));
        let long = "0123456789abcdef0";
        assert_ne!(Tag::<16>::of(long), Tag::of("0123456789abcdef1"));
        assert_eq!(Tag::<16>::of(long), Tag::of(long));
        assert!(Tag::<8>::of("0a1b2c") < Tag::of("0a1b2d") && Tag::<8>::of("pod-1-aaa") != Tag::of("pod-1-aab"));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(KeyHour, Cell)>() <= 48);
    }

    proptest! {
        #[test]
        fn the_limit_is_the_largest_that_fits(lengths in prop::collection::vec(0_usize..50, 0..12), most in 0_usize..300) {
            let sum = |limit: usize| lengths.iter().map(|length| (*length).min(limit)).sum::<usize>();
            let found = limit(lengths.clone(), most);
            prop_assert!(sum(found) <= most && (found == usize::MAX || sum(found + 1) > most));
        }
    }
}
