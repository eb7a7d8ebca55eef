//! Metrics of routes: decisions, and percents asked for and reached.

use super::page::{Family, Labels, Value};
use crate::admin::view::View;
use crate::model::{Pin, Reason};
use crate::telemetry::names;

/// Pins that only a translation detects.
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

/// Reasons for which any backend is decided for.
const OF_ALL: &[Reason] = &[Reason::Split, Reason::Affinity, Reason::Override];
/// Reasons, besides pins, for which a candidate's request goes to the baseline.
const OF_THE_BASELINE: &[Reason] = &[Reason::Overload, Reason::Cooldown, Reason::Breaker];

pub(super) fn families(view: &View) -> Vec<Family> {
    vec![
        Family::new(names::SPLIT_DECISIONS, decisions(view)),
        Family::new(names::SPLIT_LATE_PINS, late(view)),
        Family::new(names::SPLIT_PERCENT, asked(view)),
        Family::new(names::SPLIT_PERCENT_GOT, got(view)),
    ]
}

fn pair(route: &str, backend: &str) -> Labels {
    vec![("route", route.to_owned()), ("backend", backend.to_owned())]
}

fn decisions(view: &View) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in view.stats.routes() {
        let mut decisions = counts.decisions();
        for backend in backends_of(view, &route) {
            let (more, pins) = if backend == view.baseline { (OF_THE_BASELINE, Pin::ALL) } else { (&[][..], &[][..]) };
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

fn late(view: &View) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in view.stats.routes() {
        let mut late = counts.late();
        for pin in LATE {
            late.entry(pin.as_str()).or_insert(0);
        }
        let labels = |pin| vec![("route", route.clone()), ("reason", format!("pinned:{pin}"))];
        samples.extend(late.into_iter().map(|(pin, count)| (labels(pin), Value::Counter(count))));
    }
    samples
}

fn asked(view: &View) -> Vec<(Labels, Value)> {
    let percents = view.routes.iter().flat_map(|route| route.percents.iter().map(move |one| (&route.name, one)));
    percents.map(|(route, one)| (pair(route, &one.backend), Value::Gauge(one.asked.as_f64()))).collect()
}

/// Returns baseline and candidates of a route; none if the route has left the file.
fn backends_of<'v>(view: &'v View, route: &str) -> impl Iterator<Item = &'v str> {
    let route = view.routes.iter().find(|known| known.name == route);
    let candidates = route.into_iter().flat_map(|route| route.percents.iter().map(|one| one.backend.as_str()));
    route.map(|_| view.baseline.as_str()).into_iter().chain(candidates)
}

/// Percents reached; a route without requests has no series.
fn got(view: &View) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for (route, counts) in view.stats.routes() {
        let chosen = counts.chosen();
        let total: u64 = chosen.values().sum();
        if total == 0 {
            continue;
        }
        for backend in backends_of(view, &route) {
            let count = chosen.get(backend).copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
            let percent = count as f64 * 100.0 / total as f64;
            samples.push((pair(&route, backend), Value::Gauge(percent)));
        }
    }
    samples
}
