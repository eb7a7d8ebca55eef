//! `/metrics`: the numbers of [`Stats`], in Prometheus' text format and in OpenMetrics.
//!
//! Owns: the names of metrics and labels. Invariant: label values come from rollout.toml and closed lists only, but for
//! models, which are bounded where they are counted. Bound: a page has at most a few hundred series of each metric.

mod accept;
mod backends;
mod candidates;
mod measured;
mod page;
mod process;
mod sidecar;
mod split;

use std::sync::Arc;

use super::meters::Meters;
use crate::health::{LoadReport, Report};
use crate::outcome::BackendLabels;
use crate::stats::{BackendStats, Stats};

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, 0.0.4.
    Text,
    /// OpenMetrics 1.0.0, which has exemplars.
    OpenMetrics,
}

/// What only the snapshot in force knows.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    pub generation: u64,
    /// In seconds since 1970.
    pub loaded_at: f64,
    /// The last reload was refused.
    pub reload_failed: bool,
    pub baseline: String,
    pub backends: Vec<BackendView>,
    /// (backend, report) of each candidate.
    pub health: Vec<(String, Report)>,
    /// Of each backend whose metrics are read.
    pub fleet: Vec<FleetView>,
    /// (route, backend, percent)
    pub percents: Vec<(String, String, f64)>,
}

impl InForce {
    /// The baseline, and the candidates of this route; nobody where the route left the file.
    fn backends_of(&self, route: &str) -> impl Iterator<Item = &str> {
        let candidates =
            self.percents.iter().filter(move |(of, _, _)| of == route).map(|(_, backend, _)| backend.as_str());
        candidates.clone().next().map(|_| self.baseline.as_str()).into_iter().chain(candidates)
    }
}

/// One backend of the file.
#[derive(Debug, Clone)]
pub struct BackendView {
    pub labels: Arc<BackendLabels>,
    pub stats: Arc<BackendStats>,
    /// What its answers cost can be known.
    pub has_price: bool,
    /// Connections that no request uses.
    pub idle: u64,
}

/// One backend's load, and how often it was asked for: (good, failed).
#[derive(Debug, Clone)]
pub struct FleetView {
    pub backend: String,
    pub load: LoadReport,
    pub polls: (u64, u64),
}

/// The page.
pub fn render(stats: &Stats, meters: &Meters, in_force: &InForce, format: Format) -> String {
    let mut families = sidecar::families(stats, in_force);
    families.extend(split::families(stats, in_force));
    families.extend(backends::families(stats, in_force));
    families.extend(candidates::families(in_force));
    families.extend(measured::families(meters));
    families.extend(process::families());
    page::write(&families, format)
}

#[cfg(test)]
mod tests;
