//! Rows of scores: a name, and a value or the reason for which it is null.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::vocabulary::NullReason;

/// Name and value of a score.
pub(super) type Row = (&'static str, Result<Value, NullReason>);

/// Value of a score, as it is written: rounded to its decimals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Number with at most 4 decimals.
    Number(f64),
    /// Ratio above 0, with at most 4 decimals.
    Ratio(f64),
    /// Time in milliseconds, with at most 3 decimals.
    Milliseconds(f64),
    /// Count.
    Count(u64),
    /// Yes or no.
    Truth(bool),
    /// Word of a closed list.
    Word(&'static str),
}

impl Value {
    /// Returns the value with its decimals.
    pub(super) fn rounded(self) -> Self {
        match self {
            Self::Number(number) => Self::Number(round(number, 1e4)),
            // A ratio is never 0: its logarithm is taken.
            Self::Ratio(ratio) => Self::Ratio(round(ratio, 1e4).max(1e-4)),
            Self::Milliseconds(time) => Self::Milliseconds(round(time, 1e3)),
            other => other,
        }
    }
}

fn round(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.rounded() {
            Self::Number(number) | Self::Ratio(number) | Self::Milliseconds(number) => serializer.serialize_f64(number),
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Truth(truth) => serializer.serialize_bool(truth),
            Self::Word(word) => serializer.serialize_str(word),
        }
    }
}

/// Returns the reasons of the rows that are null.
pub(super) fn nulls(rows: &[Row]) -> BTreeMap<&'static str, NullReason> {
    rows.iter().filter_map(|(name, value)| value.err().map(|reason| (*name, reason))).collect()
}
