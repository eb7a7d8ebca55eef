//! chrF: the F1 of the character n-grams of two texts, of orders 1 to 6, as sacreBLEU computes it with β = 1.
//!
//! The n-grams of one order are sorted from those of the order below by one counting sort, so that the time is linear
//! in the length of the texts, whatever they are.

/// Longest n-gram.
const ORDERS: usize = 6;

/// Returns the similarity of two texts in their plain form, 0 to 1.
pub(super) fn chrf(a: &[char], b: &[char]) -> f64 {
    if a == b {
        return 1.0;
    }
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for (length, matches) in (1..).zip(matches(a, b)) {
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
            grams.keep_shared()
        })
        .collect()
}

/// The n-grams of two texts, for one n at a time. Positions are those of both texts in one row.
struct Grams {
    /// Characters as places in the common alphabet. Together at most 36 times [`super::caps::TEXT`], since NFKC makes up
    /// to 18 characters of one.
    letters: Vec<u32>,
    /// Start of the second text.
    second: u32,
    /// Begin of each n-gram that both texts have, in the order of the n-grams.
    sorted: Vec<u32>,
    /// Place of the n-gram that begins at a position among the different ones.
    ranks: Vec<u32>,
    /// Number of n-grams of each first character, then the end of their places.
    ends: Vec<u32>,
    /// Positions that are being sorted.
    spare: Vec<u32>,
}

impl Grams {
    /// Sorts the n-grams of order 1.
    fn new(a: &[char], b: &[char]) -> Self {
        let mut alphabet: Vec<char> = a.iter().chain(b).copied().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let place = |c: &char| alphabet.binary_search(c).unwrap_or_default() as u32;
        let letters: Vec<u32> = a.iter().chain(b).map(place).collect();
        let mut grams = Self {
            second: a.len() as u32,
            ranks: letters.clone(),
            spare: (0..letters.len() as u32).collect(),
            letters,
            sorted: Vec::new(),
            ends: vec![0; alphabet.len()],
        };
        grams.sort_spare();
        grams
    }

    /// Makes the n-grams one character longer, in front. One whose tail is not shared is not shared either.
    fn lengthen(&mut self) {
        self.spare.clear();
        let heads = self.sorted.iter().filter(|tail| **tail != 0 && **tail != self.second).map(|tail| tail - 1);
        self.spare.extend(heads);
        self.sort_spare();
        let mut last = None;
        let mut rank = 0;
        // The rank at a position is read for the n-gram in front of it, so the new ranks go elsewhere first.
        self.spare.clear();
        for &at in &self.sorted {
            let gram = (self.letters[at as usize], self.ranks[at as usize + 1]);
            if last.replace(gram).is_some_and(|last| last != gram) {
                rank += 1;
            }
            self.spare.push(rank);
        }
        for (at, rank) in self.sorted.iter().zip(&self.spare) {
            self.ranks[*at as usize] = *rank;
        }
    }

    /// Sorts the spare positions by their character; positions with the same one keep their order.
    fn sort_spare(&mut self) {
        self.ends.fill(0);
        for at in &self.spare {
            self.ends[self.letters[*at as usize] as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut self.ends {
            sum += *end;
            *end = sum;
        }
        self.sorted.resize(self.spare.len(), 0);
        for at in self.spare.iter().rev() {
            let end = &mut self.ends[self.letters[*at as usize] as usize];
            *end -= 1;
            self.sorted[*end as usize] = *at;
        }
    }

    /// Drops the n-grams that only one text has, and returns the number of those that are shared.
    fn keep_shared(&mut self) -> usize {
        let mut shared = 0;
        let mut kept = 0;
        let mut start = 0;
        while start < self.sorted.len() {
            let rank = self.ranks[self.sorted[start] as usize];
            let equal = self.sorted[start..].iter().take_while(|at| self.ranks[**at as usize] == rank);
            let (mut count, mut first) = (0, 0);
            for at in equal {
                count += 1;
                first += usize::from(*at < self.second);
            }
            let both = first.min(count - first);
            if both > 0 {
                self.sorted.copy_within(start..start + count, kept);
                kept += count;
                shared += both;
            }
            start += count;
        }
        self.sorted.truncate(kept);
        shared
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
        fn similarity_is_symmetric_and_within_its_range(a in "[a-c]{0,60}|\\PC{0,60}", b in "[a-c]{0,60}|\\PC{0,60}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            let similarity = chrf(&a, &b);
            prop_assert!((0.0..=1.0).contains(&similarity), "{}", similarity);
            prop_assert!((similarity - chrf(&b, &a)).abs() < 1e-12);
            prop_assert_eq!(chrf(&a, &a), 1.0);
        }
    }

    #[test]
    fn texts_without_a_common_or_any_character() {
        assert_eq!(chrf(&[], &[]), 1.0);
        assert_eq!(chrf(&['a'], &[]), 0.0);
        assert_eq!(chrf(&['a'], &['b']), 0.0);
    }
}
