//! Metrics of the whole process: requests by end, refusals, reloads, connections, telemetry.

use std::collections::BTreeMap;

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::View;
use crate::stats::Stats;

/// Reasons for which shiftgate closes connections of applications or does not accept them.
const CLOSED: [&str; 5] = ["not_accepted", "malformed", "slow_head", "idle", "slow_reader"];

pub(super) fn families(view: &View) -> Vec<Family> {
    let stats = &view.stats;
    let mut families = requests(stats);
    families.push(residency(stats));
    families.extend(config(view));
    families.extend(telemetry(stats));
    families.extend([
        Family::one("shiftgate_requests_in_flight", "Requests in flight", gauge(stats.in_flight.get())),
        Family::one("shiftgate_connections", "Open connections of applications", gauge(stats.connections.get())),
        Family::one(
            "shiftgate_body_bytes",
            "Memory for held bodies and answers, in bytes",
            gauge(stats.body_bytes.get()),
        ),
    ]);
    families
}

fn requests(stats: &Stats) -> Vec<Family> {
    let refused = stats.refused();
    let mut shed = stats.sheds();
    shed.insert("limits.connections", stats.refused_connections.get());
    vec![
        Family::new("shiftgate_requests_ended", "Ended requests, by end", by("end", [], stats.ended())),
        Family::new("shiftgate_refused", "Requests answered by shiftgate itself, by reason", by("reason", [], refused)),
        Family::new("shiftgate_shed", "Requests refused at a limit, by limit", by("reason", [], shed)),
        Family::new(
            "shiftgate_connections_closed",
            "Connections of applications that shiftgate closed or did not accept, by reason",
            by("reason", CLOSED, stats.closed()),
        ),
        Family::one(
            "shiftgate_failover_refused",
            "Failures of candidates without a failover because the retry budget was spent",
            Value::Counter(stats.over_budget.get()),
        ),
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
    Family::new(
        "shiftgate_residency_requests",
        "Requests that a residency rule matched, by rule and by whether the chosen backend served, another one, or none",
        samples,
    )
}

fn config(view: &View) -> Vec<Family> {
    let stats = &view.stats;
    let failed = stats.reloads.failed().map(|(kind, count)| ("failed", kind, count.get()));
    let reloads = [("ok", "", stats.reloads.ok.get())].into_iter().chain(failed);
    let labelled = |(result, kind, count): (&str, &str, u64)| {
        (vec![("result", result.to_owned()), ("kind", kind.to_owned())], Value::Counter(count))
    };
    vec![
        Family::new(
            "shiftgate_config_reloads",
            "Readings of rollout.toml after the first, by result and kind of error",
            reloads.map(labelled).collect(),
        ),
        Family::one("shiftgate_config_generation", "Generation of the snapshot in force", gauge(view.generation)),
        Family::one(
            "shiftgate_config_reload_failed",
            "1 while the file on disk is refused and the last valid one is in force",
            gauge(u64::from(view.reload_error.is_some())),
        ),
        Family::one(
            "shiftgate_config_last_success_timestamp_seconds",
            "Time of reading the snapshot in force, in seconds since 1970",
            Value::Gauge(view.loaded_at.as_duration().as_secs_f64()),
        ),
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
        Family::new(
            "shiftgate_telemetry_dropped",
            "Spans not exported, by reason; rate counts spans of traces above the limit of kept traces",
            dropped,
        ),
        Family::new(
            "shiftgate_telemetry_exported",
            "Spans accepted by the collector",
            vec![(vec![signal()], Value::Counter(spans.exported.get()))],
        ),
        Family::new(
            "shiftgate_telemetry_queue_length",
            "Spans waiting for export",
            vec![(vec![signal()], gauge(spans.queued.get()))],
        ),
        Family::one(
            "shiftgate_log_dropped_lines",
            "Log lines dropped because the reader was too slow",
            Value::Counter(stats.log_dropped.get()),
        ),
    ]
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
