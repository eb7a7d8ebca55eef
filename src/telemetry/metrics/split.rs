//! What routes decided, and what each of their backends was asked for and got.

use super::InForce;
use super::page::{Family, Labels, Value};
use crate::model::{Pin, Reason};
use crate::stats::Stats;

/// Pins that only a translation shows.
const LATE: [Pin; 14] = [
    Pin::Stateful,
    Pin::Model,
    Pin::Vision,
    Pin::Audio,
    Pin::File,
    Pin::Tools,
    Pin::Hosted,
    Pin::Choices,
    Pin::Logprobs,
    Pin::LogitBias,
    Pin::Format,
    Pin::Context,
    Pin::UnknownField,
    Pin::Strict,
];

/// Why any backend is decided for.
const OF_ALL: &[Reason] = &[Reason::Split, Reason::Affinity, Reason::Override];
/// Why a request that was a candidate's goes to the baseline; pins do too.
const OF_THE_BASELINE: &[Reason] = &[Reason::Overload, Reason::Cooldown, Reason::Breaker];

pub(super) fn families(stats: &Stats, in_force: &InForce) -> Vec<Family> {
    vec![
        Family::new(
            "shiftgate_split_decisions",
            "Decisions by route, backend decided for, and reason",
            decisions(stats, in_force),
        ),
        Family::new(
            "shiftgate_split_late_pins",
            "Requests pinned only by their translation, after the split had chosen a candidate",
            late(stats),
        ),
        Family::new("shiftgate_split_percent", "Percent asked for, by route and candidate", asked(in_force)),
        Family::new(
            "shiftgate_split_percent_got",
            "Percent of the requests in the split that it chose this backend for, since the start",
            got(stats, in_force),
        ),
    ]
}

fn pair(route: &str, backend: &str) -> Labels {
    vec![("route", route.to_owned()), ("backend", backend.to_owned())]
}

fn decisions(stats: &Stats, in_force: &InForce) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in stats.routes() {
        let mut decisions = counts.decisions();
        for backend in in_force.backends_of(&route) {
            let (more, pins) =
                if backend == in_force.baseline { (OF_THE_BASELINE, Pin::ALL) } else { (&[][..], &[][..]) };
            let pins = pins.iter().map(|pin| Reason::Pinned(*pin));
            for reason in OF_ALL.iter().chain(more).copied().chain(pins) {
                decisions.entry((backend.to_owned(), reason.as_str())).or_insert(0);
            }
        }
        for ((backend, reason), count) in decisions {
            let mut labels = pair(&route, &backend);
            labels.push(("reason", reason.to_owned()));
            samples.push((labels, Value::Counter(count)));
        }
    }
    samples
}

fn late(stats: &Stats) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in stats.routes() {
        let mut late = counts.late();
        for pin in LATE {
            late.entry(pin.as_str()).or_insert(0);
        }
        let labels = |pin| vec![("route", route.clone()), ("reason", format!("pinned:{pin}"))];
        samples.extend(late.into_iter().map(|(pin, count)| (labels(pin), Value::Counter(count))));
    }
    samples
}

fn asked(in_force: &InForce) -> Vec<(Labels, Value)> {
    in_force.percents.iter().map(|(route, backend, percent)| (pair(route, backend), Value::Gauge(*percent))).collect()
}

/// Unknown before the first.
fn got(stats: &Stats, in_force: &InForce) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in stats.routes() {
        let chosen = counts.chosen();
        let total: u64 = chosen.values().sum();
        if total == 0 {
            continue;
        }
        for backend in in_force.backends_of(&route) {
            let count = chosen.get(backend).copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
            let percent = count as f64 * 100.0 / total as f64;
            samples.push((pair(&route, backend), Value::Gauge(percent)));
        }
    }
    samples
}
