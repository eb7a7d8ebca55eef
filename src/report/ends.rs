//! Words for the end of a model.

/// Returns the predicate of a sentence about a model that ends in so many days.
pub(crate) fn ends_in(days: i64) -> String {
    match days {
        0 => "ends today".to_owned(),
        1 => "ends in 1 day".to_owned(),
        2.. => format!("ends in {days} days"),
        -1 => "ended 1 day ago".to_owned(),
        _ => format!("ended {} days ago", days.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_both_ways() {
        let words = [47, 1, 0, -1, -30].map(ends_in);
        assert_eq!(words, ["ends in 47 days", "ends in 1 day", "ends today", "ended 1 day ago", "ended 30 days ago"]);
    }
}
