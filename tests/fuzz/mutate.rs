//! Mutates seeds: cuts, repeats, joins, inserts words of the grammar and stray bytes. Each run number gives the same
//! input every time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes of an input at most; longer ones find nothing more.
const MAX: usize = 4096;

pub(crate) struct Mutator(StdRng);

impl Mutator {
    pub(crate) fn new(run: u64) -> Self {
        Self(StdRng::seed_from_u64(run))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }

    pub(crate) fn mutate(mut self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(8) {
                0 if !input.is_empty() => {
                    let at = self.below(input.len());
                    input[at] ^= 1 << self.below(8);
                }
                1 => input.insert(at, self.0.random()),
                2 => {
                    let range = self.range(input.len());
                    input.drain(range);
                }
                3 => {
                    let range = self.range(input.len());
                    let again = input[range].to_vec();
                    input.splice(at..at, again);
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let range = self.range(other.len());
                    input.splice(at..at, other[range].to_vec());
                }
                5 => input.truncate(at),
                _ => {
                    let word = words[self.below(words.len())].as_bytes();
                    input.splice(at..at, word.to_vec());
                }
            }
            input.truncate(MAX);
        }
        input
    }
}
