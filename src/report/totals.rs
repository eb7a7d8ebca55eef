//! Totals over routes and rows: a weighted sum, and beside it everything thrown together, which can turn round.

use std::collections::BTreeMap;

use super::figures::{Figured, agreement_of};
use super::part::Part;
use super::round::round;
use super::shape::{Total, TotalRow};
use super::shape_row::Means;
use super::traffic::{BackendTraffic, RouteTraffic, Traffic};
use super::vocabulary::{JUDGED, PairKind};
use super::words;

/// Standard errors from which on a difference of served failures has a sign.
const ERRORS: f64 = 2.0;

/// A candidate with its current rows and their positions.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) candidate: &'a str,
    /// Baseline of the last pair.
    pub(super) baseline: &'a str,
    pub(super) rows: Vec<(usize, &'a Figured)>,
}

/// Returns current rows by candidate.
pub(super) fn by_candidate(rows: &[Figured]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<&str, Vec<(usize, &Figured)>> = BTreeMap::new();
    for (position, one) in rows.iter().enumerate().filter(|(_, one)| one.row.current) {
        groups.entry(&one.row.candidate).or_default().push((position, one));
    }
    let groups = groups.into_iter();
    groups.filter_map(|(candidate, rows)| Some(Group { candidate, baseline: last_baseline(&rows)?, rows })).collect()
}

fn last_baseline<'a>(rows: &[(usize, &'a Figured)]) -> Option<&'a str> {
    let names = rows.iter().map(|(_, one)| (one.row.to.as_deref(), one.row.baseline.as_str()));
    names.max().map(|(_, name)| name)
}

impl Group<'_> {
    /// Returns the routes that both backends serve, with the counts of the baseline and of the candidate.
    pub(super) fn routes<'t>(
        &self,
        traffic: &'t Traffic,
    ) -> impl Iterator<Item = (&'t str, &'t RouteTraffic, &'t BackendTraffic, &'t BackendTraffic)> {
        traffic.routes.entries().iter().filter_map(|(name, route)| {
            Some((name.as_ref(), route, route.backend(self.baseline)?, route.backend(self.candidate)?))
        })
    }
}

/// Returns the totals of each candidate in their order.
pub(super) fn totals(rows: &[Figured], traffic: &Traffic) -> Vec<Total> {
    let mut totals = Vec::new();
    for group in by_candidate(rows) {
        totals.extend(served_failed(&group, traffic));
        totals.extend(served_usd(&group, traffic));
        totals.extend(failed(&group, traffic));
        totals.extend(JUDGED.into_iter().filter_map(|kind| agreement(kind, &group, traffic)));
    }
    totals
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn served_failed(group: &Group<'_>, traffic: &Traffic) -> Option<Total> {
    let mut parts = Vec::new();
    let (mut baseline, mut candidate) = (BackendTraffic::default(), BackendTraffic::default());
    let share = |of: &BackendTraffic| of.failed as f64 / of.attempted as f64;
    for (name, route, left, right) in group.routes(traffic) {
        if left.attempted == 0 || right.attempted == 0 {
            continue;
        }
        let value = share(right) - share(left);
        let (n, m) = (left.attempted as f64, right.attempted as f64);
        let p = (left.failed as f64 + right.failed as f64) / (n + m);
        let error = (p * (1.0 - p) * (1.0 / n + 1.0 / m)).sqrt();
        let sign = if value.abs() > ERRORS * error { sign(value) } else { 0 };
        parts.push(Part { value, sign, ..Part::of_route(name, route, (left, right)) });
        baseline.join(left);
        candidate.join(right);
    }
    total(group.candidate, "served_failed", parts, share(&candidate) - share(&baseline))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn served_usd(group: &Group<'_>, traffic: &Traffic) -> Option<Total> {
    let mut parts = Vec::new();
    let (mut baseline, mut candidate) = (BackendTraffic::default(), BackendTraffic::default());
    let price = |of: &BackendTraffic| of.usd() / of.priced as f64;
    for (name, route, left, right) in group.routes(traffic) {
        if left.priced == 0 || right.priced == 0 {
            continue;
        }
        let value = price(right) - price(left);
        parts.push(Part { value, sign: sign(value), ..Part::of_route(name, route, (left, right)) });
        baseline.join(left);
        candidate.join(right);
    }
    total(group.candidate, "served_usd", parts, price(&candidate) - price(&baseline))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn failed(group: &Group<'_>, traffic: &Traffic) -> Option<Total> {
    let of = |one: &Figured| {
        let check = one.row.checks.first().filter(|check| check.n > 0)?;
        let sum = check.candidate_only as f64 - check.baseline_only as f64;
        Some(RowValue { sum, n: check.n, interval: check.difference })
    };
    of_rows("failed", group, traffic, of)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn agreement(kind: PairKind, group: &Group<'_>, traffic: &Traffic) -> Option<Total> {
    let of = |one: &Figured| {
        let kind = one.row.kinds.iter().find(|of| of.kind == kind.as_str())?;
        Some(RowValue { sum: kind.beside? * kind.floor.n as f64, n: kind.floor.n, interval: kind.difference })
    };
    of_rows(agreement_of(kind), group, traffic, of)
}

/// Figure of a row: a sum over pairs, and the interval that tells its sign.
struct RowValue {
    sum: f64,
    n: u64,
    interval: Option<Means>,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn of_rows(
    what: &'static str,
    group: &Group<'_>,
    traffic: &Traffic,
    of: impl Fn(&Figured) -> Option<RowValue>,
) -> Option<Total> {
    let served = group.rows.iter().filter(|(_, one)| one.is_of_baseline());
    let values: Vec<_> = served.filter_map(|(position, one)| Some((*position, *one, of(one)?))).collect();
    let mut routes: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, one, _) in &values {
        *routes.entry(&one.row.route).or_default() += one.row.pairs;
    }
    let chosen = |route: &str| traffic.route(route).map_or(0, RouteTraffic::chosen);
    // Without counts a route weighs its pairs.
    let is_counted = routes.keys().any(|route| chosen(route) > 0);
    let (mut sum, mut n) = (0.0, 0);
    let mut parts = Vec::new();
    for (position, one, value) in values {
        let route = one.row.route.as_str();
        let pairs = routes.get(route).copied().unwrap_or(0);
        let route_weight = if is_counted { chosen(route) } else { pairs };
        let bounds = value.interval.map(|interval| (interval.low, interval.high));
        parts.push(Part {
            route,
            row: Some(position),
            value: value.sum / value.n as f64,
            weight: route_weight as f64 * (one.row.pairs as f64 / pairs as f64),
            sign: match bounds {
                Some((low, _)) if low > 0.0 => 1,
                Some((_, high)) if high < 0.0 => -1,
                _ => 0,
            },
            share: 0.5,
        });
        sum += value.sum;
        n += value.n;
    }
    total(group.candidate, what, parts, sum / n as f64)
}

/// Sums the parts; `None` without any.
fn total(candidate: &str, what: &'static str, mut parts: Vec<Part<'_>>, pooled: f64) -> Option<Total> {
    let first = parts.first()?.sign;
    let weights: f64 = parts.iter().map(|part| part.weight).sum();
    #[expect(clippy::cast_precision_loss, reason = "at most 256")]
    let equal = 1.0 / parts.len() as f64;
    for part in &mut parts {
        part.weight = if weights > 0.0 { part.weight / weights } else { equal };
    }
    let value: f64 = parts.iter().map(|part| part.weight * part.value).sum();
    let reversed = first != 0 && parts.iter().all(|part| part.sign == first) && sign(pooled) == -first;
    let is_mixed = parts.iter().any(|part| part.sign != 0 && part.sign != sign(value));
    let says = if reversed {
        Some(words::reversed(candidate, what, &parts))
    } else if is_mixed {
        Some(words::mixed(candidate, what, &parts, sign(value)))
    } else {
        None
    };
    let row = |part: &Part<'_>| TotalRow {
        route: part.route.to_owned(),
        row: part.row,
        value: round(part.value),
        weight: round(part.weight),
    };
    Some(Total {
        candidate: candidate.to_owned(),
        what,
        value: round(value),
        pooled: round(pooled),
        reversed,
        rows: parts.iter().map(row).collect(),
        says,
    })
}

fn sign(value: f64) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}
