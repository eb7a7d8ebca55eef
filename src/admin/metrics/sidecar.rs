//! Metrics of the whole process: requests by end, refusals, reloads, connections, telemetry.

use std::collections::BTreeMap;

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::View;
use crate::stats::{Count, Stats};
use crate::telemetry::names;

/// Reasons for which shiftgate closes connections of applications or does not accept them.
const CLOSED: [&str; 5] = ["not_accepted", "malformed", "slow_head", "idle", "slow_reader"];

pub(super) fn families(view: &View) -> Vec<Family> {
    let stats = &view.stats;
    let mut families = requests(stats);
    families.push(residency(stats));
    families.extend(config(view));
    families.extend(telemetry(stats));
    families.extend([
        Family::one(names::REQUESTS_IN_FLIGHT, gauge(stats.in_flight.get())),
        Family::one(names::CONNECTIONS, gauge(stats.connections.get())),
        Family::one(names::BODY_BYTES, gauge(stats.body_bytes.get())),
    ]);
    families
}

fn requests(stats: &Stats) -> Vec<Family> {
    let refused = stats.refused();
    let mut shed = stats.sheds();
    shed.insert("limits.connections", stats.refused_connections.get());
    vec![
        Family::new(names::REQUESTS_ENDED, by("end", [], stats.ended())),
        Family::new(names::REFUSED, by("reason", [], refused)),
        Family::new(names::SHED, by("reason", [], shed)),
        Family::new(names::CONNECTIONS_CLOSED, by("reason", CLOSED, stats.closed())),
        Family::one(names::FAILOVER_REFUSED, Value::Counter(stats.over_budget.get())),
    ]
}

fn residency(stats: &Stats) -> Family {
    let mut samples = Vec::new();
    for (rule, counts) in stats.rules() {
        for (placement, count) in counts.counts() {
            let labels = vec![("rule", rule.clone()), ("result", placement.as_str().to_owned())];
            samples.push((labels, Value::Counter(count)));
        }
    }
    Family::new(names::RESIDENCY_REQUESTS, samples)
}

fn config(view: &View) -> Vec<Family> {
    let stats = &view.stats;
    let failed = stats.reloads.failed().map(|(kind, count)| ("failed", kind, count.get()));
    let reloads = [("ok", "", stats.reloads.ok.get())].into_iter().chain(failed);
    let labelled = |(result, kind, count): (&str, &str, u64)| {
        (vec![("result", result.to_owned()), ("kind", kind.to_owned())], Value::Counter(count))
    };
    vec![
        Family::new(names::CONFIG_RELOADS, reloads.map(labelled).collect()),
        Family::one(names::CONFIG_GENERATION, gauge(view.generation)),
        Family::one(names::CONFIG_RELOAD_FAILED, gauge(u64::from(view.reload_error.is_some()))),
        Family::one(names::CONFIG_LAST_SUCCESS, Value::Gauge(view.loaded_at.as_duration().as_secs_f64())),
    ]
}

fn telemetry(stats: &Stats) -> Vec<Family> {
    let spans = &stats.telemetry;
    let signal = || ("signal", "traces".to_owned());
    let dropped = [
        ("queue_full", &spans.dropped_full),
        ("export_failed", &spans.dropped_failed),
        ("rejected", &spans.dropped_rejected),
        ("rate", &spans.dropped_rate),
        ("shutdown", &spans.dropped_shutdown),
    ];
    let dropped = dropped
        .map(|(reason, count)| (vec![signal(), ("reason", reason.to_owned())], Value::Counter(count.get())))
        .into();
    vec![
        Family::new(names::TELEMETRY_DROPPED, dropped),
        Family::new(names::TELEMETRY_EXPORTED, vec![(vec![signal()], Value::Counter(spans.exported.get()))]),
        Family::new(names::TELEMETRY_QUEUE, vec![(vec![signal()], gauge(spans.queued.get()))]),
        Family::new(names::RECORDS, records(stats)),
        Family::one(names::LOG_DROPPED, Value::Counter(stats.log_dropped.get())),
    ]
}

fn records(stats: &Stats) -> Vec<(Labels, Value)> {
    let labelled = |(result, count): (&str, &Count)| (vec![("result", result.to_owned())], Value::Counter(count.get()));
    stats.records.results().into_iter().map(labelled).collect()
}

/// Returns the series of a counter by `label`; all `known` values exist from the start.
fn by(
    label: &'static str,
    known: impl IntoIterator<Item = &'static str>,
    mut counts: BTreeMap<&'static str, u64>,
) -> Vec<(Labels, Value)> {
    for word in known {
        counts.entry(word).or_insert(0);
    }
    counts.into_iter().map(|(word, count)| (vec![(label, word.to_owned())], Value::Counter(count))).collect()
}
