//! Scores of the tool calls of two answers. Ids and the order of calls do not matter.

use std::collections::BTreeMap;

use super::answer::Call;
use super::caps::{CALLS, TEXT};
use super::json::{Json, Unparsed, parse};
use super::json_score::{JsonScore, score};
use super::vocabulary::NullReason;

/// Returns the F1 of the calls under the assignment, of calls with one name, that scores most. Both sides have calls.
pub(super) fn f1(reference: &[Call], candidate: &[Call]) -> Result<f64, NullReason> {
    if [reference, candidate].into_iter().any(is_over_cap) {
        return Err(NullReason::OverCap);
    }
    let (reference, candidate) = (parsed(reference), parsed(candidate));
    let scores = reference.iter().map(|call| candidate.iter().map(|other| call_score(call, other)).collect());
    let scores: Vec<Vec<f64>> = scores.collect::<Result<_, _>>()?;
    Ok(2.0 * best_assignment(&scores) / (reference.len() + candidate.len()) as f64)
}

/// Returns the F1 of the multisets of names.
pub(super) fn names_f1(reference: &[Call], candidate: &[Call]) -> f64 {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for call in reference {
        *left.entry(&call.name).or_default() += 1;
    }
    let mut shared = 0_u32;
    for call in candidate {
        if let Some(left) = left.get_mut(call.name.as_str()).filter(|left| **left > 0) {
            *left -= 1;
            shared += 1;
        }
    }
    2.0 * f64::from(shared) / (reference.len() + candidate.len()) as f64
}

fn is_over_cap(calls: &[Call]) -> bool {
    calls.len() > CALLS || calls.iter().map(|call| call.arguments.chars().count()).sum::<usize>() > TEXT
}

/// A call with its arguments read once.
struct Parsed<'a> {
    call: &'a Call,
    arguments: Result<Json, Unparsed>,
}

fn parsed(calls: &[Call]) -> Vec<Parsed<'_>> {
    let arguments = |call: &Call| parse(if call.arguments.is_empty() { "{}" } else { &call.arguments });
    calls.iter().map(|call| Parsed { call, arguments: arguments(call) }).collect()
}

fn call_score(reference: &Parsed<'_>, candidate: &Parsed<'_>) -> Result<f64, NullReason> {
    if reference.call.name != candidate.call.name {
        return Ok(0.0);
    }
    match (&reference.arguments, &candidate.arguments) {
        (Ok(reference), Ok(candidate)) => match score(reference, candidate) {
            JsonScore::Score(score) => Ok(score),
            JsonScore::OverCap => Err(NullReason::OverCap),
        },
        (Err(Unparsed::OverCap), _) | (Ok(_), Err(Unparsed::OverCap)) => Err(NullReason::OverCap),
        _ => Ok(f64::from(reference.call.arguments == candidate.call.arguments)),
    }
}

/// Returns the largest sum of scores in which each row and each column counts once at most: at most [`CALLS`] of each.
fn best_assignment(scores: &[Vec<f64>]) -> f64 {
    let columns = scores.first().map_or(0, Vec::len);
    // For each set of used columns, the largest sum of the rows so far.
    let mut best = vec![f64::NEG_INFINITY; 1 << columns];
    if let Some(none) = best.first_mut() {
        *none = 0.0;
    }
    for row in scores {
        // From the largest set down: a set is read before this row has written to it.
        for used in (0..best.len()).rev() {
            let sum = best[used];
            if sum < 0.0 {
                continue;
            }
            for (column, score) in row.iter().enumerate().filter(|(_, score)| **score > 0.0) {
                let with = used | 1 << column;
                if with != used && best[with] < sum + score {
                    best[with] = sum + score;
                }
            }
        }
    }
    best.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tries every assignment.
    fn tried(scores: &[Vec<f64>], used: &mut Vec<usize>) -> f64 {
        let Some((row, rest)) = scores.split_first() else { return 0.0 };
        let mut best = tried(rest, used);
        for (column, score) in row.iter().enumerate() {
            if !used.contains(&column) {
                used.push(column);
                best = best.max(score + tried(rest, used));
                used.pop();
            }
        }
        best
    }

    proptest! {
        #[test]
        fn the_best_assignment_is_the_best_of_all(
            scores in (0_usize..5).prop_flat_map(|columns| {
                proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(0.0), 0.0..1.0], columns), 0..5)
            })
        ) {
            prop_assert!((best_assignment(&scores) - tried(&scores, &mut Vec::new())).abs() < 1e-12);
        }
    }

    #[test]
    fn names_are_multisets() {
        let calls = |names: &str| -> Vec<Call> {
            names.chars().map(|name| Call { name: name.to_string(), arguments: String::new() }).collect()
        };
        for (a, b, expected) in [("ab", "ba", 1.0), ("aab", "abb", 2.0 / 3.0), ("a", "", 0.0), ("a", "b", 0.0)] {
            assert!((names_f1(&calls(a), &calls(b)) - expected).abs() < 1e-12, "{a} {b}");
        }
    }
}
