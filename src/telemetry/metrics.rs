//! `/metrics`: the numbers of [`Stats`] in Prometheus' text format 0.0.4.
//!
//! Owns: the names of metrics and labels. Invariant: label values come from rollout.toml and closed lists only.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::stats::{BackendStats, Stats};
use crate::health::{LoadReport, Report, State};

/// What only the snapshot in force knows.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    pub generation: u64,
    /// The last reload was refused.
    pub reload_failed: bool,
    /// (backend, report) of each candidate.
    pub health: Vec<(String, Report)>,
    /// Of each backend whose metrics are read.
    pub fleet: Vec<FleetView>,
    /// (route, backend, percent)
    pub percents: Vec<(String, String, f64)>,
}

/// One backend's load, and how often it was asked for: (good, failed).
#[derive(Debug, Clone)]
pub struct FleetView {
    pub backend: String,
    pub load: LoadReport,
    pub polls: (u64, u64),
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Value {
    Counter(u64),
    Usd(f64),
    Gauge(f64),
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, Value)>,
}

#[derive(Debug)]
struct Page(Vec<Family>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for family in &self.0 {
            let kind = match family.samples.first() {
                Some((_, Value::Gauge(_))) => MetricType::Gauge,
                Some(_) => MetricType::Counter,
                None => continue,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.samples {
                let labels = labels.as_slice();
                let family = metric.encode_family(&labels)?;
                match value {
                    Value::Counter(value) => ConstCounter::new(*value).encode(family)?,
                    Value::Usd(value) => ConstCounter::new(*value).encode(family)?,
                    Value::Gauge(value) => ConstGauge::new(*value).encode(family)?,
                }
            }
        }
        Ok(())
    }
}

/// The page as text.
pub fn render(stats: &Stats, in_force: &InForce) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page(families(stats, in_force))));
    let mut open_metrics = String::new();
    if text::encode(&mut open_metrics, &registry).is_err() {
        return String::new();
    }
    to_text_format(&open_metrics)
}

/// The crate writes OpenMetrics; in the older format a counter's `# TYPE` carries the `_total` of its samples, and
/// there is no `# EOF`.
fn to_text_format(open_metrics: &str) -> String {
    let mut page = String::with_capacity(open_metrics.len() + 512);
    let counters: Vec<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let renamed = line.strip_prefix("# ").and_then(|comment| {
            let (kind, rest) = comment.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            counters.contains(&name).then(|| format!("# {kind} {name}_total {rest}"))
        });
        page.push_str(renamed.as_deref().unwrap_or(line));
        page.push('\n');
    }
    page
}

fn families(stats: &Stats, in_force: &InForce) -> Vec<Family> {
    let mut families = process_families(stats, in_force);
    families.extend(route_families(stats));
    families.extend(backend_families(stats));
    families.extend(health_families(in_force));
    families.extend(translation_families(stats));
    families.extend(fleet_families(in_force));
    families
}

fn translation_families(stats: &Stats) -> [Family; 2] {
    let mut samples = Vec::new();
    let mut noticed = Vec::new();
    for (backend, stats) in stats.backends() {
        for ((field, action), count) in stats.translations() {
            let labels = vec![("backend", backend.clone()), ("field", field.to_owned()), ("action", action.to_owned())];
            samples.push((labels, Value::Counter(count)));
        }
        for (note, count) in stats.notices() {
            let labels = vec![("backend", backend.clone()), ("note", note.to_owned())];
            noticed.push((labels, Value::Counter(count)));
        }
    }
    [
        Family { name: "shiftgate_translate", help: "Fields of requests by what the translation did to them", samples },
        Family {
            name: "shiftgate_answer_notes",
            help: "Answers of other engines by what had to be repaired in them",
            samples: noticed,
        },
    ]
}

fn process_families(stats: &Stats, in_force: &InForce) -> Vec<Family> {
    let by = |label: &'static str, counts: std::collections::BTreeMap<&'static str, u64>| {
        counts.into_iter().map(|(word, count)| (vec![(label, word.to_owned())], Value::Counter(count))).collect()
    };
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats in this format")]
    let gauge = |name, help, value: u64| Family { name, help, samples: vec![(Vec::new(), Value::Gauge(value as f64))] };
    let reloads = [("ok", &stats.reloads_ok), ("failed", &stats.reloads_failed)];
    vec![
        Family {
            name: "shiftgate_requests_ended",
            help: "Requests by how they ended",
            samples: by("end", stats.ended()),
        },
        Family {
            name: "shiftgate_refused",
            help: "Requests that shiftgate answered itself, by reason",
            samples: by("reason", stats.refused()),
        },
        Family {
            name: "shiftgate_connections_closed",
            help: "Connections of applications that shiftgate ended or did not take, by reason",
            samples: by("reason", stats.closed()),
        },
        Family {
            name: "shiftgate_config_reloads",
            help: "Readings of rollout.toml after the first, by result",
            samples: reloads
                .map(|(result, count)| (vec![("result", result.to_owned())], Value::Counter(count.get())))
                .into(),
        },
        Family {
            name: "shiftgate_log_dropped_lines",
            help: "Log lines dropped because nobody read them",
            samples: vec![(Vec::new(), Value::Counter(stats.log_dropped.get()))],
        },
        Family {
            name: "shiftgate_failover_refused",
            help: "Failures of candidates that were not answered by the baseline: the retry budget was spent",
            samples: vec![(Vec::new(), Value::Counter(stats.over_budget.get()))],
        },
        gauge("shiftgate_config_generation", "Generation of the snapshot in force", in_force.generation),
        gauge(
            "shiftgate_config_reload_failed",
            "1 while the file on disk is refused and an older one serves",
            u64::from(in_force.reload_failed),
        ),
        gauge("shiftgate_requests_in_flight", "Requests being answered", stats.in_flight.get()),
        gauge("shiftgate_connections", "Connections of applications", stats.connections.get()),
        gauge("shiftgate_body_bytes", "Bytes of bodies held", stats.body_bytes.get()),
        Family {
            name: "shiftgate_split_percent",
            help: "Percent asked for, by route and candidate",
            samples: in_force
                .percents
                .iter()
                .map(|(route, backend, percent)| {
                    (vec![("route", route.clone()), ("backend", backend.clone())], Value::Gauge(*percent))
                })
                .collect(),
        },
    ]
}

fn route_families(stats: &Stats) -> Vec<Family> {
    let mut samples = Vec::new();
    for (route, counts) in stats.routes() {
        for ((backend, reason), count) in counts.decisions() {
            let labels = vec![("route", route.clone()), ("backend", backend), ("reason", reason.to_owned())];
            samples.push((labels, Value::Counter(count)));
        }
    }
    let mut late = Vec::new();
    for (route, stats) in stats.routes() {
        for (pin, count) in stats.late() {
            late.push((vec![("route", route.clone()), ("reason", format!("pinned:{pin}"))], Value::Counter(count)));
        }
    }
    vec![
        Family {
            name: "shiftgate_split_decisions",
            help: "Decisions by route, backend decided for, and reason",
            samples,
        },
        Family {
            name: "shiftgate_split_late_pins",
            help: "Requests pinned only by their translation, after the split had chosen a candidate",
            samples: late,
        },
    ]
}

fn health_families(in_force: &InForce) -> Vec<Family> {
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
        in_force.health.iter().map(|(name, report)| (vec![("backend", name.clone())], read(report))).collect()
    };
    table.into_iter().map(|(name, help, read)| Family { name, help, samples: samples(read) }).collect()
}

/// What is not known has no sample.
fn fleet_families(in_force: &InForce) -> Vec<Family> {
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
    let of = |view: &FleetView| vec![("backend", view.backend.clone())];
    let mut families: Vec<Family> = table
        .into_iter()
        .map(|(name, help, read)| {
            let known = in_force.fleet.iter().filter_map(|view| Some((of(view), Value::Gauge(read(&view.load)?))));
            Family { name, help, samples: known.collect() }
        })
        .collect();
    let polls = in_force.fleet.iter().flat_map(|view| {
        [("ok", view.polls.0), ("failed", view.polls.1)].map(|(result, count)| {
            let mut labels = of(view);
            labels.push(("result", result.to_owned()));
            (labels, Value::Counter(count))
        })
    });
    let help = "Polls of its metrics pages, by result";
    families.push(Family { name: "shiftgate_fleet_polls", help, samples: polls.collect() });
    families
}

fn backend_families(stats: &Stats) -> Vec<Family> {
    type Read = fn(&BackendStats) -> Value;
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats in this format")]
    let table: [(&'static str, &'static str, Read); 11] = [
        ("shiftgate_attempts", "Requests sent to the backend", |s| Value::Counter(s.attempts.get())),
        ("shiftgate_served", "Requests the backend answered", |s| Value::Counter(s.served.get())),
        ("shiftgate_errors", "Attempts without a complete good answer", |s| Value::Counter(s.errors.get())),
        ("shiftgate_failovers", "Attempts then answered by another backend", |s| Value::Counter(s.failovers.get())),
        ("shiftgate_replays", "Requests sent again because a reused connection had died", |s| {
            Value::Counter(s.replays.get())
        }),
        (
            "shiftgate_misconfigured",
            "Refusals about the key, the model's name, the path or the bill: the file is wrong",
            |s| Value::Counter(s.misconfigured.get()),
        ),
        ("shiftgate_tokens_input", "Prompt tokens as the backend counted them", |s| {
            Value::Counter(s.input_tokens.get())
        }),
        ("shiftgate_tokens_output", "Generated tokens as the backend counted them", |s| {
            Value::Counter(s.output_tokens.get())
        }),
        ("shiftgate_cost_usd", "Cost of the answers whose price is known", |s| Value::Usd(s.cost_usd().unwrap_or(0.0))),
        ("shiftgate_backend_in_flight", "Requests being answered by the backend", |s| {
            Value::Gauge(s.in_flight.get() as f64)
        }),
        ("shiftgate_pool_connections", "Connections open to the backend", |s| Value::Gauge(s.connections.get() as f64)),
    ];
    let backends = stats.backends();
    table
        .into_iter()
        .map(|(name, help, read)| Family {
            name,
            help,
            samples: backends
                .iter()
                .map(|(backend, stats)| (vec![("backend", backend.clone())], read(stats)))
                .collect(),
        })
        .collect()
}

#[cfg(test)]
fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Reading;
    use crate::model::Reason;

    #[test]
    fn the_page_is_text_format() {
        let stats = Stats::default();
        stats.backend("qwen \"72b\"").attempts.add(3);
        stats.route("default").decided("openai", "openai", Reason::Split);
        stats.reloads_ok.add(2);
        let percents = vec![("default".to_owned(), "qwen".to_owned(), 2.5)];
        let load =
            LoadReport { reading: Reading { kv_usage: Some(0.5), ..Reading::default() }, ..LoadReport::default() };
        let fleet = vec![FleetView { backend: "qwen".to_owned(), load, polls: (7, 1) }];
        let page = render(&stats, &InForce { generation: 3, percents, fleet, ..InForce::default() });
        assert_eq!(sample(&page, "shiftgate_fleet_kv_cache_usage_ratio{backend=\"qwen\"}"), Some(0.5), "{page}");
        assert_eq!(sample(&page, "shiftgate_fleet_polls_total{backend=\"qwen\",result=\"failed\"}"), Some(1.0));
        assert!(!page.contains("shiftgate_fleet_waiting"), "{page}");
        assert_eq!(sample(&page, "shiftgate_attempts_total{backend=\"qwen \\\"72b\\\"\"}"), Some(3.0), "{page}");
        assert_eq!(sample(&page, "shiftgate_config_reloads_total{result=\"ok\"}"), Some(2.0));
        assert_eq!(sample(&page, "shiftgate_config_generation"), Some(3.0));
        assert_eq!(sample(&page, "shiftgate_split_percent{route=\"default\",backend=\"qwen\"}"), Some(2.5));
        assert!(page.contains("# TYPE shiftgate_attempts_total counter\n"), "{page}");
        assert!(!page.contains("# EOF"));
    }
}
