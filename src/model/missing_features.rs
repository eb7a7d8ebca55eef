//! Features that a probe found not to work at a backend.

use std::ops::{BitAnd, BitOr};

/// A set of features that do not work at a backend; requests that need one are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MissingFeatures(u8);

impl MissingFeatures {
    /// Every feature works.
    pub const NONE: Self = Self(0);
    /// Tool calls.
    pub const TOOLS: Self = Self(1);
    /// Tool calls in streams.
    pub const TOOLS_STREAMED: Self = Self(1 << 1);
    /// `response_format` of type `json_schema`.
    pub const JSON_SCHEMA: Self = Self(1 << 2);
    /// `response_format` of type `json_object`.
    pub const JSON_OBJECT: Self = Self(1 << 3);
    /// `/v1/responses`.
    pub const RESPONSES: Self = Self(1 << 4);

    const ALL: [(Self, &'static str); 5] = [
        (Self::TOOLS, "tools"),
        (Self::TOOLS_STREAMED, "tools_streamed"),
        (Self::JSON_SCHEMA, "json_schema"),
        (Self::JSON_OBJECT, "json_object"),
        (Self::RESPONSES, "responses"),
    ];

    /// True if every feature of `other` is missing.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if any feature of `other` is missing.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True if no feature is missing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of the missing features.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |(feature, _)| self.contains(*feature)).map(|(_, name)| name)
    }

    /// The set as bits, for an atomic; the upper three bits are free.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set of these bits; unknown bits are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1_1111)
    }
}

impl BitOr for MissingFeatures {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for MissingFeatures {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_its_features() {
        let both = MissingFeatures::TOOLS | MissingFeatures::RESPONSES;
        assert!(
            both.contains(MissingFeatures::TOOLS)
                && !both.contains(MissingFeatures::TOOLS | MissingFeatures::JSON_SCHEMA)
        );
        assert!(
            both.intersects(MissingFeatures::TOOLS | MissingFeatures::JSON_SCHEMA)
                && !both.intersects(MissingFeatures::JSON_OBJECT)
        );
        assert_eq!(both & (MissingFeatures::TOOLS | MissingFeatures::JSON_SCHEMA), MissingFeatures::TOOLS);
        assert_eq!(both.names().collect::<Vec<_>>(), ["tools", "responses"]);
        assert_eq!(MissingFeatures::from_bits(both.bits() | 0x80), both);
        let all = MissingFeatures::ALL.into_iter().fold(MissingFeatures::NONE, |all, (feature, _)| all | feature);
        assert_eq!((all.names().count(), MissingFeatures::from_bits(u8::MAX)), (MissingFeatures::ALL.len(), all));
    }
}
