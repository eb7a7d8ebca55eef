//! Handles behind a snapshot: connections, health and counters of its backends and routes.

use std::sync::Arc;

use crate::backend::{PrepareError, Target};
use crate::config::Config;
use crate::model::{BackendId, RouteId};
use crate::stats::{RouteStats, RuleStats, ShareStats, Stats};

/// Handles by position in the file.
#[derive(Debug)]
pub(super) struct Targets {
    backends: Vec<Arc<Target>>,
    routes: Vec<RouteHandle>,
    rules: Vec<Arc<RuleStats>>,
}

/// A route's counters.
#[derive(Debug)]
pub struct RouteHandle {
    stats: Arc<RouteStats>,
    /// By position of the backend in the file.
    shares: Vec<Arc<ShareStats>>,
}

impl Targets {
    /// Prepares the handles; backends keep the valid parts of `previous`. Every step that can fail is here.
    pub(super) fn prepare(config: &Config, previous: Option<&Self>, stats: &Stats) -> Result<Self, PrepareError> {
        let prepare = |backend: &crate::config::Backend| {
            let before = previous
                .and_then(|previous| previous.backends.iter().find(|target| target.config.name == backend.name));
            Target::prepare(backend, before.map(Arc::as_ref), stats.backend(&backend.name)).map(Arc::new)
        };
        let backends = config.backends.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let handle = |route: &crate::config::Route| {
            let stats = stats.route(&route.name);
            let shares = config.backends.iter().map(|backend| stats.share(&backend.name)).collect();
            RouteHandle { stats, shares }
        };
        let routes = config.routes.iter().map(handle).collect();
        let rules = config.residency.iter().map(|rule| stats.rule(&rule.name)).collect();
        Ok(Self { backends, routes, rules })
    }

    pub(super) fn all(&self) -> &[Arc<Target>] {
        &self.backends
    }

    pub(super) fn backend(&self, id: BackendId) -> &Arc<Target> {
        &self.backends[id.index()]
    }

    /// Counters of a residency rule, by its position in the file.
    pub(super) fn rule(&self, position: usize) -> Option<&Arc<RuleStats>> {
        self.rules.get(position)
    }

    pub(super) fn route(&self, id: RouteId) -> &RouteHandle {
        &self.routes[id.index()]
    }
}

impl RouteHandle {
    /// The route's counters.
    pub const fn stats(&self) -> &Arc<RouteStats> {
        &self.stats
    }

    /// Counters of a backend on this route.
    pub fn share(&self, backend: BackendId) -> &Arc<ShareStats> {
        &self.shares[backend.index()]
    }
}
