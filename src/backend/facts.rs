//! What a backend was found to be, beside what the file says of it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};

use crate::model::MissingFeatures;

/// Set beside the bits of [`MissingFeatures`], so that both are read at once.
const PROBED: u8 = 1 << 7;

/// Learned off the request path, read on it.
#[derive(Debug, Default)]
pub struct Facts {
    /// 0: not known.
    max_model_len: AtomicU64,
    lacks: AtomicU8,
}

impl Facts {
    /// The longest context that the server itself names.
    pub fn max_model_len(&self) -> Option<u64> {
        Some(self.max_model_len.load(Relaxed)).filter(|length| *length > 0)
    }

    /// What the last probe missed; nothing before the first.
    pub fn lacks(&self) -> MissingFeatures {
        MissingFeatures::from_bits(self.lacks.load(Relaxed))
    }

    /// `None` before the first probe is done.
    pub fn probed(&self) -> Option<MissingFeatures> {
        let bits = self.lacks.load(Relaxed);
        (bits & PROBED != 0).then(|| MissingFeatures::from_bits(bits))
    }

    pub fn set_max_model_len(&self, length: u64) {
        self.max_model_len.store(length, Relaxed);
    }

    pub fn set_lacks(&self, lacks: MissingFeatures) {
        self.lacks.store(lacks.bits() | PROBED, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_it_was_learned() {
        let facts = Facts::default();
        assert_eq!((facts.max_model_len(), facts.lacks(), facts.probed()), (None, MissingFeatures::NONE, None));
        facts.set_lacks(MissingFeatures::NONE);
        facts.set_max_model_len(32_768);
        assert_eq!((facts.max_model_len(), facts.probed()), (Some(32_768), Some(MissingFeatures::NONE)));
        facts.set_lacks(MissingFeatures::TOOLS);
        assert_eq!((facts.lacks(), facts.probed()), (MissingFeatures::TOOLS, Some(MissingFeatures::TOOLS)));
    }
}
