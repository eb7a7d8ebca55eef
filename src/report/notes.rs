//! Remarks of a row, which decide nothing.

use super::shape_row::{Median, Note, Row};

/// Ratio from which on a difference of time, cost or length is worth a remark.
const NOTE: f64 = 1.05;
/// Share of the pairs with known costs below which the costs are remarked as incomplete.
const COVERED: f64 = 0.5;

/// Returns the remarks in the order of their list.
pub(super) fn notes(row: &Row) -> Vec<Note> {
    let mut notes = Vec::new();
    let times = [("first token", row.ttft_ms.all.ratio), ("whole answer", row.total_ms.ratio)];
    for (note, is_it) in [("slower", is_above as fn(&Median) -> bool), ("faster", is_below)] {
        for (what, ratio) in times {
            let ratio = ratio.filter(is_it);
            notes.extend(ratio.map(|ratio| Note { note, says: format!("{what} in {}", of_the(&ratio, "time")) }));
        }
    }
    notes.extend(cost(row));
    for (note, is_it) in [("longer", is_above as fn(&Median) -> bool), ("shorter", is_below)] {
        let ratio = row.length.ratio.filter(is_it);
        notes.extend(ratio.map(|ratio| Note { note, says: format!("text of {}", of_the(&ratio, "length")) }));
    }
    if let Some(coverage) = row.cost.coverage.filter(|coverage| *coverage < COVERED) {
        let says = format!("the cost of both sides is known for {:.0} % of the pairs", coverage * 100.0);
        notes.push(Note { note: "unpriced", says });
    }
    if let Some(text) = row.kinds.iter().find(|kind| kind.kind == "text") {
        let similarity = text.agreement.unwrap_or_default();
        let floor = text.floor.agreement.map_or_else(
            || "the baseline with itself not measured (no noise leg)".to_owned(),
            |floor| format!("the baseline with itself {floor:.2}"),
        );
        notes.push(Note { note: "text", says: format!("not judged: similarity {similarity:.2}, {floor}") });
    }
    notes
}

fn cost(row: &Row) -> Option<Note> {
    let (baseline, candidate) = row.cost.baseline.per_1000.zip(row.cost.candidate.per_1000)?;
    let note = if candidate > baseline * NOTE {
        "dearer"
    } else if candidate * NOTE < baseline {
        "cheaper"
    } else {
        return None;
    };
    Some(Note { note, says: format!("{candidate:.3} USD for 1,000 answers, the baseline {baseline:.3}") })
}

/// True if both bounds are above the mark.
fn is_above(ratio: &Median) -> bool {
    ratio.low.is_some_and(|low| low > NOTE)
}

/// True if both bounds are below the mark.
fn is_below(ratio: &Median) -> bool {
    ratio.high.is_some_and(|high| high < 1.0 / NOTE)
}

fn of_the(ratio: &Median, what: &str) -> String {
    let bound = |bound: Option<f64>| bound.unwrap_or_default();
    format!("{:.2} of the {what} at the median ({:.2} to {:.2})", ratio.median, bound(ratio.low), bound(ratio.high))
}
