//! Numbers and times as the report writes them.

/// Returns a time in RFC 3339 with milliseconds; `None` outside of the calendar.
pub(super) fn instant(milliseconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(format!("{at:.3}"))
}

/// Rounds to six decimals; a number that is not finite is nothing.
pub(super) fn figure(number: f64) -> Option<f64> {
    number.is_finite().then(|| round(number))
}

/// Rounds to six decimals. There is no negative zero.
pub(super) fn round(number: f64) -> f64 {
    let scaled = number * 1e6;
    // Above 2^52 a number has no decimals that could be rounded.
    if scaled.abs() < 4.5e15 { scaled.round() / 1e6 + 0.0 } else { number }
}

/// Returns part / whole; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    figure(part as f64 / whole as f64)
}
