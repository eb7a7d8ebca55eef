//! The choice of lines.

use super::line::{Counts, Pair};

/// Conditions that all have to hold. Counts know no model.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Milliseconds since 1970: lines before it are left out.
    pub since: Option<i64>,
    /// Milliseconds since 1970: lines at or after it are left out.
    pub until: Option<i64>,
    /// Name of the only route.
    pub route: Option<String>,
    /// Name of the only model, as the application asked for it.
    pub model: Option<String>,
}

/// Error of a text that is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a time: write 2026-11-20 (its begin in UTC) or 2026-11-20T08:00:00Z")]
pub struct NotATime;

/// Reads a time as milliseconds since 1970: RFC 3339, or a date, which is its begin in UTC.
pub fn instant(text: &str) -> Result<i64, NotATime> {
    let at = text.parse().or_else(|_| format!("{text}T00:00:00Z").parse());
    at.map(jiff::Timestamp::as_millisecond).map_err(|_| NotATime)
}

impl Filter {
    pub(super) fn has_pair(&self, pair: &Pair<'_>) -> bool {
        self.has(pair.at, &pair.route) && self.model.as_deref().is_none_or(|model| model == pair.model)
    }

    pub(super) fn has_counts(&self, counts: &Counts<'_>) -> bool {
        self.has(counts.at, &counts.route)
    }

    fn has(&self, at: i64, route: &str) -> bool {
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.route.as_deref().is_none_or(|only| only == route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let eight = instant("2026-11-20T08:00:00Z").unwrap();
        assert_eq!(instant("2026-11-20T09:00:00+01:00"), Ok(eight));
        assert_eq!(instant("2026-11-20"), Ok(eight - 8 * 3_600_000));
        for text in ["", "yesterday", "2026-13-01", "8"] {
            assert_eq!(instant(text), Err(NotATime), "{text}");
        }
    }
}
