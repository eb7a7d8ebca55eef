//! What is known of candidates: their breakers, and what their servers say of their load.

use super::page::{Family, Labels, Value};
use crate::admin::view::{BackendView, View};
use crate::health::{LoadReport, Report, State};
use crate::outcome::Role;

pub(super) fn families(view: &View) -> Vec<Family> {
    let mut families = health_families(view);
    families.extend(fleet_families(view));
    families
}

fn of(backend: &BackendView) -> Labels {
    vec![("backend", backend.labels.name.clone())]
}

fn health_families(view: &View) -> Vec<Family> {
    type Read = fn(&Report) -> Value;
    let table: [(&'static str, &'static str, Read); 4] = [
        ("shiftgate_breaker_state", "0 closed, 1 half-open, 2 open", |report| {
            Value::Gauge(match report.state {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            })
        }),
        ("shiftgate_breaker_opened", "How often the breaker opened", |report| Value::Counter(report.opened)),
        ("shiftgate_cooldown_active", "1 while the candidate is left alone after a 429", |report| {
            Value::Gauge(if report.cooling { 1.0 } else { 0.0 })
        }),
        ("shiftgate_cooldowns", "How often a 429 began a cool-down", |report| Value::Counter(report.cooled)),
    ];
    let samples = |read: Read| {
        let candidates = view.backends.iter().filter(|one| one.role == Role::Candidate);
        candidates.map(|one| (of(one), read(&one.health))).collect()
    };
    table.into_iter().map(|(name, help, read)| Family::new(name, help, samples(read))).collect()
}

/// What is not known has no sample.
fn fleet_families(view: &View) -> Vec<Family> {
    type Read = fn(&LoadReport) -> Option<f64>;
    let table: [(&'static str, &'static str, Read); 9] = [
        ("shiftgate_fleet_waiting_requests", "Requests in the queues of its servers", |load| load.reading.waiting),
        ("shiftgate_fleet_running_requests", "Requests that its servers work on", |load| load.reading.running),
        ("shiftgate_fleet_kv_cache_usage_ratio", "KV cache in use, of its fullest server", |load| {
            load.reading.kv_usage
        }),
        ("shiftgate_fleet_tokens_per_second", "Tokens that its servers generate in a second", |load| {
            load.reading.tokens_per_second
        }),
        ("shiftgate_fleet_gpu_memory_used_bytes", "Memory in use on its GPUs", |load| load.reading.gpu_memory_used),
        ("shiftgate_fleet_gpu_memory_total_bytes", "Memory of its GPUs", |load| load.reading.gpu_memory_total),
        ("shiftgate_fleet_gpu_utilization_ratio", "Mean utilization of its GPUs", |load| load.reading.gpu_utilization),
        ("shiftgate_fleet_age_seconds", "How old these numbers are", |load| load.age.map(|age| age.as_secs_f64())),
        ("shiftgate_fleet_overloaded", "1 while above max_waiting or max_kv_usage", |load| {
            Some(if load.overloaded { 1.0 } else { 0.0 })
        }),
    ];
    let polled = || view.backends.iter().filter_map(|one| Some((one, one.load.as_ref()?)));
    let mut families: Vec<Family> = table
        .into_iter()
        .map(|(name, help, read)| {
            let known = polled().filter_map(|(one, load)| Some((of(one), Value::Gauge(read(load)?))));
            Family::new(name, help, known.collect())
        })
        .collect();
    let polls = polled().flat_map(|(one, _)| {
        [("ok", one.stats.polls_ok.get()), ("failed", one.stats.polls_failed.get())].map(|(result, count)| {
            let mut labels = of(one);
            labels.push(("result", result.to_owned()));
            (labels, Value::Counter(count))
        })
    });
    let help = "Polls of its metrics pages, by result";
    families.push(Family::new("shiftgate_fleet_polls", help, polls.collect()));
    families
}
