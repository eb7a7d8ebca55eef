//! The model of the running process behind `/status`, `/metrics`, the `status` command and the demo's table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::backend::ModelEnd;
use crate::health::{LoadReport, Report};
use crate::live::{InForce, ReloadError, Store};
use crate::model::Percent;
use crate::outcome::{BackendLabels, Role};
use crate::rollback::GuardSeen;
use crate::shadow::RouteVerdict;
use crate::stats::{BackendStats, Stats};
use crate::telemetry::meters::Meters;

/// The process at one moment. Counters behind an [`Arc`] continue to change.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Address of `server.listen`, as bound.
    pub listen: String,
    /// Address of `server.admin`, as bound.
    pub admin: String,
    /// Generation of the snapshot in force.
    pub generation: u64,
    /// Its content hash.
    pub hash: String,
    /// Wall clock at which it was put in force.
    pub loaded_at: jiff::Timestamp,
    /// Error of the last reading; `None` if the file on disk is in force.
    pub reload_error: Option<ReloadError>,
    /// Changed keys that wait for a restart.
    pub restart_needed: Vec<&'static str>,
    /// True during shutdown.
    pub is_draining: bool,
    /// Seconds since the start.
    pub uptime_s: f64,
    /// Name of the baseline.
    pub baseline: String,
    /// Routes in the file's order, `default` last.
    pub routes: Vec<RouteView>,
    /// Backends in the file's order.
    pub backends: Vec<BackendView>,
    /// Money left for copies of requests, in USD; `None` before the first `[shadow]`.
    pub budget_left: Option<f64>,
    /// Guards of the candidates, the state file, messages.
    pub guard: GuardSeen,
    /// Verdicts on the pairs since the start, also of names that left the file; empty where nobody asked for them.
    pub verdicts: Arc<[RouteVerdict]>,
    /// Counters of the process, and of names that left the file.
    pub stats: Arc<Stats>,
    /// Histograms of requests and calls.
    pub meters: Arc<Meters>,
}

/// A route of the file.
#[derive(Debug, Clone, Default)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Percents of every candidate, in the file and in force.
    pub percents: Vec<PercentView>,
    /// Requests that the split decided, by backend.
    pub chosen: BTreeMap<String, u64>,
    /// Requests outside the split, by pin.
    pub pinned: BTreeMap<&'static str, u64>,
    /// The part of `pinned` that only the translation detected.
    pub pinned_late: BTreeMap<&'static str, u64>,
    /// Streams that the application left, and requests that an SDK repeated, by backend that the split chose.
    pub signals: BTreeMap<String, [u64; 2]>,
}

/// A candidate's percent on a route.
#[derive(Debug, Clone, Default)]
pub struct PercentView {
    /// The candidate.
    pub backend: String,
    /// The file's percent.
    pub asked: Percent,
    /// The percent in force.
    pub effective: Percent,
}

/// A backend of the file.
#[derive(Debug, Clone)]
pub struct BackendView {
    /// Its names in telemetry.
    pub labels: Arc<BackendLabels>,
    /// Its role in the rollout.
    pub role: Role,
    /// Its URL.
    pub url: String,
    /// Its counters.
    pub stats: Arc<BackendStats>,
    /// Its breaker and cool-down.
    pub health: Report,
    /// Its load; `None` without metrics pages.
    pub load: Option<LoadReport>,
    /// True if its list of models is asked for.
    pub is_watched: bool,
    /// Its models that end and that are used; `None` if its list of models is not known.
    pub ends: Option<Vec<ModelEnd>>,
    /// True if the cost of its answers can be computed.
    pub has_price: bool,
    /// Open connections without a request.
    pub idle: u64,
}

impl RouteView {
    /// Percents of the split's requests by backend; `None` before the first request.
    pub fn got(&self) -> Option<BTreeMap<String, f64>> {
        let total: u64 = self.chosen.values().sum();
        #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
        let share = |count: u64| count as f64 * 100.0 / total as f64;
        (total > 0).then(|| self.chosen.iter().map(|(name, count)| (name.clone(), share(*count))).collect())
    }
}

impl View {
    /// Reads the state in force. The caller adds addresses, uptime and draining.
    pub fn of(store: &Store, stats: &Arc<Stats>, meters: &Arc<Meters>) -> Self {
        let in_force = store.current();
        let (snapshot, now) = (&in_force.snapshot, Instant::now());
        Self {
            generation: snapshot.generation,
            hash: snapshot.config.hash.clone(),
            loaded_at: snapshot.loaded_at,
            reload_error: store.reload_error(),
            restart_needed: store.restart_needed(),
            baseline: snapshot.config[snapshot.config.baseline].name.clone(),
            routes: routes(&in_force),
            backends: backends(&in_force, meters, now),
            stats: Arc::clone(stats),
            meters: Arc::clone(meters),
            ..Self::default()
        }
    }

    /// The last route, which matches all remaining requests.
    pub fn default_route(&self) -> Option<&RouteView> {
        self.routes.last()
    }
}

fn routes(in_force: &InForce) -> Vec<RouteView> {
    let config = &in_force.snapshot.config;
    let view = |(id, route): (_, &crate::config::Route)| {
        let stats = in_force.route(id).stats();
        let percents = route.percent.iter().map(|(backend, asked)| PercentView {
            backend: config[*backend].name.clone(),
            asked: *asked,
            effective: in_force.shares.percent(id, *backend),
        });
        RouteView {
            name: route.name.clone(),
            percents: percents.collect(),
            chosen: stats.chosen(),
            pinned: stats.pinned(),
            pinned_late: stats.late(),
            signals: stats.signals(),
        }
    };
    config.routes_with_ids().map(view).collect()
}

fn backends(in_force: &InForce, meters: &Meters, now: Instant) -> Vec<BackendView> {
    let config = &in_force.snapshot.config;
    let view = |((id, backend), target): ((_, &crate::config::Backend), &Arc<crate::backend::Target>)| BackendView {
        labels: Arc::clone(&target.labels),
        role: in_force.role(id),
        url: backend.url.to_string(),
        stats: Arc::clone(&target.stats),
        health: target.health.report(now),
        load: (!backend.metrics.is_empty()).then(|| target.load.report(target.limits(), now)),
        is_watched: backend.watch_models,
        ends: in_force.ends(target, meters),
        has_price: backend.price.is_some(),
        idle: target.client.idle() as u64,
    };
    config.backends_with_ids().zip(in_force.targets_off_path()).map(view).collect()
}
