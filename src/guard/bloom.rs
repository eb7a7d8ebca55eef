//! A Bloom filter of keys: it may take a new key for a known one, and never the other way round.

/// Size, in 64-bit words: 1 MiB. At 100,000 keys one in 200,000 new keys is taken for a known one, at a million one in
/// 40; such a key's event is skipped, on both sides alike.
const WORDS: usize = 1 << 17;
/// Bits of each key. More would fill the filter sooner.
const BITS: u64 = 4;

/// Set of keys. It has no memory before the first one.
#[derive(Debug, Clone, Default)]
pub(super) struct Bloom(Vec<u64>);

impl Bloom {
    /// Adds a key by its evenly spread hash; false if it was there, or seems to have been.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        if self.0.is_empty() {
            self.0 = vec![0; WORDS];
        }
        // Double hashing (Kirsch and Mitzenmacher); an odd step reaches every bit.
        let (start, step) = (hash, hash.rotate_left(32) | 1);
        let mut is_new = false;
        for turn in 0..BITS {
            let place = start.wrapping_add(step.wrapping_mul(turn));
            let (word, bit) = ((place >> 6) % WORDS as u64, 1 << (place & 63));
            if let Some(word) = usize::try_from(word).ok().and_then(|word| self.0.get_mut(word)) {
                is_new |= *word & bit == 0;
                *word |= bit;
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn a_key_is_new_once() {
        let mut keys = Bloom::default();
        let mut rng = StdRng::seed_from_u64(19);
        let hashes: Vec<u64> = (0..50_000).map(|_| rng.random()).collect();
        let known = hashes.iter().filter(|hash| !keys.insert(**hash)).count();
        assert!(known <= 2, "{known} new keys were taken for known ones");
        assert!(hashes.iter().all(|hash| !keys.insert(*hash)), "a known key is never new again");
    }

    #[test]
    fn an_empty_one_has_no_memory() {
        let mut keys = Bloom::default();
        assert_eq!(keys.0.capacity(), 0);
        keys.insert(7);
        assert_eq!(keys.0.len() * 8, 1 << 20);
    }
}
