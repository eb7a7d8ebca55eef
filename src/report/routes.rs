//! Verdicts of candidates on routes, beside what counts say of them.

use std::collections::BTreeMap;

use super::figures::{Figured, MIN_PART};
use super::judge::{Judged, two_digits};
use super::round::{figure, round, share};
use super::row::RowKey;
use super::shape::{Ends, Route, Served, Shadow};
use super::shape_row::Row;
use super::traffic::{BackendTraffic, Copies, RouteTraffic, Traffic};
use super::verdict::Verdict;
use super::vocabulary::{CheckName, JUDGED};
use super::{caveats, figures, words};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The last epoch of each route and candidate.
#[derive(Debug, Default)]
pub(super) struct Epochs(BTreeMap<OfCandidate, Last>);

/// Names of a route and of a candidate.
type OfCandidate = (Box<str>, Box<str>);

/// Time of the last pair, and its epoch.
type Last = (i64, Box<str>);

impl Epochs {
    /// Takes a row with the time of its last pair.
    pub(super) fn add(&mut self, key: &RowKey, at: i64) {
        let last =
            self.0.entry((key.route.clone(), key.candidate.clone())).or_insert_with(|| (i64::MIN, Box::default()));
        if (last.0, &last.1) < (at, &key.epoch) {
            *last = (at, key.epoch.clone());
        }
    }

    /// True if the key has the last epoch of its route and candidate.
    pub(super) fn is_last(&self, key: &RowKey) -> bool {
        let last = self.0.get(&(key.route.clone(), key.candidate.clone()));
        last.is_some_and(|(_, epoch)| *epoch == key.epoch)
    }

    pub(super) fn is_current(&self, row: &Row) -> bool {
        let of = (row.route.as_str().into(), row.candidate.as_str().into());
        self.0.get(&of).is_some_and(|(_, epoch)| epoch.as_ref() == row.epoch)
    }
}

/// Returns the verdict of each route and candidate that has current rows, in their order.
pub(super) fn routes(rows: &[Figured], traffic: &Traffic) -> Vec<Route> {
    let mut groups: BTreeMap<(&str, &str), Vec<(usize, &Figured)>> = BTreeMap::new();
    for (position, one) in rows.iter().enumerate().filter(|(_, one)| one.row.current) {
        groups.entry((&one.row.route, &one.row.candidate)).or_default().push((position, one));
    }
    let mut routes: Vec<Route> = groups.values().filter_map(|rows| route(rows, traffic)).collect();
    routes.sort_by(|one, other| (&one.route, &one.candidate).cmp(&(&other.route, &other.candidate)));
    routes
}

fn route(rows: &[(usize, &Figured)], traffic: &Traffic) -> Option<Route> {
    let last = rows.iter().map(|(_, one)| &one.row).max_by_key(|row| (&row.to, &row.baseline))?;
    let judged = judge(rows);
    let counts = traffic.route(&last.route);
    let shadow = shadow(counts.and_then(|counts| counts.copies.entries().get(last.candidate.as_str())));
    let served = [&last.baseline, &last.candidate].map(|name| {
        let of = counts.and_then(|counts| counts.backend(name));
        (name.clone(), served(&of.copied().unwrap_or_default()))
    });
    let told = told(judged.verdict, rows);
    let names = (last.baseline.as_str(), last.candidate.as_str());
    let caveats = || caveats::of(names, [&served[0].1, &served[1].1], &told);
    Some(Route {
        route: last.route.clone(),
        candidate: last.candidate.clone(),
        baseline: last.baseline.clone(),
        epoch: last.epoch.clone(),
        rows: rows.iter().map(|(position, _)| *position).collect(),
        verdict: judged.verdict,
        says: words::says(&judged, names, &told, rows.len(), caveats),
        why: judged.why,
        needs_pairs: judged.needs_pairs,
        hours: round(counts.map_or(0.0, |counts: &RouteTraffic| counts.minutes.hours())),
        admitted: share(shadow.sent, shadow.fit()),
        shadow,
        served: served.into(),
    })
}

/// Judges a route and candidate by its current rows.
fn judge(rows: &[(usize, &Figured)]) -> Judged {
    let pairs: u64 = rows.iter().map(|(_, one)| one.row.pairs).sum();
    let of = |verdict| rows.iter().map(|(_, one)| *one).filter(move |one| one.row.verdict == verdict);
    let mut stops = of(Verdict::NotReady).peekable();
    if stops.peek().is_some() {
        return Judged { verdict: Verdict::NotReady, why: why(stops), needs_pairs: None };
    }
    let deciding = deciding(rows);
    if deciding.iter().all(|one| one.row.verdict == Verdict::Ready) {
        return Judged { verdict: Verdict::Ready, why: Vec::new(), needs_pairs: None };
    }
    let open = || deciding.iter().copied().filter(|one| one.is_open());
    // A row gets its share of the route's pairs.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let needs: Option<Vec<f64>> = open()
        .map(|one| one.row.needs_pairs.map(|needs| needs as f64 * (pairs as f64 / one.row.pairs as f64)))
        .collect();
    let needs_pairs = needs.map(|needs| two_digits(needs.into_iter().fold(0.0, f64::max)));
    Judged { verdict: Verdict::NotEnoughData, why: why(open()), needs_pairs }
}

/// Returns the rows that can delay `ready`: those with a twentieth of the pairs. Where all are smaller, none is small.
fn deciding<'a>(rows: &[(usize, &'a Figured)]) -> Vec<&'a Figured> {
    let all = || rows.iter().map(|(_, one)| *one);
    let pairs: u64 = all().map(|one| one.row.pairs).sum();
    let large: Vec<&Figured> = all().filter(|one| one.row.pairs * MIN_PART >= pairs).collect();
    if large.is_empty() { all().collect() } else { large }
}

/// Returns the rows that a route's verdict is about: those that stop it, or those that can delay it.
fn told<'a>(verdict: Verdict, rows: &[(usize, &'a Figured)]) -> Vec<&'a Figured> {
    match verdict {
        Verdict::Ready => rows.iter().map(|(_, one)| *one).collect(),
        Verdict::NotReady => rows.iter().map(|(_, one)| *one).filter(|one| one.row.verdict == verdict).collect(),
        Verdict::NotEnoughData => deciding(rows),
    }
}

/// Returns the reasons of several rows, each once, in the order of the verdict's table.
fn why<'a>(rows: impl Iterator<Item = &'a Figured>) -> Vec<&'static str> {
    let reasons: Vec<&'static str> = rows.flat_map(|one| one.row.why.iter().copied()).collect();
    let checks = CheckName::ALL.iter().map(|check| check.as_str());
    let kinds = JUDGED.into_iter().map(figures::agreement_of);
    ["pairs", "keys"].into_iter().chain(checks).chain(kinds).filter(|name| reasons.contains(name)).collect()
}

fn shadow(copies: Option<&Copies>) -> Shadow {
    let [sent, opted_out, ineligible, residency, untranslatable, unwell, in_flight, bytes, budget] =
        copies.copied().unwrap_or_default();
    Shadow { sent, opted_out, ineligible, residency, untranslatable, unwell, in_flight, bytes, budget }
}

fn served(of: &BackendTraffic) -> Served {
    Served {
        chosen: of.chosen,
        attempted: of.attempted,
        served: of.served,
        failed: of.failed,
        usd: figure(of.usd()).filter(|_| of.priced > 0),
        priced: of.priced,
    }
}

/// Returns the models that end, with the days from the last line on.
pub(super) fn ends(traffic: &Traffic, last: Option<i64>) -> Vec<Ends> {
    let today = last.map(|last| last.div_euclid(DAY));
    let entries = traffic.ends.entries().iter();
    entries
        .filter_map(|((backend, model), (_, date))| {
            let begin = super::filter::instant(date).ok()?.div_euclid(DAY);
            let (backend, model) = (backend.to_string(), model.to_string());
            Some(Ends { backend, model, ends: date.to_string(), days: begin - today? })
        })
        .collect()
}
