//! Caveats of `ready`: plain shares above a limit that no interval counts.
//!
//! An interval is over users and hours and over pairs whose noise leg has the same kind, so that a fault of one user alone,
//! or tool calls that the candidate invents, can pass it. The verdict stays as it is; its sentence says so.

use super::figures::{Figured, LIMIT_SHARE};
use super::shape::Served;
use super::shape_row::{Check, Row};
use super::vocabulary::{CheckName, Mode};

/// Returns the caveats of `rows`; `names` and `served` are those of the baseline and of the candidate.
pub(super) fn of(names: (&str, &str), served: [&Served; 2], rows: &[&Figured]) -> Vec<String> {
    let rows: Vec<&Row> = rows.iter().map(|one| &one.row).collect();
    let checks = CheckName::ALL.iter().filter_map(|check| faults(check.as_str(), names.1, &rows));
    tools(names, &rows).into_iter().chain(checks).chain(served_failed(names.1, served)).collect()
}

/// True if `more` of `n` exceed `less` of `of` by more than the limit of a share.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn is_above((more, n): (u64, u64), (less, of): (u64, u64)) -> bool {
    more as f64 / n.max(1) as f64 - less as f64 / of.max(1) as f64 > LIMIT_SHARE
}

/// Tool calls where the other side makes none.
fn tools((baseline, candidate): (&str, &str), rows: &[&Row]) -> Option<String> {
    let tools = Mode::Tools.as_str();
    let cells = || {
        let matrices = rows.iter().flat_map(|row| &row.modes);
        matrices.flat_map(|(of, others)| others.iter().map(move |(other, n)| (of == tools, other == tools, *n)))
    };
    let sum = |is: (bool, bool)| cells().filter(|(of, other, _)| (*of, *other) == is).map(|(.., n)| n).sum::<u64>();
    let (invented, left_out) = (sum((false, true)), sum((true, false)));
    let n = cells().map(|(.., n)| n).sum::<u64>();
    is_above((invented, n), (left_out, n))
        .then(|| format!("{candidate} calls tools in {invented} of {n} answers where {baseline} does not"))
}

/// Faults of one side alone.
fn faults(name: &str, candidate: &str, rows: &[&Row]) -> Option<String> {
    let of = |count: fn(&Check) -> u64| {
        rows.iter().flat_map(|row| &row.checks).filter(|check| check.check == name).map(count).sum::<u64>()
    };
    let (n, more) = (of(|check| check.n), of(|check| check.candidate_only));
    is_above((more, n), (of(|check| check.baseline_only), n))
        .then(|| format!("{name} is {candidate}'s fault alone in {more} of {n} pairs, of few users or hours"))
}

/// Failures of served requests, which the other backend then answered.
fn served_failed(candidate: &str, [baseline, of]: [&Served; 2]) -> Option<String> {
    is_above((of.failed, of.attempted), (baseline.failed, baseline.attempted))
        .then(|| format!("{} of {} requests served by {candidate} failed there", of.failed, of.attempted))
}
