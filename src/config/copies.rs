//! Computes the load that copies put on their receivers, by the percents of the file.

use super::types::{Backend, Config, Price, Route};
use crate::model::{BackendId, Engine, Percent};

/// Copies of one route's requests for one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copies {
    /// Share of the route's requests that other backends serve and that may be copied to the receiver.
    pub(super) source: Percent,
    /// Share of these that are copied.
    pub(super) percent: Percent,
    /// Share of the route's requests that the receiver serves itself.
    pub(super) own: Percent,
}

impl Copies {
    /// Computes the copies of `route` for `to`: of what the baseline serves for a candidate, of what the candidates
    /// serve for the baseline.
    pub(super) fn of(config: &Config, route: &Route, to: BackendId) -> Self {
        let rest = route.left();
        let moved = Percent::from_hundredths(10_000 - rest.hundredths()).unwrap_or(Percent::FULL);
        let (source, own) = if to == config.baseline { (moved, rest) } else { (rest, route.own(to)) };
        Self { source, percent: config.shadow_percent(route), own }
    }

    /// Returns the number of copies for each request that the receiver serves; `None` if it serves none.
    pub(super) fn per_served(self) -> Option<f64> {
        let own = f64::from(self.own.hundredths());
        let copies = f64::from(self.source.hundredths()) * self.percent.as_f64() / 100.0;
        (own > 0.0).then(|| copies / own)
    }
}

/// True if the cost of the backend's answers can be known, so that a budget can limit it.
pub(super) fn is_priced(backend: &Backend) -> bool {
    match &backend.price {
        None => false,
        Some(Price::Tokens(_) | Price::Gpu { tokens_per_second: Some(_), .. }) => true,
        Some(Price::Gpu { tokens_per_second: None, .. }) => {
            !backend.metrics.is_empty() && backend.engine != Engine::Tgi
        }
    }
}

/// Returns the backends without a known price that copies or noise requests go to.
pub(super) fn unpriced(config: &Config) -> Vec<&Backend> {
    let Some(shadow) = &config.shadow else { return Vec::new() };
    let has_noise = shadow.noise_percent > Percent::ZERO && !shadow.to.contains(&config.baseline);
    let noise = has_noise.then_some(config.baseline);
    shadow.to.iter().copied().chain(noise).map(|id| &config[id]).filter(|backend| !is_priced(backend)).collect()
}
