//! Sums of one key-hour, in few bytes: there are 131,072 of them.

use super::vocabulary::{Cache, CheckName, PairKind};

/// Quantities whose mean over a key-hour is an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// The candidate's fault minus the baseline's.
    Check(CheckName),
    /// 1 − agreement, in 10⁻⁴.
    Loss(PairKind),
    /// Floor − agreement, in 10⁻⁴.
    Difference(PairKind),
    /// Logarithm of the ratio of times to the first token, in 10⁻⁹.
    Ttft,
    /// Time to the first token, of pairs with this share of cached prompt.
    TtftOf(Cache),
    /// Logarithm of the ratio of times to the end, in 10⁻⁹.
    Total,
    /// Logarithm of the ratio of lengths, in 10⁻⁹.
    Length,
}

impl Quantity {
    /// Number of quantities.
    const COUNT: usize = Self::TTFT + 3 + Cache::COUNT;
    /// Position of the first loss.
    const LOSS: usize = CheckName::ALL.len();
    /// Position of the time to the first token.
    const TTFT: usize = Self::LOSS + 2 * PairKind::ALL.len();

    /// Position among all quantities.
    const fn position(self) -> usize {
        match self {
            Self::Check(check) => check as usize,
            Self::Loss(kind) => Self::LOSS + kind as usize,
            Self::Difference(kind) => Self::LOSS + PairKind::ALL.len() + kind as usize,
            Self::Ttft => Self::TTFT,
            Self::Total => Self::TTFT + 1,
            Self::Length => Self::TTFT + 2,
            Self::TtftOf(cache) => Self::TTFT + 3 + cache as usize,
        }
    }

    /// Parts of one in which it is summed.
    const fn parts(self) -> f64 {
        match self {
            Self::Check(_) => 1.0,
            Self::Loss(_) | Self::Difference(_) => 1e4,
            Self::Ttft | Self::TtftOf(_) | Self::Total | Self::Length => 1e9,
        }
    }
}

/// Sums of one key-hour. The bytes are, for each quantity that it has, in their order: its position, the number of pairs, and
/// the sum with its sign in the last bit; both numbers in groups of seven bits, the lowest first. Pairs of one kind take some
/// 50 bytes, pairs of all kinds 150.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell(Box<[u8]>);

/// Quantities that a pair has, each with its value.
#[derive(Debug, Default)]
pub(super) struct Observed(Vec<(Quantity, i64)>);

/// Numbers of pairs and sums, by position.
struct Sums([(u64, i64); Quantity::COUNT]);

impl Observed {
    /// Adds the faults of the baseline and of the candidate.
    pub(super) fn check(&mut self, check: CheckName, (baseline, candidate): (bool, bool)) {
        self.add(Quantity::Check(check), i64::from(candidate) - i64::from(baseline));
    }

    /// Adds a value.
    pub(super) fn add(&mut self, quantity: Quantity, value: i64) {
        self.0.push((quantity, value));
    }
}

impl Cell {
    /// Counts a pair.
    pub(super) fn add(&mut self, observed: &Observed) {
        let mut sums = self.sums();
        for (quantity, value) in &observed.0 {
            if let Some((n, sum)) = sums.0.get_mut(quantity.position()) {
                *n += 1;
                *sum = sum.saturating_add(*value);
            }
        }
        self.0 = sums.written();
    }

    /// Returns the mean over the pairs that have the quantity; `None` without any.
    #[expect(clippy::cast_precision_loss, reason = "sums of a key-hour are far below 2^53")]
    pub(super) fn mean(&self, quantity: Quantity) -> Option<f64> {
        let wanted = quantity.position();
        // The parts are in the order of positions.
        let (position, n, sum) = self.parts().find(|(position, ..)| *position >= wanted)?;
        (position == wanted).then(|| sum as f64 / n as f64 / quantity.parts())
    }

    /// Returns positions, numbers of pairs and sums.
    fn parts(&self) -> impl Iterator<Item = (usize, u64, i64)> {
        let mut bytes = self.0.iter().copied();
        std::iter::from_fn(move || Some((usize::from(bytes.next()?), number(&mut bytes), signed(number(&mut bytes)))))
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums([(0, 0); Quantity::COUNT]);
        for (position, n, sum) in self.parts() {
            if let Some(slot) = sums.0.get_mut(position) {
                *slot = (n, sum);
            }
        }
        sums
    }
}

impl Sums {
    fn written(&self) -> Box<[u8]> {
        let mut bytes = Vec::with_capacity(256);
        for (position, (n, sum)) in (0_u8..).zip(&self.0).filter(|(_, (n, _))| *n > 0) {
            bytes.push(position);
            write(*n, &mut bytes);
            write(unsigned(*sum), &mut bytes);
        }
        bytes.as_slice().into()
    }
}

/// Writes a number in groups of seven bits; the first bit of a byte says that more follow.
#[expect(clippy::cast_possible_truncation, reason = "seven bits are written at a time")]
fn write(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let mut number = 0;
    for (byte, shift) in bytes.zip((0..64).step_by(7)) {
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// Moves the sign to the last bit, so that a small number has few bits.
const fn unsigned(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

const fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<Quantity> {
        let kinds = PairKind::ALL.iter().flat_map(|kind| [Quantity::Loss(*kind), Quantity::Difference(*kind)]);
        let caches = [Cache::Cold, Cache::Warm, Cache::Mixed, Cache::Unknown].map(Quantity::TtftOf);
        let checks = CheckName::ALL.iter().copied().map(Quantity::Check);
        checks.chain(kinds).chain(caches).chain([Quantity::Ttft, Quantity::Total, Quantity::Length]).collect()
    }

    #[test]
    fn every_quantity_has_its_own_position() {
        let mut positions: Vec<usize> = all().into_iter().map(Quantity::position).collect();
        positions.sort_unstable();
        assert_eq!(positions, (0..Quantity::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn a_usual_cell_is_small() {
        let mut observed = Observed::default();
        CheckName::ALL.iter().for_each(|check| observed.check(*check, (false, true)));
        observed.add(Quantity::Loss(PairKind::Json), 500);
        observed.add(Quantity::Difference(PairKind::Json), -500);
        for quantity in [Quantity::Ttft, Quantity::TtftOf(Cache::Cold), Quantity::Total, Quantity::Length] {
            observed.add(quantity, -700_000_000);
        }
        let mut cell = Cell::default();
        cell.add(&observed);
        assert!(cell.0.len() <= 64, "{}", cell.0.len());
    }

    proptest! {
        #[test]
        fn a_cell_has_the_means_of_what_was_added(
            pairs in prop::collection::vec(prop::collection::vec((0..26_usize, -1_i64 << 50..1 << 50), 0..30), 0..20),
        ) {
            let quantities = all();
            let mut cell = Cell::default();
            let mut sums: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
            for pair in &pairs {
                let mut observed = Observed::default();
                for (of, value) in pair {
                    observed.add(quantities[*of], *value);
                    let (n, sum) = sums.entry(*of).or_default();
                    (*n, *sum) = (*n + 1, *sum + value);
                }
                cell.add(&observed);
            }
            for (of, quantity) in quantities.iter().enumerate() {
                let expected = sums.get(&of).map(|(n, sum)| *sum as f64 / *n as f64 / quantity.parts());
                prop_assert_eq!(cell.mean(*quantity), expected);
            }
        }
    }
}
