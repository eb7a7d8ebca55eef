//! Dates at which a backend's vendor switches its models off.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;
use jiff::tz::Offset;

/// Limit on the models that are kept, those that end first. A vendor's list has some hundred models, few of which end.
const MAX_MODELS: usize = 256;

/// Ends of models by the last list. Written off the request path, and never read on it.
#[derive(Debug, Default)]
pub struct ModelEnds(Mutex<Option<Vec<ModelEnd>>>);

/// A model, and the day from which on it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelEnd {
    /// The day, in UTC.
    pub date: Date,
    /// The backend's name of the model: up to 128 printable ASCII characters.
    pub model: String,
}

impl ModelEnds {
    /// Replaces everything that is known. Models that are not in the map do not end, as far as anyone knows.
    pub fn set(&self, ends: BTreeMap<String, Date>) {
        let mut ends: Vec<ModelEnd> = ends.into_iter().map(|(model, date)| ModelEnd { date, model }).collect();
        ends.sort();
        ends.truncate(MAX_MODELS);
        ends.shrink_to_fit();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    /// Returns the models that end and that `is_wanted`, the first to end first; `None` before the first list.
    pub fn of(&self, is_wanted: impl Fn(&str) -> bool) -> Option<Vec<ModelEnd>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known.as_ref()?.iter().filter(|end| is_wanted(&end.model)).cloned().collect())
    }
}

impl ModelEnd {
    /// Number of days from `today` on; negative for a day that has passed.
    pub fn days(&self, today: Date) -> i64 {
        // Two dates always have a difference in days.
        today.until(self.date).map_or(0, |span| i64::from(span.get_days()))
    }
}

/// Returns the day of an instant, in UTC.
pub(crate) fn day_of(at: jiff::Timestamp) -> Date {
    Offset::UTC.to_datetime(at).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn unknown_is_not_none() {
        let ends = ModelEnds::default();
        assert_eq!(ends.of(|_| true), None);
        ends.set(BTreeMap::new());
        assert_eq!(ends.of(|_| true), Some(Vec::new()));
    }

    #[test]
    fn the_first_to_end_are_kept_and_come_first() {
        let ends = ModelEnds::default();
        let all = (0..1000).map(|n| (format!("m{n:03}"), date("2030-01-01").saturating_sub(jiff::Span::new().days(n))));
        ends.set(all.collect());
        let known = ends.of(|_| true).unwrap();
        assert_eq!((known.len(), known[0].model.as_str(), known[255].model.as_str()), (MAX_MODELS, "m999", "m744"));
        assert_eq!(ends.of(|model| model == "m800").unwrap().len(), 1);
    }

    #[test]
    fn days_are_counted_over_years_and_backwards() {
        let end = ModelEnd { date: date("2027-01-14"), model: "m".to_owned() };
        let days = ["2026-11-20", "2027-01-14", "2027-01-15", "2020-01-14"].map(|today| end.days(date(today)));
        assert_eq!(days, [55, 0, -1, 2557]);
    }
}
