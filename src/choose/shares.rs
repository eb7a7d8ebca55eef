//! The shares in force: the file's percents, and the candidates withdrawn from them.

use super::assign::Intervals;
use crate::config::Config;
use crate::model::{BackendId, Percent, RouteId};

/// Percents per route with the intervals drawn from. One value holds all routes, so that a request sees a consistent
/// state; it is replaced as a whole without reading the file again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    routes: Vec<RouteShares>,
    /// Candidates whose share goes to the baseline after the draw, so that no key of another candidate moves.
    withdrawn: Vec<BackendId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RouteShares {
    percent: Vec<(BackendId, Percent)>,
    intervals: Intervals,
}

impl Shares {
    /// The percents that the file asks for.
    pub fn of_file(config: &Config) -> Self {
        let routes = config
            .routes
            .iter()
            .map(|route| RouteShares { percent: route.percent.clone(), intervals: Intervals::new(&route.percent) });
        Self { routes: routes.collect(), withdrawn: Vec::new() }
    }

    /// Returns these percents with exactly these candidates withdrawn.
    #[must_use]
    pub fn withdrawing(&self, candidates: &[BackendId]) -> Self {
        Self { withdrawn: candidates.to_vec(), ..self.clone() }
    }

    /// True if the candidate's share goes to the baseline.
    pub fn is_withdrawn(&self, candidate: BackendId) -> bool {
        self.withdrawn.contains(&candidate)
    }

    /// Percents in force on a route; 0 for a withdrawn candidate.
    pub fn effective(&self, route: RouteId) -> impl Iterator<Item = (BackendId, Percent)> {
        let percent = self.routes.get(route.index()).map_or(&[][..], |route| &route.percent);
        percent
            .iter()
            .map(|(backend, percent)| (*backend, if self.is_withdrawn(*backend) { Percent::ZERO } else { *percent }))
    }

    /// Percent in force of one candidate on a route; 0 if the backend is not a candidate there.
    pub fn percent(&self, route: RouteId, candidate: BackendId) -> Percent {
        self.effective(route).find(|(backend, _)| *backend == candidate).map_or(Percent::ZERO, |(_, percent)| percent)
    }

    /// The candidate that owns a unit of a route, even if withdrawn; `None` for the baseline.
    pub(super) fn owner(&self, route: RouteId, unit: u16) -> Option<BackendId> {
        self.routes.get(route.index())?.intervals.owner(unit)
    }
}
