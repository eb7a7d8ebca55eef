//! Sums of counts: requests by route and backend, the denominators of what pairs tell.

use super::kept::Kept;
use super::line::{BackendCounts, Counts};
use crate::model::CopyResult;

/// Limit on routes, on backends of a route and on models that end; more are left out, the last ones by name. A file of
/// rollouts has a handful.
const NAMES: usize = 256;
/// Limit on the hours of a route that are told apart: seven years. Later ones are left out.
const HOURS: usize = 65_536;

/// Milliseconds of a minute.
const MINUTE: i64 = 60_000;
/// Minutes of an hour.
const MINUTES: i64 = 60;

/// Backend, and a model of it.
type OfBackend = (Box<str>, Box<str>);

/// Counts of all routes.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    pub(super) routes: Kept<Box<str>, RouteTraffic>,
    /// Dates at which models end, with the time of the line that says so.
    pub(super) ends: Kept<OfBackend, (i64, Box<str>)>,
}

/// Counts of one route.
#[derive(Debug, Clone)]
pub(super) struct RouteTraffic {
    pub(super) minutes: Minutes,
    pub(super) backends: Kept<Box<str>, BackendTraffic>,
    /// Copies by receiver, in the order of [`CopyResult::ALL`].
    pub(super) copies: Kept<Box<str>, Copies>,
}

/// Copies of one receiver, in the order of [`CopyResult::ALL`].
pub(super) type Copies = [u64; CopyResult::ALL.len()];

/// Distinct minutes, as one mask of 60 bits for each hour.
#[derive(Debug, Clone)]
pub(super) struct Minutes(Kept<i64, u64>);

/// Counts of one backend on one route.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BackendTraffic {
    pub(super) chosen: u64,
    pub(super) attempted: u64,
    pub(super) served: u64,
    pub(super) failed: u64,
    pub(super) priced: u64,
    /// 10⁻⁹ USD.
    pub(super) cost: u128,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { routes: Kept::new(NAMES), ends: Kept::new(NAMES) }
    }
}

impl Default for RouteTraffic {
    fn default() -> Self {
        Self { minutes: Minutes::default(), backends: Kept::new(NAMES), copies: Kept::new(NAMES) }
    }
}

impl Default for Minutes {
    fn default() -> Self {
        Self(Kept::new(HOURS))
    }
}

impl Traffic {
    pub(super) fn add(&mut self, counts: &Counts<'_>) {
        for (backend, of) in &counts.backends {
            for (model, date) in &of.ends {
                if let Some(end) = self.ends.entry(&(backend.as_ref().into(), model.as_ref().into()))
                    && (end.0, end.1.as_ref()) < (counts.at, date.as_ref())
                {
                    *end = (counts.at, date.as_ref().into());
                }
            }
        }
        let Some(route) = self.routes.entry(&counts.route.as_ref().into()) else { return };
        route.minutes.add(counts.at);
        for (name, of) in &counts.backends {
            if let Some(backend) = route.backends.entry(&name.as_ref().into()) {
                backend.add(of);
            }
        }
        for (name, outcomes) in &counts.shadow {
            let Some(copies) = route.copies.entry(&name.as_ref().into()) else { continue };
            for (sum, result) in copies.iter_mut().zip(CopyResult::ALL) {
                let of = outcomes.iter().filter(|(outcome, _)| outcome == result.as_str());
                *sum = of.fold(*sum, |sum, (_, n)| sum.saturating_add(*n));
            }
        }
    }

    /// Returns the counts of a route.
    pub(super) fn route(&self, name: &str) -> Option<&RouteTraffic> {
        self.routes.entries().get(name)
    }
}

impl RouteTraffic {
    /// Requests that were chosen for any backend.
    pub(super) fn chosen(&self) -> u64 {
        self.backends.entries().values().fold(0, |sum, backend| sum.saturating_add(backend.chosen))
    }

    /// Returns the counts of a backend.
    pub(super) fn backend(&self, name: &str) -> Option<&BackendTraffic> {
        self.backends.entries().get(name)
    }
}

impl Minutes {
    fn add(&mut self, at: i64) {
        let minute = at.div_euclid(MINUTE);
        if let Some(mask) = self.0.entry(&minute.div_euclid(MINUTES)) {
            *mask |= 1 << minute.rem_euclid(MINUTES);
        }
    }

    /// Adds the minutes of another route.
    pub(super) fn join(&mut self, other: &Self) {
        for (hour, minutes) in other.0.entries() {
            if let Some(mask) = self.0.entry(hour) {
                *mask |= minutes;
            }
        }
    }

    /// Number of distinct minutes, as hours.
    pub(super) fn hours(&self) -> f64 {
        f64::from(self.0.entries().values().map(|mask| mask.count_ones()).sum::<u32>()) / 60.0
    }
}

impl BackendTraffic {
    fn add(&mut self, counts: &BackendCounts<'_>) {
        for (sum, n) in [
            (&mut self.chosen, counts.chosen),
            (&mut self.attempted, counts.attempted),
            (&mut self.served, counts.served),
            (&mut self.failed, counts.failed),
            (&mut self.priced, counts.priced),
        ] {
            *sum = sum.saturating_add(n);
        }
        self.cost += u128::from(counts.cost);
    }

    /// Adds the counts of another route.
    pub(super) fn join(&mut self, other: &Self) {
        self.chosen = self.chosen.saturating_add(other.chosen);
        self.attempted = self.attempted.saturating_add(other.attempted);
        self.served = self.served.saturating_add(other.served);
        self.failed = self.failed.saturating_add(other.failed);
        self.priced = self.priced.saturating_add(other.priced);
        self.cost += other.cost;
    }

    /// USD.
    #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep every decimal")]
    pub(super) fn usd(&self) -> f64 {
        self.cost as f64 / 1e9
    }
}
