//! Quantiles within 0.1 %, from counts alone.

/// Bits of a value that are kept, its first one included: a bucket is at most 1/512 of its values wide, so that its middle
/// is within 0.098 % of each of them.
const BITS: u32 = 10;
/// Number of buckets for each position of the first bit.
const STEP: u64 = 1 << (BITS - 1);

/// Bits of an entry that count.
const COUNT_BITS: u32 = 16;
/// Largest count of an entry. One more begins another entry of the same bucket.
const FULL: u32 = (1 << COUNT_BITS) - 1;

/// A sparse histogram of whole numbers. Values below 1,024 are exact. It holds at most 56 × 512 buckets, whatever comes;
/// answers of real backends fill some hundreds, of four bytes each. A bucket has another entry for each 65,535 values.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Bucket in the upper half, count in the lower half; in the order of buckets. Of several entries of a bucket only the
    /// last one may not be full.
    entries: Vec<u32>,
    n: u64,
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        self.n += 1;
        let bucket = u32::from(bucket(value)) << COUNT_BITS;
        let end = self.entries.partition_point(|entry| *entry <= bucket | FULL);
        match end.checked_sub(1).and_then(|last| self.entries.get_mut(last)) {
            Some(last) if *last >= bucket && *last < bucket | FULL => *last += 1,
            _ => {
                // There are many histograms, so that doubling would cost more than it saves.
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(self.entries.len() / 8 + 4);
                }
                self.entries.insert(end, bucket | 1);
            }
        }
    }

    /// Returns buckets with their counts, in the order of values; a bucket may come several times.
    fn buckets(&self) -> impl Iterator<Item = (u16, u32)> {
        self.entries.iter().map(|entry| ((entry >> COUNT_BITS) as u16, entry & FULL))
    }

    /// Number of values.
    pub const fn n(&self) -> u64 {
        self.n
    }

    /// Returns the values of these ranks, which rise, each within 0.1 %; a rank above [`Self::n`] has none.
    pub fn of_ranks(&self, ranks: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let mut buckets = self.buckets();
        let (mut below, mut last) = (0, None);
        let of = |rank: u64| {
            while below < rank {
                let (bucket, count) = buckets.next()?;
                below += u64::from(count);
                last = Some(middle(bucket));
            }
            last
        };
        ranks.into_iter().map_while(of).collect()
    }

    /// Returns the value of rank ⌈n × `percent` / 100⌉, within 0.1 %; `None` of nothing.
    pub fn quantile(&self, percent: u64) -> Option<f64> {
        let rank = (self.n * percent).div_ceil(100).max(1);
        let mut below = 0;
        let mut of_rank = self.buckets().skip_while(|(_, count)| {
            below += u64::from(*count);
            below < rank
        });
        of_rank.next().map(|(bucket, _)| middle(bucket))
    }
}

/// Returns the number of a value's bucket: the position of its first bit, then the bits after it.
const fn bucket(value: u64) -> u16 {
    let shift = (u64::BITS - BITS).saturating_sub(value.leading_zeros());
    #[expect(clippy::cast_possible_truncation, reason = "at most 54 × 512 + 1,023")]
    let number = (shift as u64 * STEP + (value >> shift)) as u16;
    number
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are more than the bucket's")]
fn middle(bucket: u16) -> f64 {
    let shift = (u64::from(bucket) / STEP).saturating_sub(1);
    let first = (u64::from(bucket) - shift * STEP) << shift;
    first as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantile_and_small_values_are_exact() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(50), None);
        for value in [3, 1, 2, 1023] {
            histogram.add(value);
        }
        let of = |percent| histogram.quantile(percent).unwrap();
        assert_eq!([of(1), of(25), of(26), of(50), of(75), of(76), of(100)], [1.0, 1.0, 2.0, 2.0, 3.0, 1023.0, 1023.0]);
    }

    #[test]
    fn a_full_bucket_goes_on_in_another_entry() {
        let mut histogram = Histogram::default();
        for number in 0..300_000_u64 {
            histogram.add(if number % 3 == 0 { 7 } else { 9 });
        }
        assert_eq!((histogram.n(), histogram.entries.len()), (300_000, 6));
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u32>(), 300_000);
        assert_eq!([33, 34].map(|percent| histogram.quantile(percent)), [Some(7.0), Some(9.0)]);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_thousandth(mut values in prop::collection::vec(0_u64..1 << 50, 1..60), percent in 1_u64..=100) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.add(*value);
            }
            values.sort_unstable();
            let rank = (values.len() as u64 * percent).div_ceil(100) as usize;
            let exact = values[rank - 1] as f64;
            let found = histogram.quantile(percent).unwrap();
            prop_assert!((found - exact).abs() <= exact * 0.001, "{} {}", found, exact);
            let ranks = 1..=values.len() as u64 + 1;
            let each: Vec<f64> = values.iter().map(|value| middle(bucket(*value))).collect();
            prop_assert_eq!(histogram.of_ranks(ranks), each);
        }

        #[test]
        fn buckets_are_in_the_values_order(value in any::<u64>()) {
            prop_assert!(bucket(value) <= bucket(value.saturating_add(1)));
            let middle = middle(bucket(value));
            prop_assert!((middle - value as f64).abs() <= value as f64 * 0.001);
        }
    }
}
