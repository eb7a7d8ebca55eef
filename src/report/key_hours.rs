//! Key-hours: the unit of every interval, because pairs of one user resemble each other.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::kept::Kept;
use super::line::Pair;
use super::vocabulary::{Cache, CheckName, PairKind};

/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;

/// Pairs of one row with the same key of the same process in the same hour. A pair without key is one by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHour {
    /// Key, or the id of a pair without key.
    pub(super) key: Tag,
    pub(super) instance: Tag,
    /// Hours since 1970, UTC.
    pub(super) hour: i64,
}

/// A short string in 16 bytes, in the order of strings. The writer's have 16 and 6; of a longer one the first eight and a
/// hash of all stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag([u8; 16]);

/// Sums of one key-hour.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    checks: [Tally; CheckName::ALL.len()],
    /// Sums of other quantities, at most one of each, in the order in which they came.
    sums: Vec<Sum>,
}

/// Count and sum of faults.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    n: u32,
    sum: i32,
}

/// Count and sum of one quantity.
#[derive(Debug, Clone, Copy)]
struct Sum {
    quantity: Quantity,
    n: u32,
    sum: i64,
}

/// Quantities whose mean over a key-hour is an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// 1 − agreement, in 10⁻⁴.
    Loss(PairKind),
    /// Floor − agreement, in 10⁻⁴.
    Difference(PairKind),
    /// Logarithm of the ratio of times to the first token, in 10⁻⁹.
    Ttft,
    /// The same, of pairs with this share of cached prompt.
    TtftOf(Cache),
    /// Logarithm of the ratio of times to the end, in 10⁻⁹.
    Total,
    /// Logarithm of the ratio of lengths, in 10⁻⁹.
    Length,
}

impl Quantity {
    /// Parts of one in which it is summed.
    const fn parts(self) -> f64 {
        match self {
            Self::Loss(_) | Self::Difference(_) => 1e4,
            Self::Ttft | Self::TtftOf(_) | Self::Total | Self::Length => 1e9,
        }
    }
}

impl KeyHour {
    pub(super) fn of(pair: &Pair<'_>) -> Self {
        let key = pair.key.as_ref().unwrap_or(&pair.id);
        Self { key: Tag::of(key), instance: Tag::of(&pair.instance), hour: pair.at.div_euclid(HOUR) }
    }
}

impl Tag {
    fn of(text: &str) -> Self {
        let mut tag = [0; 16];
        let bytes = text.as_bytes();
        for (slot, byte) in tag.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        if bytes.len() > tag.len() {
            for (slot, byte) in tag.iter_mut().skip(8).zip(hash(bytes).to_be_bytes()) {
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

impl Cell {
    /// Counts a pair that a check is over.
    pub(super) fn check(&mut self, check: CheckName, (baseline, candidate): (bool, bool)) {
        if let Some(tally) = self.checks.get_mut(check as usize) {
            tally.n = tally.n.saturating_add(1);
            tally.sum = tally.sum.saturating_add(i32::from(candidate) - i32::from(baseline));
        }
    }

    /// Counts a pair that has a quantity.
    pub(super) fn add(&mut self, quantity: Quantity, value: i64) {
        if let Some(sum) = self.sums.iter_mut().find(|sum| sum.quantity == quantity) {
            sum.n = sum.n.saturating_add(1);
            sum.sum = sum.sum.saturating_add(value);
        } else {
            // A cell gets few more, and there are many cells.
            self.sums.reserve_exact(1);
            self.sums.push(Sum { quantity, n: 1, sum: value });
        }
    }

    fn check_mean(&self, check: CheckName) -> Option<f64> {
        let tally = self.checks.get(check as usize)?;
        (tally.n > 0).then(|| f64::from(tally.sum) / f64::from(tally.n))
    }

    #[expect(clippy::cast_precision_loss, reason = "sums of a key-hour are far below 2^53")]
    fn mean(&self, quantity: Quantity) -> Option<f64> {
        let sum = self.sums.iter().find(|sum| sum.quantity == quantity)?;
        Some(sum.sum as f64 / f64::from(sum.n) / quantity.parts())
    }
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

    /// Returns the observations of a check's difference.
    pub(super) fn check(&self, check: CheckName) -> Vec<f64> {
        self.cells.iter().filter_map(|(_, cell)| cell.check_mean(check)).collect()
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
        assert!(texts.windows(2).all(|two| Tag::of(two[0]) < Tag::of(two[1])));
        let long = "0123456789abcdef0";
        assert_ne!(Tag::of(long), Tag::of("0123456789abcdef1"));
        assert_eq!(Tag::of(long), Tag::of(long));
    }

    #[test]
    fn a_cell_is_small() {
        assert!(size_of::<KeyHour>() + size_of::<Cell>() + 8 * size_of::<Sum>() <= 256);
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
