//! `/status` as JSON. Fields may be added, never renamed. `null` means unknown, never 0.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::copies::ShadowStatus;
use super::guards::{GuardStatus, StateStatus};
use super::view::{self, View};
use crate::backend::{ModelEnd, day_of};
use crate::health::LoadReport;
use crate::model::Percent;
use crate::rollback::GuardSeen;
use crate::stats::Latency;
use crate::telemetry::log::rfc3339;

/// The body of `/status`. The `status` command and the demo read it back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Version of shiftgate.
    pub version: String,
    /// Bound address of `server.listen`.
    pub listen: String,
    /// Bound address of `server.admin`.
    pub admin: String,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Content hash of the snapshot.
    pub hash: String,
    /// Time at which it was put in force, RFC 3339.
    pub loaded_at: String,
    /// Error of the last reading; `null` if the file on disk is in force.
    pub reload_error: Option<ReloadErrorView>,
    /// Changed keys of `[server]` and `[telemetry]` that wait for a restart.
    pub restart_needed: Vec<String>,
    /// True during shutdown.
    pub draining: bool,
    /// Seconds since the start, to one decimal.
    pub uptime_s: f64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Routes in the file's order, `default` last.
    pub routes: Vec<RouteStatus>,
    /// Backends in the file's order.
    pub backends: Vec<BackendStatus>,
    /// The state file; `null` without one.
    #[serde(default)]
    pub state: Option<StateStatus>,
    /// Copies of requests; `null` before the first `[shadow]`.
    #[serde(default)]
    pub shadow: Option<ShadowStatus>,
}

/// Error of a reading.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReloadErrorView {
    /// Time of the reading, RFC 3339.
    pub at: String,
    /// Error text with the place in the file.
    pub message: String,
}

/// Percents and decisions of a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RouteStatus {
    /// Name of the route.
    pub name: String,
    /// Percents in the file, by candidate.
    pub percent: BTreeMap<String, f64>,
    /// Percents in force, by candidate; 0 for a withdrawn one.
    pub effective: BTreeMap<String, f64>,
    /// Percents reached, by backend; `null` before the first request.
    pub got: Option<BTreeMap<String, f64>>,
    /// Requests that the split decided, by backend.
    pub requests: BTreeMap<String, u64>,
    /// Requests outside the split, by pin.
    pub pinned: BTreeMap<String, u64>,
    /// The part of `pinned` that only the translation detected.
    #[serde(default)]
    pub pinned_late: BTreeMap<String, u64>,
    /// Signals of applications about answers, by the backend that the split chose.
    #[serde(default)]
    pub signals: BTreeMap<String, SignalsStatus>,
}

/// Signals of applications; nothing acts on them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SignalsStatus {
    /// Streams that the application left after their first content.
    pub abort: u64,
    /// Requests that an SDK repeated, by the backend that its first try went to.
    pub retry: u64,
}

/// Counters and state of a backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BackendStatus {
    /// Name of the backend.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// `baseline` or `candidate`.
    pub role: String,
    /// Its URL.
    pub url: String,
    /// `closed`, `half_open` or `open`.
    pub breaker: String,
    /// Requests sent, replays included.
    pub attempts: u64,
    /// Requests whose answer came from it.
    pub served: u64,
    /// Requests without a complete good answer, by its fault.
    pub errors: u64,
    /// Requests sent to another backend after it failed.
    pub failovers: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
    /// Times to the first token, in ms.
    pub ttft_ms: Quantiles,
    /// Times to the end of the answer, in ms.
    pub total_ms: Quantiles,
    /// Tokens, as the backend counted them.
    pub tokens: Tokens,
    /// Cost of its answers in USD; `null` if no answer has a price.
    pub cost_usd: Option<f64>,
    /// Share of the prompt tokens that its servers found in their prefix cache, 0 to 1, over the last minute.
    pub prefix_hit_rate: Option<f64>,
    /// Its guard; `null` without `[guard]`, and for the baseline.
    #[serde(default)]
    pub guard: Option<GuardStatus>,
    /// Load of its servers; `null` if it has no metrics pages.
    pub fleet: Option<FleetView>,
    /// Its models that end and that are used, the first to end first; `null` if its list of models is not known.
    #[serde(default)]
    pub ends: Option<Vec<EndView>>,
}

/// End of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EndView {
    /// The backend's name of the model.
    pub model: String,
    /// Day from which on it does not answer, in UTC: 2027-01-14.
    pub ends: String,
    /// Days from today on; negative for a day that has passed.
    pub days: i64,
}

/// Load that a backend's servers report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FleetView {
    /// Requests waiting in queues.
    pub waiting: Option<u64>,
    /// Requests that the servers work on.
    pub running: Option<u64>,
    /// KV cache usage of the fullest server, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second.
    pub tokens_per_second: Option<f64>,
    /// GPU memory, in bytes.
    pub gpu_memory_bytes: GpuMemory,
    /// Mean GPU utilization, 0 to 1.
    pub gpu_utilization: Option<f64>,
    /// Age of these numbers, in seconds.
    pub age_s: Option<f64>,
    /// Errors of the last poll.
    pub error: Option<String>,
    /// True above `max_waiting` or `max_kv_usage`: requests go to the baseline.
    pub overloaded: bool,
}

/// GPU memory, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct GpuMemory {
    /// Memory in use.
    pub used: Option<u64>,
    /// Installed memory.
    pub total: Option<u64>,
}

/// Quantiles of a latency, in ms; `null` before the first sample.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// Prompt tokens.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
}

impl Status {
    /// Converts the view to the names and units of `/status`.
    pub(crate) fn of(view: &View) -> Self {
        let reload_error = view
            .reload_error
            .as_ref()
            .map(|error| ReloadErrorView { at: rfc3339(error.at), message: error.message.clone() });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: view.listen.clone(),
            admin: view.admin.clone(),
            generation: view.generation,
            hash: view.hash.clone(),
            loaded_at: rfc3339(view.loaded_at),
            reload_error,
            restart_needed: view.restart_needed.iter().map(|key| (*key).to_owned()).collect(),
            draining: view.is_draining,
            uptime_s: (view.uptime_s * 10.0).round() / 10.0,
            in_flight: view.stats.in_flight.get(),
            routes: view.routes.iter().map(route).collect(),
            backends: view
                .backends
                .iter()
                .map(|one| backend(one, &view.guard, day_of(jiff::Timestamp::now())))
                .collect(),
            state: StateStatus::of(view),
            shadow: ShadowStatus::of(view),
        }
    }
}

fn route(view: &view::RouteView) -> RouteStatus {
    let words = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    };
    let percents = |of: fn(&view::PercentView) -> Percent| {
        view.percents.iter().map(|one| (one.backend.clone(), of(one).as_f64())).collect()
    };
    let rounded = |got: BTreeMap<String, f64>| {
        got.into_iter().map(|(name, share)| (name, (share * 100.0).round() / 100.0)).collect()
    };
    RouteStatus {
        name: view.name.clone(),
        percent: percents(|one| one.asked),
        effective: percents(|one| one.effective),
        got: view.got().map(rounded),
        requests: view.chosen.clone(),
        pinned: words(&view.pinned),
        pinned_late: words(&view.pinned_late),
        signals: view
            .signals
            .iter()
            .map(|(backend, [abort, retry])| (backend.clone(), SignalsStatus { abort: *abort, retry: *retry }))
            .collect(),
    }
}

fn backend(view: &view::BackendView, guard: &GuardSeen, today: Date) -> BackendStatus {
    let quantiles = |latency: &Latency| Quantiles { p50: latency.quantile_ms(0.5), p99: latency.quantile_ms(0.99) };
    let stats = &view.stats;
    BackendStatus {
        name: view.labels.name.clone(),
        engine: view.labels.engine.as_str().to_owned(),
        role: view.role.as_str().to_owned(),
        url: view.url.clone(),
        breaker: view.health.state.as_str().to_owned(),
        attempts: stats.attempts.get(),
        served: stats.served.get(),
        errors: stats.errors.get(),
        failovers: stats.failovers.get(),
        in_flight: stats.in_flight.get(),
        connections: stats.connections.get(),
        ttft_ms: quantiles(&stats.ttft),
        total_ms: quantiles(&stats.total),
        tokens: Tokens { input: stats.input_tokens.get(), output: stats.output_tokens.get() },
        cost_usd: stats.cost_usd(),
        prefix_hit_rate: view.load.as_ref().and_then(|load| load.reading.prefix_hit_rate).map(to_four_decimals),
        guard: guard.candidates.iter().find(|one| one.name == view.labels.name).map(GuardStatus::of),
        fleet: view.load.clone().map(fleet),
        ends: view.ends.as_ref().map(|ends| ends.iter().map(|one| end(one, today)).collect()),
    }
}

/// Converts the end of a model.
pub(crate) fn end(end: &ModelEnd, today: Date) -> EndView {
    EndView { model: end.model.clone(), ends: end.date.to_string(), days: end.days(today) }
}

/// Rounds a share.
fn to_four_decimals(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

fn fleet(load: LoadReport) -> FleetView {
    let LoadReport { reading, age, error, overloaded } = load;
    let rounded = |value: f64, to: f64| (value * to).round() / to;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "requests and bytes, never below 0")]
    let whole = |value: f64| value as u64;
    FleetView {
        waiting: reading.waiting.map(whole),
        running: reading.running.map(whole),
        kv_usage: reading.kv_usage.map(to_four_decimals),
        tokens_per_second: reading.tokens_per_second.map(|speed| rounded(speed, 10.0)),
        gpu_memory_bytes: GpuMemory {
            used: reading.gpu_memory_used.map(whole),
            total: reading.gpu_memory_total.map(whole),
        },
        gpu_utilization: reading.gpu_utilization.map(to_four_decimals),
        age_s: age.map(|age| rounded(age.as_secs_f64(), 10.0)),
        error,
        overloaded,
    }
}
