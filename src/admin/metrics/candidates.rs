//! Metrics of candidates: breakers, and the load that their servers report.

use super::page::{Family, Labels, Value};
use crate::admin::view::{BackendView, View};
use crate::health::{LoadReport, Report, State};
use crate::outcome::Role;

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
    let table: [(&'static str, &'static str, Read); 4] = [
        ("shiftgate_breaker_state", "State of the breaker: 0 closed, 1 half-open, 2 open", |report| {
            Value::Gauge(match report.state {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            })
        }),
        ("shiftgate_breaker_opened", "Times that the breaker opened", |report| Value::Counter(report.opened)),
        ("shiftgate_cooldown_active", "1 while the candidate gets no requests after a 429", |report| {
            Value::Gauge(if report.cooling { 1.0 } else { 0.0 })
        }),
        ("shiftgate_cooldowns", "Cool-downs begun by a 429", |report| Value::Counter(report.cooled)),
    ];
    let samples = |read: Read| {
        let candidates = view.backends.iter().filter(|one| one.role == Role::Candidate);
        candidates.map(|one| (labels_of(one), read(&one.health))).collect()
    };
    table.into_iter().map(|(name, help, read)| Family::new(name, help, samples(read))).collect()
}

/// Load by candidate. Unknown values have no series.
fn fleet_families(view: &View) -> Vec<Family> {
    type Read = fn(&LoadReport) -> Option<f64>;
    let table: [(&'static str, &'static str, Read); 9] = [
        ("shiftgate_fleet_waiting_requests", "Requests waiting in the queues of the backend's servers", |load| {
            load.reading.waiting
        }),
        ("shiftgate_fleet_running_requests", "Requests running on the backend's servers", |load| load.reading.running),
        ("shiftgate_fleet_kv_cache_usage_ratio", "KV cache usage of the backend's fullest server, 0 to 1", |load| {
            load.reading.kv_usage
        }),
        ("shiftgate_fleet_tokens_per_second", "Tokens generated per second by the backend's servers", |load| {
            load.reading.tokens_per_second
        }),
        ("shiftgate_fleet_gpu_memory_used_bytes", "GPU memory in use on the backend's servers, in bytes", |load| {
            load.reading.gpu_memory_used
        }),
        ("shiftgate_fleet_gpu_memory_total_bytes", "GPU memory of the backend's servers, in bytes", |load| {
            load.reading.gpu_memory_total
        }),
        ("shiftgate_fleet_gpu_utilization_ratio", "Mean GPU utilization of the backend's servers, 0 to 1", |load| {
            load.reading.gpu_utilization
        }),
        ("shiftgate_fleet_age_seconds", "Age of the backend's load figures, in seconds", |load| {
            load.age.map(|age| age.as_secs_f64())
        }),
        ("shiftgate_fleet_overloaded", "1 while the backend is above max_waiting or max_kv_usage", |load| {
            Some(if load.overloaded { 1.0 } else { 0.0 })
        }),
    ];
    let polled = || view.backends.iter().filter_map(|one| Some((one, one.load.as_ref()?)));
    let mut families: Vec<Family> = table
        .into_iter()
        .map(|(name, help, read)| {
            let known = polled().filter_map(|(one, load)| Some((labels_of(one), Value::Gauge(read(load)?))));
            Family::new(name, help, known.collect())
        })
        .collect();
    let polls = polled().flat_map(|(one, _)| {
        [("ok", one.stats.polls_ok.get()), ("failed", one.stats.polls_failed.get())].map(|(result, count)| {
            let mut labels = labels_of(one);
            labels.push(("result", result.to_owned()));
            (labels, Value::Counter(count))
        })
    });
    let help = "Polls of the backend's metrics pages, by result";
    families.push(Family::new("shiftgate_fleet_polls", help, polls.collect()));
    families
}
