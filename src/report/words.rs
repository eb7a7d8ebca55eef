//! Verdicts and warnings in words.

use super::figures::Figured;
use super::interval::Interval;
use super::judge::{Finding, Judged, MIN_KEYS, MIN_PAIRS};
use super::part::Part;
use super::verdict::{CheckResult, Verdict};

/// Returns the sentence of a route's verdict; `names` are those of the baseline and of the candidate, `rows` those that the
/// verdict is about, of `all` current ones; `caveats` are said with `ready`.
pub(super) fn says(
    judged: &Judged,
    names: (&str, &str),
    rows: &[&Figured],
    all: usize,
    caveats: impl FnOnce() -> Vec<String>,
) -> String {
    let (baseline, candidate) = names;
    match judged.verdict {
        Verdict::Ready => {
            let (pairs, others) = excluding(rows);
            let mut caveats = caveats().join("; ");
            if !caveats.is_empty() {
                caveats.insert_str(0, "; but no interval counts this: ");
            }
            format!(
                "ready: {pairs} pairs exclude that {candidate} is worse than {baseline} by more than the limit of any \
                 check{others}{caveats}"
            )
        }
        Verdict::NotReady => {
            let reasons: Vec<String> = judged.why.iter().filter_map(|name| worse(name, names, rows, all)).collect();
            format!("not ready because {}", reasons.join("; and because "))
        }
        Verdict::NotEnoughData => {
            let needs = judged.needs_pairs;
            let needs = needs.map(|needs| format!("; about {needs} more pairs if the two do not differ"));
            format!("not enough data: {}{}", missing(&judged.why, rows).join(", "), needs.unwrap_or_default())
        }
    }
}

/// Returns the pairs on which `ready` rests, and a clause about those that are in rows too small to delay it.
fn excluding(rows: &[&Figured]) -> (String, &'static str) {
    let all: u64 = rows.iter().map(|one| one.row.pairs).sum();
    let of = rows.iter().filter(|one| one.row.verdict == Verdict::Ready).map(|one| one.row.pairs).sum::<u64>();
    if of == all {
        return (all.to_string(), "");
    }
    (format!("{of} of {all}"), "; the others are in rows too small to decide")
}

/// Returns what is missing, in words.
fn missing(why: &[&'static str], rows: &[&Figured]) -> Vec<String> {
    let mut reasons = Vec::new();
    let of = |name: &'static str| rows.iter().map(|one| &one.row).filter(move |row| row.why.contains(&name));
    if let Some(row) = of("pairs").min_by_key(|row| row.pairs) {
        reasons.push(match row.pairs {
            pairs if pairs < MIN_PAIRS => format!("{pairs} pairs where at least {MIN_PAIRS} are needed"),
            pairs => format!("none of {pairs} pairs of answers could be compared"),
        });
    }
    if let Some(keys) = of("keys").map(|row| row.keys).min() {
        reasons.push(format!("{keys} users where at least {MIN_KEYS} are needed"));
    }
    let named = |name: &&str| name.replace("agreement:", "agreement on ");
    let open: Vec<String> = why.iter().filter(|name| !["pairs", "keys"].contains(name)).map(named).collect();
    match &open[..] {
        [] => {}
        [one] => reasons.push(format!("the interval of {one} still holds its limit")),
        [first @ .., last] => {
            let first = first.join(", ");
            reasons.push(format!("the intervals of {first} and {last} still hold their limits"));
        }
    }
    let is_blind = |one: &&Figured| {
        one.findings.iter().any(|finding| finding.difference.is_none() && one.row.why.contains(&finding.name))
    };
    if !open.is_empty() && rows.iter().any(is_blind) {
        reasons.push("some of it cannot be told without a noise leg: set noise_percent".to_owned());
    }
    reasons
}

/// Returns the reason for which a check stops a route: that of the row in which the difference is largest.
fn worse(name: &str, names: (&str, &str), rows: &[&Figured], all: usize) -> Option<String> {
    let found = |one: &&Figured| -> Option<(Interval, Finding)> {
        let finding = one.findings.iter().find(|of| of.name == name && of.result == CheckResult::Worse)?;
        Some((finding.difference?, finding.clone()))
    };
    let worst = rows.iter().filter_map(|one| Some((one, found(one)?)));
    let (one, (interval, finding)) = worst.max_by(|(_, (one, _)), (_, (other, _))| one.mean.total_cmp(&other.mean))?;
    let reason = reason(name, names, &interval, finding.limit);
    if all < 2 {
        return Some(reason);
    }
    Some(format!("{reason}, for {} ({}, served by the {})", one.row.model, one.row.sampling, one.row.served_by))
}

fn reason(name: &str, (baseline, candidate): (&str, &str), interval: &Interval, limit: f64) -> String {
    let Interval { mean, low, high, .. } = interval;
    let share = format!("{:.1} %", mean * 100.0);
    let bounds = format!("({:.1} to {:.1} %, limit {:.0} %)", low * 100.0, high * 100.0, limit * 100.0);
    match name {
        "failed" => format!("{share} of requests fail at {candidate} that {baseline} answers {bounds}"),
        "refused" => format!("{share} of requests are refused by {candidate} that {baseline} answers {bounds}"),
        "empty" => format!("{share} of {candidate}'s answers are empty where {baseline}'s are not {bounds}"),
        "cut" => format!("{share} of {candidate}'s answers are cut by length where {baseline}'s end {bounds}"),
        "json_broken" => format!("{share} of {candidate}'s answers are broken JSON where {baseline}'s parse {bounds}"),
        "schema_broken" => {
            format!("{share} of {candidate}'s answers break the schema where {baseline}'s keep it {bounds}")
        }
        "script" => format!("{share} of {candidate}'s answers are in another script than {baseline}'s {bounds}"),
        name => {
            let kind = name.trim_start_matches("agreement:");
            let kind = if kind == "tools" { "tool calls" } else { kind };
            format!(
                "{candidate} agrees with {baseline} on {kind} by {mean:.2} less than {baseline} with itself \
                 ({low:.2} to {high:.2}, limit {limit:.2})"
            )
        }
    }
}

/// Returns the warning that all parts have one sign, and everything thrown together has the other.
pub(super) fn reversed(candidate: &str, what: &str, parts: &[Part<'_>]) -> String {
    let sign = parts.first().map_or(0, |part| part.sign);
    let most = parts.iter().max_by(|one, other| one.share.total_cmp(&other.share));
    let most = most.map_or("", |part| part.route);
    let share =
        if parts.iter().any(|part| part.route == most && part.share > 0.5) { "most" } else { "the largest part" };
    format!(
        "{candidate} {} {} and {} in total, because it serves {share} of {most}: trust the rows",
        verb(what, sign),
        on(parts.iter()),
        word(what, -sign),
    )
}

/// Returns the warning that a part has not the sign of the total.
pub(super) fn mixed(candidate: &str, what: &str, parts: &[Part<'_>], of_total: i8) -> String {
    let other: Vec<&Part<'_>> = parts.iter().filter(|part| part.sign != 0 && part.sign != of_total).collect();
    let sign = other.first().map_or(0, |part| part.sign);
    let others = on(other.into_iter());
    format!("{candidate} {} {others} and {} in total: look at each row", verb(what, sign), word(what, of_total))
}

fn on<'a>(parts: impl Iterator<Item = &'a Part<'a>>) -> String {
    let mut routes: Vec<String> = parts.map(|part| format!("on {}", part.route)).collect();
    routes.dedup();
    routes.join(" and ")
}

fn verb(what: &str, sign: i8) -> String {
    let verb = match what {
        "served_usd" => "costs",
        "served_failed" | "failed" => "fails",
        _ => "agrees",
    };
    format!("{verb} {}", word(what, sign))
}

/// A positive difference is to the candidate's disadvantage.
fn word(what: &str, sign: i8) -> &'static str {
    match (what.starts_with("agreement"), sign) {
        (_, 0) => "the same",
        (false, 1) | (true, -1) => "more",
        _ => "less",
    }
}
