//! Metrics of each backend: attempts, tokens, cost, connections, translations.

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::{BackendView, View};
use crate::outcome::LegKind;
use crate::stats::BackendStats;
use crate::translate::answer::Note;

type Backends = [(String, std::sync::Arc<BackendStats>)];

pub(super) fn families(view: &View) -> Vec<Family> {
    let backends = view.stats.backends();
    let mut families = counters(&backends);
    families.push(cost(&backends, view));
    families.extend(by_reason(&backends));
    families.extend(connections(view));
    families.extend(translations(&backends));
    families
}

fn labels_of(backend: &str) -> Labels {
    vec![("backend", backend.to_owned())]
}

fn counters(backends: &Backends) -> Vec<Family> {
    type Read = fn(&BackendStats) -> Value;
    let table: [(&'static str, &'static str, Read); 11] = [
        ("shiftgate_attempts", "Requests sent to the backend, replays included", |s| Value::Counter(s.attempts.get())),
        ("shiftgate_served", "Requests answered by the backend", |s| Value::Counter(s.served.get())),
        ("shiftgate_errors", "Requests without a complete good answer, by the backend's fault", |s| {
            Value::Counter(s.errors.get())
        }),
        ("shiftgate_failovers", "Requests sent to another backend after this one failed", |s| {
            Value::Counter(s.failovers.get())
        }),
        ("shiftgate_replays", "Requests sent again because a reused connection was closed", |s| {
            Value::Counter(s.replays.get())
        }),
        ("shiftgate_early_heads", "Heads of streams sent before the backend had content", |s| {
            Value::Counter(s.early_heads.get())
        }),
        ("shiftgate_misconfigured", "Refusals of shiftgate's key, model or path by the backend", |s| {
            Value::Counter(s.misconfigured.get())
        }),
        ("shiftgate_tokens_input", "Prompt tokens as the backend counted them", |s| {
            Value::Counter(s.input_tokens.get())
        }),
        ("shiftgate_tokens_output", "Generated tokens as the backend counted them", |s| {
            Value::Counter(s.output_tokens.get())
        }),
        ("shiftgate_backend_in_flight", "Requests being answered by the backend", |s| gauge(s.in_flight.get())),
        ("shiftgate_pool_connections", "Connections open to the backend", |s| gauge(s.connections.get())),
    ];
    let family = |(name, help, read): (_, _, Read)| {
        let samples = backends.iter().map(|(backend, stats)| (labels_of(backend), read(stats)));
        Family::new(name, help, samples.collect())
    };
    table.into_iter().map(family).collect()
}

/// Cost by backend. A backend without a price has no series, because its cost is unknown and not zero.
fn cost(backends: &Backends, view: &View) -> Family {
    let has_price = |name: &str| view.backends.iter().any(|one| one.labels.name == name && one.has_price);
    let samples = backends.iter().filter_map(|(backend, stats)| {
        let usd = stats.cost_usd().or_else(|| has_price(backend).then_some(0.0))?;
        let mut labels = labels_of(backend);
        labels.push(("leg", LegKind::Served.as_str().to_owned()));
        Some((labels, Value::Sum(usd)))
    });
    Family::new("shiftgate_cost_usd", "Cost of answers with a known price, in USD", samples.collect())
}

fn by_reason(backends: &Backends) -> [Family; 2] {
    let mut retries = Vec::new();
    let mut cancelled = Vec::new();
    for (backend, stats) in backends {
        let labelled = |(reason, count): (&str, u64)| {
            let mut labels = labels_of(backend);
            labels.push(("reason", reason.to_owned()));
            (labels, Value::Counter(count))
        };
        retries.extend(stats.retries().map(labelled));
        cancelled.extend(stats.cancellations().map(labelled));
    }
    [
        Family::new(
            "shiftgate_upstream_retries",
            "Requests sent again after this backend failed: to the baseline by cause, or to itself as a replay",
            retries,
        ),
        Family::new(
            "shiftgate_upstream_cancelled",
            "Attempts cancelled before the backend finished, by who cancelled them",
            cancelled,
        ),
    ]
}

fn connections(view: &View) -> [Family; 2] {
    let address = |view: &BackendView| {
        vec![
            ("server_address", view.labels.host.clone()),
            ("server_port", view.labels.port.to_string()),
            ("backend", view.labels.name.clone()),
        ]
    };
    let mut open = Vec::new();
    let mut lifetimes = Vec::new();
    for view in &view.backends {
        let idle = view.idle.min(view.stats.connections.get());
        for (state, count) in [("active", view.stats.connections.get().saturating_sub(idle)), ("idle", idle)] {
            let mut labels = address(view);
            labels.push(("http_connection_state", state.to_owned()));
            open.push((labels, gauge(count)));
        }
        lifetimes.push((address(view), Value::Histogram(view.stats.lifetimes.view())));
    }
    [
        Family::new("http_client_open_connections", "Open connections to backends, by state", open),
        Family::new(
            "http_client_connection_duration_seconds",
            "Lifetimes of connections to backends, in seconds",
            lifetimes,
        ),
    ]
}

fn translations(backends: &Backends) -> [Family; 2] {
    let mut fields = Vec::new();
    let mut notes = Vec::new();
    for (backend, stats) in backends {
        for ((field, action), count) in stats.translations() {
            let mut labels = labels_of(backend);
            labels.extend([("field", field.to_owned()), ("action", action.to_owned())]);
            fields.push((labels, Value::Counter(count)));
        }
        let noticed = stats.notices();
        for note in Note::ALL {
            let mut labels = labels_of(backend);
            labels.push(("note", note.as_str().to_owned()));
            notes.push((labels, Value::Counter(noticed.get(note.as_str()).copied().unwrap_or(0))));
        }
    }
    [
        Family::new("shiftgate_translate", "Request fields handled by the translation, by action", fields),
        Family::new("shiftgate_answer_notes", "Answers that needed a repair, by repair", notes),
    ]
}
