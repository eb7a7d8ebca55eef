//! `/status`: its fields are fixed; ones may be added, none renamed. `null` is "not known", never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::{self, View};
use crate::health::LoadReport;
use crate::model::Percent;
use crate::stats::Latency;
use crate::telemetry::log::rfc3339;

/// Read back by the `status` command and the demo, therefore both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub version: String,
    pub listen: String,
    pub admin: String,
    pub generation: u64,
    pub hash: String,
    pub loaded_at: String,
    pub reload_error: Option<ReloadErrorView>,
    /// Keys of `[server]` that were changed but wait for a restart.
    pub restart_needed: Vec<String>,
    pub draining: bool,
    pub uptime_s: f64,
    pub in_flight: u64,
    pub routes: Vec<RouteView>,
    pub backends: Vec<BackendView>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReloadErrorView {
    pub at: String,
    pub message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RouteView {
    pub name: String,
    pub percent: BTreeMap<String, f64>,
    pub effective: BTreeMap<String, f64>,
    /// `null` before the first request.
    pub got: Option<BTreeMap<String, f64>>,
    pub requests: BTreeMap<String, u64>,
    pub pinned: BTreeMap<String, u64>,
    /// Of these, the ones that only their translation showed.
    #[serde(default)]
    pub pinned_late: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BackendView {
    pub name: String,
    pub engine: String,
    pub role: String,
    pub url: String,
    pub breaker: String,
    pub attempts: u64,
    pub served: u64,
    pub errors: u64,
    pub failovers: u64,
    pub in_flight: u64,
    pub connections: u64,
    pub ttft_ms: Quantiles,
    pub total_ms: Quantiles,
    pub tokens: Tokens,
    pub cost_usd: Option<f64>,
    /// `null` when no metrics of it are read.
    pub fleet: Option<FleetView>,
}

/// What its servers say of their load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FleetView {
    pub waiting: Option<u64>,
    pub running: Option<u64>,
    pub kv_usage: Option<f64>,
    pub tokens_per_second: Option<f64>,
    pub gpu_memory_bytes: GpuMemory,
    pub gpu_utilization: Option<f64>,
    pub age_s: Option<f64>,
    pub error: Option<String>,
    /// Above `max_waiting` or `max_kv_usage`: its requests go to the baseline.
    pub overloaded: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct GpuMemory {
    pub used: Option<u64>,
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub input: u64,
    pub output: u64,
}

impl Status {
    /// The view, in the words and units of `/status`.
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
            backends: view.backends.iter().map(backend).collect(),
        }
    }
}

fn route(view: &view::RouteView) -> RouteView {
    let words = |counts: &BTreeMap<&'static str, u64>| {
        counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    };
    let percents = |of: fn(&view::PercentView) -> Percent| {
        view.percents.iter().map(|one| (one.backend.clone(), of(one).as_f64())).collect()
    };
    let rounded = |got: BTreeMap<String, f64>| {
        got.into_iter().map(|(name, share)| (name, (share * 100.0).round() / 100.0)).collect()
    };
    RouteView {
        name: view.name.clone(),
        percent: percents(|one| one.asked),
        effective: percents(|one| one.effective),
        got: view.got().map(rounded),
        requests: view.chosen.clone(),
        pinned: words(&view.pinned),
        pinned_late: words(&view.pinned_late),
    }
}

fn backend(view: &view::BackendView) -> BackendView {
    let quantiles = |latency: &Latency| Quantiles { p50: latency.quantile_ms(0.5), p99: latency.quantile_ms(0.99) };
    let stats = &view.stats;
    BackendView {
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
        fleet: view.load.clone().map(fleet),
    }
}

fn fleet(load: LoadReport) -> FleetView {
    let LoadReport { reading, age, error, overloaded } = load;
    let rounded = |value: f64, to: f64| (value * to).round() / to;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "requests and bytes, never below 0")]
    let whole = |value: f64| value as u64;
    FleetView {
        waiting: reading.waiting.map(whole),
        running: reading.running.map(whole),
        kv_usage: reading.kv_usage.map(|usage| rounded(usage, 1e4)),
        tokens_per_second: reading.tokens_per_second.map(|speed| rounded(speed, 10.0)),
        gpu_memory_bytes: GpuMemory {
            used: reading.gpu_memory_used.map(whole),
            total: reading.gpu_memory_total.map(whole),
        },
        gpu_utilization: reading.gpu_utilization.map(|share| rounded(share, 1e4)),
        age_s: age.map(|age| rounded(age.as_secs_f64(), 10.0)),
        error,
        overloaded,
    }
}
