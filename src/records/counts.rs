//! `counts` lines: requests and their results of one interval, the denominators of what pairs tell.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::text::{Cut, Rfc3339, Usd};
use crate::config::Config;
use crate::stats::{ShareStats, Stats};

/// Limit, in bytes, of a line. A route with so many backends that its line is longer has several in each interval,
/// whose sums are the route's.
const MAX_LINE: usize = 4096;

/// The process and the file that lines come from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Six hexadecimal digits, random for each process.
    pub instance: &'a str,
    /// Name of the rollout.
    pub name: &'a str,
    /// Hash of the file.
    pub hash: &'a str,
}

/// Counts since the start of the process, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Wall clock.
    pub at: jiff::Timestamp,
    /// Routes by name.
    pub routes: BTreeMap<String, RouteTotals>,
}

/// Counts of one route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// True if the file in force has the route.
    pub is_current: bool,
    /// Served requests by backend.
    pub backends: BTreeMap<String, BackendTotals>,
    /// Requests that were chosen for a copy, by receiver and outcome.
    pub shadow: BTreeMap<String, BTreeMap<&'static str, u64>>,
    /// Requests that were chosen for a noise leg, by outcome.
    pub noise: BTreeMap<&'static str, u64>,
}

/// Counts of one backend on a route: of the requests for which the split chose it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// True if the file in force has the backend.
    pub is_current: bool,
    /// Requests for which the split chose it.
    pub chosen: u64,
    /// Requests that were sent to it and have ended.
    pub attempted: u64,
    /// Those of `attempted` whose answer the application got from it.
    pub served: u64,
    /// Those of `attempted` that failed by its fault.
    pub failed: u64,
    /// Those of `served` with a known cost.
    pub priced: u64,
    /// Cost of `priced`, in 10⁻⁹ USD.
    pub nano_usd: u64,
    /// Dates at which the vendor switches models off, by model.
    pub ends: BTreeMap<String, String>,
}

/// One line. Fields are in the schema's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountsLine<'a> {
    v: u8,
    kind: &'static str,
    at: Rfc3339,
    from: Rfc3339,
    instance: &'a str,
    name: Cut<'a>,
    hash: &'a str,
    /// Name of the route.
    pub route: Cut<'a>,
    /// Counts by backend.
    #[serde(serialize_with = "as_map")]
    pub backends: Vec<(Cut<'a>, BackendCounts<'a>)>,
    /// Requests that were chosen for a copy, by receiver and outcome.
    #[serde(serialize_with = "as_map")]
    pub shadow: Vec<(Cut<'a>, BTreeMap<&'static str, u64>)>,
    /// Requests that were chosen for a noise leg, by outcome.
    pub noise: BTreeMap<&'static str, u64>,
}

/// Counts of one backend in the interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackendCounts<'a> {
    chosen: u64,
    attempted: u64,
    served: u64,
    failed: u64,
    usd: Usd,
    priced: u64,
    #[serde(serialize_with = "as_map")]
    ends: Vec<(Cut<'a>, Cut<'a>)>,
}

fn as_map<S: Serializer, V: Serialize>(entries: &[(Cut<'_>, V)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(name, value)| (name, value)))
}

impl Totals {
    /// Reads the counters of served requests. The caller adds copies and noise legs.
    pub fn read(at: jiff::Timestamp, config: &Config, stats: &Stats) -> Self {
        let routes = stats.routes().into_iter().map(|(name, counters)| {
            let backends = counters.shares().into_iter().map(|(backend, share)| {
                let is_current = config.backend(&backend).is_some();
                (backend, BackendTotals::read(&share, is_current))
            });
            let is_current = config.routes.iter().any(|route| route.name == name);
            (name, RouteTotals { is_current, backends: backends.collect(), ..RouteTotals::default() })
        });
        Self { at, routes: routes.collect() }
    }
}

impl BackendTotals {
    fn read(share: &ShareStats, is_current: bool) -> Self {
        let results = share.results();
        // Read in the reverse order of counting, so that of all requests so far no part exceeds its whole.
        let (nano_usd, priced) = (results.nano_usd.get(), results.priced.get());
        let (served, failed) = (results.served.get(), results.failed.get());
        let (attempted, chosen) = (results.attempted.get(), share.chosen());
        Self { is_current, chosen, attempted, served, failed, priced, nano_usd, ends: BTreeMap::new() }
    }

    /// True if nothing was counted since `before`.
    fn is_idle_since(&self, before: &Self) -> bool {
        let counted = |one: &Self| [one.chosen, one.attempted, one.served, one.failed, one.priced, one.nano_usd];
        counted(self).iter().zip(counted(before)).all(|(now, before)| *now <= before)
    }

    fn since(&self, before: &Self) -> BackendCounts<'_> {
        BackendCounts {
            chosen: self.chosen.saturating_sub(before.chosen),
            attempted: self.attempted.saturating_sub(before.attempted),
            served: self.served.saturating_sub(before.served),
            failed: self.failed.saturating_sub(before.failed),
            usd: Usd::of_nano(self.nano_usd.saturating_sub(before.nano_usd)),
            priced: self.priced.saturating_sub(before.priced),
            ends: self.ends.iter().map(|(model, date)| (Cut(model), Cut(date))).collect(),
        }
    }
}

/// Returns the lines of the interval from `previous` to `now`: one for each route of the file, also if nothing was
/// counted. A route or backend that has left the file is in the lines of the interval in which it left, and later only
/// while requests that began before are still counted. No count is negative: one that has fallen is 0.
pub fn counts<'a>(previous: &Totals, now: &'a Totals, source: Source<'a>) -> Vec<CountsLine<'a>> {
    let none = RouteTotals::default();
    let mut lines = Vec::new();
    for (name, route) in &now.routes {
        let before = previous.routes.get(name).unwrap_or(&none);
        let line = CountsLine {
            v: 1,
            kind: "counts",
            at: Rfc3339(now.at),
            from: Rfc3339(previous.at),
            instance: source.instance,
            name: Cut(source.name),
            hash: source.hash,
            route: Cut(name),
            backends: backends(route, before),
            shadow: shadow(route, before),
            noise: outcomes(&route.noise, &before.noise),
        };
        if route.is_current || before.is_current || !line.is_idle(route, before) {
            fit(line, &mut lines);
        }
    }
    lines
}

fn backends<'a>(route: &'a RouteTotals, before: &RouteTotals) -> Vec<(Cut<'a>, BackendCounts<'a>)> {
    let none = BackendTotals::default();
    let mut counts = Vec::new();
    for (name, backend) in &route.backends {
        let before = before.backends.get(name).unwrap_or(&none);
        if backend.is_current || before.is_current || !backend.is_idle_since(before) {
            counts.push((Cut(name), backend.since(before)));
        }
    }
    counts
}

fn shadow<'a>(route: &'a RouteTotals, before: &RouteTotals) -> Vec<(Cut<'a>, BTreeMap<&'static str, u64>)> {
    let none = BTreeMap::new();
    let is_current = |name: &str| {
        let known = [&route.backends, &before.backends].map(|backends| backends.get(name));
        known.into_iter().flatten().any(|backend| backend.is_current)
    };
    let mut copies = Vec::new();
    for (name, now) in &route.shadow {
        let since = outcomes(now, before.shadow.get(name).unwrap_or(&none));
        if is_current(name) || since.values().any(|count| *count > 0) {
            copies.push((Cut(name), since));
        }
    }
    copies
}

fn outcomes(now: &BTreeMap<&'static str, u64>, before: &BTreeMap<&'static str, u64>) -> BTreeMap<&'static str, u64> {
    let since = |(outcome, count): (&&'static str, &u64)| {
        (*outcome, count.saturating_sub(before.get(outcome).copied().unwrap_or(0)))
    };
    now.iter().map(since).collect()
}

impl CountsLine<'_> {
    /// Returns the line as JSON, without a line break.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// True if nothing was counted in the interval.
    fn is_idle(&self, route: &RouteTotals, before: &RouteTotals) -> bool {
        let none = BackendTotals::default();
        let backends = route.backends.iter();
        let mut idle = backends.map(|(name, now)| now.is_idle_since(before.backends.get(name).unwrap_or(&none)));
        let mut copies = self.shadow.iter().flat_map(|(_, outcomes)| outcomes.values()).chain(self.noise.values());
        idle.all(|is_idle| is_idle) && copies.all(|count| *count == 0)
    }
}

/// Adds the line, or its parts if it is too long.
fn fit<'a>(mut line: CountsLine<'a>, lines: &mut Vec<CountsLine<'a>>) {
    let parts = line.backends.len().max(line.shadow.len());
    if parts < 2 || line.to_json().len() <= MAX_LINE {
        lines.push(line);
        return;
    }
    let backends = line.backends.split_off(line.backends.len().div_ceil(2));
    let shadow = line.shadow.split_off(line.shadow.len().div_ceil(2));
    let rest = CountsLine { backends, shadow, noise: BTreeMap::new(), ..line.clone() };
    fit(line, lines);
    fit(rest, lines);
}

#[cfg(test)]
mod tests;
