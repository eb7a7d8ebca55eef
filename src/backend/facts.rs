//! Properties of a backend that polls and probes found.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};

use crate::model::MissingFeatures;

/// Flag beside the bits of [`MissingFeatures`], so that one load reads both.
const PROBED: u8 = 1 << 7;

/// Facts written by polls and probes, read on the request path.
#[derive(Debug, Default)]
pub struct Facts {
    /// Length in tokens; 0 if unknown.
    max_model_len: AtomicU64,
    /// Length in tokens; 0 if unknown.
    max_input_tokens: AtomicU64,
    lacks: AtomicU8,
}

impl Facts {
    /// Longest context in tokens, as the server reports it.
    pub fn max_model_len(&self) -> Option<u64> {
        Some(self.max_model_len.load(Relaxed)).filter(|length| *length > 0)
    }

    /// Longest prompt in tokens, as the server reports it; `None` also where it has no such limit.
    pub fn max_input_tokens(&self) -> Option<u64> {
        Some(self.max_input_tokens.load(Relaxed)).filter(|length| *length > 0)
    }

    /// Features that the last probe found missing; empty before the first probe.
    pub fn lacks(&self) -> MissingFeatures {
        MissingFeatures::from_bits(self.lacks.load(Relaxed))
    }

    /// Features that the last probe found missing; `None` before the first probe ends.
    pub fn probed(&self) -> Option<MissingFeatures> {
        let bits = self.lacks.load(Relaxed);
        (bits & PROBED != 0).then(|| MissingFeatures::from_bits(bits))
    }

    /// Sets the longest context, in tokens.
    pub fn set_max_model_len(&self, length: u64) {
        self.max_model_len.store(length, Relaxed);
    }

    /// Sets the longest prompt, in tokens.
    pub fn set_max_input_tokens(&self, length: u64) {
        self.max_input_tokens.store(length, Relaxed);
    }

    /// Sets the result of a probe.
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
        assert_eq!((facts.max_model_len(), facts.max_input_tokens(), facts.probed()), (None, None, None));
        assert_eq!(facts.lacks(), MissingFeatures::NONE);
        facts.set_lacks(MissingFeatures::NONE);
        facts.set_max_model_len(32_768);
        facts.set_max_input_tokens(32_000);
        assert_eq!(facts.max_input_tokens(), Some(32_000));
        assert_eq!((facts.max_model_len(), facts.probed()), (Some(32_768), Some(MissingFeatures::NONE)));
        facts.set_lacks(MissingFeatures::TOOLS);
        assert_eq!((facts.lacks(), facts.probed()), (MissingFeatures::TOOLS, Some(MissingFeatures::TOOLS)));
    }
}
