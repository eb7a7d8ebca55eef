//! Score of two JSON documents: the F1 of their leaves, with part credit for long strings.

use super::caps::{LEAVES, SHORT};
use super::chrf::chrf;
use super::json::Json;

/// Score of two documents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum JsonScore {
    Score(f64),
    /// One of them has more than [`LEAVES`] leaves.
    OverCap,
}

/// Scores `b` against `a`; symmetric. A leaf is a scalar or an empty container, and counts where both have it at one
/// path. Positions in lists are part of the path.
pub(super) fn score(a: &Json, b: &Json) -> JsonScore {
    let (leaves_a, leaves_b) = (leaves(a), leaves(b));
    if leaves_a.max(leaves_b) > LEAVES {
        return JsonScore::OverCap;
    }
    JsonScore::Score(2.0 * shared(a, b) / (leaves_a + leaves_b) as f64)
}

fn leaves(value: &Json) -> usize {
    match value {
        Json::List(items) if !items.is_empty() => items.iter().map(leaves).sum(),
        Json::Object(members) if !members.is_empty() => members.iter().map(|(_, member)| leaves(member)).sum(),
        _ => 1,
    }
}

fn shared(a: &Json, b: &Json) -> f64 {
    match (a, b) {
        (Json::List(a), Json::List(b)) if !a.is_empty() && !b.is_empty() => {
            a.iter().zip(b).map(|(a, b)| shared(a, b)).sum()
        }
        (Json::Object(a), Json::Object(b)) if !a.is_empty() && !b.is_empty() => members(a, b),
        _ if is_leaf(a) && is_leaf(b) => credit(a, b),
        _ => 0.0,
    }
}

fn is_leaf(value: &Json) -> bool {
    match value {
        Json::List(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => true,
    }
}

/// Merges two lists of members, which are sorted by name.
fn members(a: &[(String, Json)], b: &[(String, Json)]) -> f64 {
    let mut sum = 0.0;
    let mut others = b.iter().peekable();
    for (name, value) in a {
        while others.next_if(|(other, _)| other < name).is_some() {}
        if let Some((_, other)) = others.next_if(|(other, _)| other == name) {
            sum += shared(value, other);
        }
    }
    sum
}

/// Scores two leaves.
fn credit(a: &Json, b: &Json) -> f64 {
    let (Json::Text(a), Json::Text(b)) = (a, b) else { return f64::from(a == b) };
    if a == b || a.folded() == b.folded() {
        1.0
    } else if a.raw().chars().count().max(b.raw().chars().count()) > SHORT {
        chrf(a.plain(), b.plain())
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn leaves_count_where_both_have_them() {
        for (a, b, expected) in [
            ("1", "1.0", 1.0),
            ("1", "\"1\"", 0.0),
            ("1", "true", 0.0),
            ("0", "-0", 1.0),
            ("null", "null", 1.0),
            ("{}", "{}", 1.0),
            ("{}", "[]", 0.0),
            ("[]", "[1]", 0.0),
            ("{\"0\":1}", "[1]", 0.0),
            ("[1,2,3]", "[1,2]", 0.8),
            ("{\"a\":{\"b\":1},\"c\":2}", "{\"c\":2,\"a\":{\"b\":1,\"d\":0},\"e\":0}", 2.0 * 2.0 / 6.0),
            ("{\"a\":\"x  y\"}", "{\"a\":\" x y\"}", 1.0),
        ] {
            let score = |a, b| score(&parse(a).unwrap(), &parse(b).unwrap());
            assert_eq!(score(a, b), JsonScore::Score(expected), "{a} {b}");
            assert_eq!(score(b, a), JsonScore::Score(expected), "{b} {a}");
        }
    }

    #[test]
    fn leaves_have_a_cap() {
        let list = |items: usize| parse(&format!("[{}0]", "0,".repeat(items - 1))).unwrap();
        assert_eq!(score(&list(LEAVES), &list(1)), JsonScore::Score(2.0 / (LEAVES + 1) as f64));
        assert_eq!(score(&list(LEAVES + 1), &list(1)), JsonScore::OverCap);
        assert_eq!(score(&list(1), &list(LEAVES + 1)), JsonScore::OverCap);
    }
}
