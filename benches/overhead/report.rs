//! The table: medians over the rounds, and medians of each round's ratios, since noise hits a whole round alike.

use std::collections::BTreeMap;

use crate::proxies::{BARE, TRANSLATING};

/// One row of the table; `values` has one number per round for each target.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) decimals: usize,
    pub(crate) values: BTreeMap<&'static str, Vec<f64>>,
}

impl Row {
    pub(crate) fn new(label: impl Into<String>, decimals: usize) -> Self {
        Self { label: label.into(), decimals, values: BTreeMap::new() }
    }

    pub(crate) fn push(&mut self, target: &'static str, value: f64) {
        self.values.entry(target).or_default().push(value);
    }
}

/// Returns the ratio of two targets by round: the median, the least and the most.
pub(crate) fn spread(row: &Row, one: &str, other: &str) -> String {
    let (Some(one), Some(other)) = (row.values.get(one), row.values.get(other)) else { return "-".to_owned() };
    let pairs = one.iter().zip(other).filter(|(_, other)| **other > 0.0);
    let mut ratios: Vec<f64> = pairs.map(|(one, other)| one / other).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    match (ratios.first(), ratios.last(), median(&ratios)) {
        (Some(least), Some(most), Some(median)) if ratios.len() > 1 => format!("{median:.2} ({least:.2}-{most:.2})"),
        (_, _, Some(median)) => format!("{median:.2}"),
        _ => "-".to_owned(),
    }
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Ratios in the last columns: the first target over the second.
const RATIOS: [(&str, &str); 3] = [("shiftgate", BARE), (TRANSLATING, BARE), ("shiftgate", "nginx")];

pub(crate) fn table(targets: &[&'static str], rows: &[Row]) -> String {
    let mut columns: Vec<String> = targets.iter().map(|&name| name.to_owned()).collect();
    columns.extend(RATIOS.map(|(one, other)| format!("{one} / {other}")));
    let mut text = format!("| | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
    for row in rows {
        text.push_str(&format!("\n| {} |", row.label));
        for target in targets {
            let value = row.values.get(target).and_then(|values| median(values));
            let shown = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.*}", row.decimals));
            text.push_str(&format!(" {shown} |"));
        }
        for (one, other) in RATIOS {
            text.push_str(&format!(" {} |", spread(row, one, other)));
        }
    }
    text
}
