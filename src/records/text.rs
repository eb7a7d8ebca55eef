//! Values as the schema writes them: cut strings, times, rounded numbers.

use serde::{Serialize, Serializer};

/// Limit of a string that comes from outside, in bytes as it is written in JSON: 128 characters of a usual name. A longer
/// one is cut, so that a line stays below 4 KiB; names differ within it.
const MAX_WRITTEN: usize = 128;

/// A string that is written up to [`MAX_WRITTEN`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut<'a>(pub &'a str);

impl<'a> Cut<'a> {
    /// Returns the part that is written.
    pub fn as_str(self) -> &'a str {
        let mut written = 0;
        let end = self.0.char_indices().find(|(_, character)| {
            written += written_bytes(*character);
            written > MAX_WRITTEN
        });
        end.and_then(|(end, _)| self.0.get(..end)).unwrap_or(self.0)
    }
}

/// Returns the bytes of a character in a JSON string.
const fn written_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\x08' | '\t' | '\n' | '\x0c' | '\r' => 2,
        '\0'..='\x1f' => 6,
        _ => character.len_utf8(),
    }
}

impl Serialize for Cut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A time that is written as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub jiff::Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

/// A number that is written with at most this many decimals; one that is not finite is `null`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounded<const DECIMALS: i32>(pub f64);

/// A score.
pub type Score = Rounded<4>;

/// Milliseconds.
pub type Ms = Rounded<3>;

/// US dollars.
pub type Usd = Rounded<9>;

impl Ms {
    /// Converts a duration.
    pub fn of(duration: std::time::Duration) -> Self {
        Self(duration.as_secs_f64() * 1e3)
    }
}

impl Usd {
    /// Converts 10⁻⁹ USD.
    pub const fn of_nano(nano_usd: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep every decimal")]
        Self(nano_usd as f64 / 1e9)
    }
}

impl<const DECIMALS: i32> Serialize for Rounded<DECIMALS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_finite() {
            return serializer.serialize_none();
        }
        let scale = 10_f64.powi(DECIMALS);
        let scaled = self.0 * scale;
        // Above 2^52 a number has no decimals that could be rounded.
        let rounded = if scaled.abs() < 4.5e15 { scaled.round() / scale } else { self.0 };
        serializer.serialize_f64(rounded)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn values_are_written_as_the_schema_says() {
        let at = jiff::Timestamp::from_millisecond(1_764_000_000_007).unwrap();
        assert_eq!(json(&Rfc3339(at)), "\"2025-11-24T16:00:00.007Z\"");
        assert_eq!(json(&Rfc3339(jiff::Timestamp::from_second(0).unwrap())), "\"1970-01-01T00:00:00.000Z\"");
        for (value, expected) in [
            (json(&Rounded::<4>(0.326_449_9)), "0.3264"),
            (json(&Rounded::<4>(2.0 / 3.0)), "0.6667"),
            (json(&Rounded::<4>(1.0)), "1.0"),
            (json(&Rounded::<4>(f64::NAN)), "null"),
            (json(&Rounded::<4>(f64::INFINITY)), "null"),
            (json(&Ms::of(Duration::from_nanos(41_234_567))), "41.235"),
            (json(&Usd::of_nano(9_610_000_001)), "9.610000001"),
            (json(&Rounded::<9>(0.000_123_456_789_4)), "0.000123457"),
            (json(&Some(Rounded::<9>(0.1 + 0.2))), "0.3"),
        ] {
            assert_eq!(value, expected);
        }
    }

    proptest! {
        #[test]
        fn a_string_is_cut_between_characters(text in "(?s).{0,200}") {
            let cut = Cut(&text).as_str();
            prop_assert!(text.starts_with(cut));
            let written = json(&cut).len() - 2;
            prop_assert!(written <= MAX_WRITTEN);
            let next = text.chars().nth(cut.chars().count());
            prop_assert!(next.is_none_or(|next| written + written_bytes(next) > MAX_WRITTEN));
        }

        #[test]
        fn a_score_has_at_most_four_decimals(score in 0.0..=1.0_f64) {
            let written = json(&Rounded::<4>(score));
            let (_, decimals) = written.split_once('.').unwrap();
            prop_assert!(decimals.len() <= 4 && !written.contains('e') || score < 0.001, "{}", written);
            let read: f64 = written.parse().unwrap();
            prop_assert!((read - score).abs() <= 0.000_050_000_1);
        }
    }
}
