//! chrF: the F1 of the character n-grams of two texts, of orders 1 to 6, as sacreBLEU computes it with β = 1.
//!
//! The n-grams of one order are sorted from those of the order below by one counting sort, so that the time is linear
//! in the length of the texts, whatever they are.

use super::text::plain;

/// Longest n-gram.
const ORDERS: usize = 6;

/// Returns the similarity of two texts, 0 to 1. Markdown's marks and white space do not count.
pub(super) fn chrf(a: &str, b: &str) -> f64 {
    let (a, b) = (plain(a), plain(b));
    if a == b {
        return 1.0;
    }
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for (length, matches) in (1..).zip(matches(&a, &b)) {
        precision += matches as f64 / (b.len() + 1 - length) as f64;
        recall += matches as f64 / (a.len() + 1 - length) as f64;
        orders += 1.0;
    }
    if orders == 0.0 || precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    2.0 * precision * recall / (precision + recall)
}

/// Returns, for each order of which both texts have an n-gram, the number of n-grams that they share.
fn matches(a: &[char], b: &[char]) -> Vec<usize> {
    let orders = ORDERS.min(a.len()).min(b.len());
    let mut grams = Grams::new(a, b);
    (0..orders)
        .map(|order| {
            if order > 0 {
                grams.lengthen();
            }
            grams.shared()
        })
        .collect()
}

/// The n-grams of two texts, for one n at a time.
struct Grams {
    /// Characters of both texts, as positions in their common alphabet. Together at most 36 times [`super::caps::TEXT`]
    /// (NFKC makes up to 18 characters of one).
    letters: Vec<u32>,
    /// Start of the second text.
    second: usize,
    /// Begin of every n-gram, in the n-grams' order.
    sorted: Vec<usize>,
    /// For the begin of an n-gram, the number of smaller n-grams that differ.
    ranks: Vec<u32>,
    /// Number of characters in the alphabet.
    alphabet: usize,
}

impl Grams {
    /// Sorts the n-grams of order 1.
    fn new(a: &[char], b: &[char]) -> Self {
        let mut alphabet: Vec<char> = a.iter().chain(b).copied().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let place = |c: &char| alphabet.binary_search(c).unwrap_or_default() as u32;
        let letters: Vec<u32> = a.iter().chain(b).map(place).collect();
        let everywhere = (0..letters.len()).collect();
        let mut grams =
            Self { second: a.len(), ranks: letters.clone(), letters, sorted: Vec::new(), alphabet: alphabet.len() };
        grams.sorted = grams.by_letter(everywhere);
        grams
    }

    /// Makes the n-grams one character longer, in front: a position counts if its neighbour to the right did.
    fn lengthen(&mut self) {
        let second = self.second;
        let tails = std::mem::take(&mut self.sorted);
        let heads = tails.into_iter().filter(|tail| *tail != 0 && *tail != second).map(|tail| tail - 1).collect();
        self.sorted = self.by_letter(heads);
        let mut ranks = vec![0; self.ranks.len()];
        let mut rank = 0;
        let mut last = None;
        for &at in &self.sorted {
            let gram = (self.letters[at], self.ranks[at + 1]);
            if last.replace(gram).is_some_and(|last| last != gram) {
                rank += 1;
            }
            ranks[at] = rank;
        }
        self.ranks = ranks;
    }

    /// Sorts positions by their character; positions with the same one keep their order.
    fn by_letter(&self, positions: Vec<usize>) -> Vec<usize> {
        let mut ends = vec![0_usize; self.alphabet];
        for &at in &positions {
            ends[self.letters[at] as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        let mut sorted = vec![0; positions.len()];
        for at in positions.into_iter().rev() {
            let end = &mut ends[self.letters[at] as usize];
            *end -= 1;
            sorted[*end] = at;
        }
        sorted
    }

    /// Returns the size of the intersection of both texts' multisets of n-grams.
    fn shared(&self) -> usize {
        let equal = |x: &usize, y: &usize| self.ranks[*x] == self.ranks[*y];
        let of = |gram: &[usize]| {
            let first = gram.iter().filter(|at| **at < self.second).count();
            first.min(gram.len() - first)
        };
        self.sorted.chunk_by(equal).map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Counts the n-grams of both texts one by one.
    fn counted(a: &[char], b: &[char]) -> Vec<usize> {
        let count = |text: &[char], n| {
            let mut counts: HashMap<Vec<char>, usize> = HashMap::new();
            text.windows(n).for_each(|gram| *counts.entry(gram.to_vec()).or_default() += 1);
            counts
        };
        let orders = 1..=ORDERS.min(a.len()).min(b.len());
        orders
            .map(|n| {
                let b = count(b, n);
                count(a, n).into_iter().map(|(gram, n)| n.min(b.get(&gram).copied().unwrap_or_default())).sum()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn sorted_n_grams_are_the_counted_ones(a in "[abc]{0,40}|\\PC{0,40}", b in "[abc]{0,40}|\\PC{0,40}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(matches(&a, &b), counted(&a, &b));
        }

        #[test]
        fn similarity_is_symmetric_and_within_its_range(a in "[a-c ]{0,60}|\\PC{0,60}", b in "[a-c ]{0,60}|\\PC{0,60}") {
            let similarity = chrf(&a, &b);
            prop_assert!((0.0..=1.0).contains(&similarity), "{}", similarity);
            prop_assert!((similarity - chrf(&b, &a)).abs() < 1e-12);
            prop_assert_eq!(chrf(&a, &a), 1.0);
        }
    }

    #[test]
    fn texts_without_a_common_or_any_character() {
        assert_eq!(chrf("**", "##"), 1.0);
        assert_eq!(chrf("a", ""), 0.0);
        assert_eq!(chrf("a", "b"), 0.0);
    }
}
