//! Metrics of candidates: breakers, and the load that their servers report.

use super::page::{Family, Labels, Value};
use crate::admin::view::{BackendView, View};
use crate::health::{LoadReport, Report, State};
use crate::outcome::Role;
use crate::telemetry::names::{self, Metric};

pub(super) fn families(view: &View) -> Vec<Family> {
    let mut families = health_families(view);
    families.extend(fleet_families(view));
    families
}

fn labels_of(backend: &BackendView) -> Labels {
    vec![("backend", backend.labels.name.clone())]
}

fn health_families(view: &View) -> Vec<Family> {
    type Read = fn(&Report) -> Value;
    let table: [(Metric, Read); 4] = [
        (names::BREAKER_STATE, |report| {
            Value::Gauge(match report.state {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            })
        }),
        (names::BREAKER_OPENED, |report| Value::Counter(report.opened)),
        (names::COOLDOWN_ACTIVE, |report| Value::Gauge(if report.cooling { 1.0 } else { 0.0 })),
        (names::COOLDOWNS, |report| Value::Counter(report.cooled)),
    ];
    let samples = |read: Read| {
        let candidates = view.backends.iter().filter(|one| one.role == Role::Candidate);
        candidates.map(|one| (labels_of(one), read(&one.health))).collect()
    };
    table.into_iter().map(|(metric, read)| Family::new(metric, samples(read))).collect()
}

/// Questions for the list of a backend's models.
fn lists(view: &BackendView) -> [(Labels, Value); 2] {
    let stats = &view.stats;
    [("ok", stats.model_lists_ok.get()), ("failed", stats.model_lists_failed.get())].map(|(result, count)| {
        let mut labels = labels_of(view);
        labels.push(("result", result.to_owned()));
        (labels, Value::Counter(count))
    })
}

/// Load by candidate. Unknown values have no series.
fn fleet_families(view: &View) -> Vec<Family> {
    type Read = fn(&LoadReport) -> Option<f64>;
    let table: [(Metric, Read); 10] = [
        (names::PREFIX_HIT_RATIO, |load| load.reading.prefix_hit_rate),
        (names::FLEET_WAITING, |load| load.reading.waiting),
        (names::FLEET_RUNNING, |load| load.reading.running),
        (names::FLEET_KV_USAGE, |load| load.reading.kv_usage),
        (names::FLEET_TOKENS, |load| load.reading.tokens_per_second),
        (names::FLEET_GPU_USED, |load| load.reading.gpu_memory_used),
        (names::FLEET_GPU_TOTAL, |load| load.reading.gpu_memory_total),
        (names::FLEET_GPU_UTILIZATION, |load| load.reading.gpu_utilization),
        (names::FLEET_AGE, |load| load.age.map(|age| age.as_secs_f64())),
        (names::FLEET_OVERLOADED, |load| Some(if load.overloaded { 1.0 } else { 0.0 })),
    ];
    let polled = || view.backends.iter().filter_map(|one| Some((one, one.load.as_ref()?)));
    let mut families: Vec<Family> = table
        .into_iter()
        .map(|(metric, read)| {
            let known = polled().filter_map(|(one, load)| Some((labels_of(one), Value::Gauge(read(load)?))));
            Family::new(metric, known.collect())
        })
        .collect();
    let polls = polled().flat_map(|(one, _)| {
        [("ok", one.stats.polls_ok.get()), ("failed", one.stats.polls_failed.get())].map(|(result, count)| {
            let mut labels = labels_of(one);
            labels.push(("result", result.to_owned()));
            (labels, Value::Counter(count))
        })
    });
    families.push(Family::new(names::FLEET_POLLS, polls.collect()));
    families.push(Family::new(
        names::MODEL_LISTS,
        view.backends.iter().filter(|one| one.is_watched).flat_map(lists).collect(),
    ));
    families
}
