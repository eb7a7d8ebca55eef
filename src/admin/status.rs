//! `/status`: its fields are fixed; ones may be added, none renamed. `null` is "not known", never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Admin;
use crate::health::LoadReport;
use crate::live::Snapshot;
use crate::telemetry::log::rfc3339;

/// Read back by the `status` command and the demo, therefore both ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
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
pub struct ReloadErrorView {
    pub at: String,
    pub message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteView {
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
pub struct BackendView {
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
pub struct FleetView {
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
pub struct GpuMemory {
    pub used: Option<u64>,
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Quantiles {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
}

/// As things stand.
pub fn of(admin: &Admin) -> Status {
    let snapshot = admin.store.current();
    let reload_error =
        admin.store.reload_error().map(|error| ReloadErrorView { at: rfc3339(error.at), message: error.message });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen: admin.listen.clone(),
        admin: admin.admin.clone(),
        generation: snapshot.generation,
        hash: snapshot.config.hash.clone(),
        loaded_at: rfc3339(snapshot.loaded_at),
        reload_error,
        restart_needed: admin.store.restart_needed().into_iter().map(str::to_owned).collect(),
        draining: admin.life.draining.is_cancelled(),
        uptime_s: (admin.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        in_flight: admin.stats.in_flight.get(),
        routes: routes(&snapshot),
        backends: backends(&snapshot),
    }
}

fn routes(snapshot: &Snapshot) -> Vec<RouteView> {
    let config = &snapshot.config;
    let names = |backend: crate::model::BackendId| config[backend].name.clone();
    config
        .routes
        .iter()
        .zip(&snapshot.routes)
        .map(|(route, stats)| {
            let percent: BTreeMap<String, f64> =
                route.percent.iter().map(|(backend, percent)| (names(*backend), percent.as_f64())).collect();
            let requests = stats.chosen();
            let total: u64 = requests.values().sum();
            #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
            let share = |count: u64| (count as f64 * 10_000.0 / total as f64).round() / 100.0;
            let got = (total > 0).then(|| requests.iter().map(|(name, count)| (name.clone(), share(*count))).collect());
            RouteView {
                name: route.name.clone(),
                effective: percent.clone(),
                percent,
                got,
                requests,
                pinned: stats.pinned().into_iter().map(|(pin, count)| (pin.to_owned(), count)).collect(),
                pinned_late: stats.late().into_iter().map(|(pin, count)| (pin.to_owned(), count)).collect(),
            }
        })
        .collect()
}

fn backends(snapshot: &Snapshot) -> Vec<BackendView> {
    let quantiles = |latency: &crate::stats::Latency| Quantiles {
        p50: latency.quantile_ms(0.5),
        p99: latency.quantile_ms(0.99),
    };
    let now = std::time::Instant::now();
    snapshot
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| {
            let (config, stats) = (&target.config, &target.stats);
            let role = if index == snapshot.baseline().index() { "baseline" } else { "candidate" };
            BackendView {
                name: config.name.clone(),
                engine: config.engine.as_str().to_owned(),
                role: role.to_owned(),
                url: config.url.to_string(),
                breaker: target.health.report(now).state.as_str().to_owned(),
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
                fleet: (!config.metrics.is_empty()).then(|| fleet(target.load.report(target.limits(), now))),
            }
        })
        .collect()
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
