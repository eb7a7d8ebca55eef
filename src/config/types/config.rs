//! The whole file.

use std::ops::Index;
use std::path::PathBuf;

use super::backend::{Backend, Price};
use super::guard::Guard;
use super::process::{Failover, Limits, Server};
use super::route::{KeySource, Residency, Route};
use super::shadow::{Records, RouteShadow, Shadow};
use super::telemetry::Telemetry;
use crate::model::{BackendId, Glob, Percent, RouteId};

/// One validated reading of rollout.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file's path, as the user gave it.
    pub path: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[limits]`.
    pub limits: Limits,
    /// Name of `[rollout]`: the salt of the assignment.
    pub name: String,
    /// The backend that serves all requests that are not shifted.
    pub baseline: BackendId,
    /// Sources of the key that keeps requests together, tried in this order; empty: each request is drawn on its own.
    pub sticky: Vec<KeySource>,
    /// Routes in the file's order; the last one is always `default`, made of `[rollout]`, and matches everything.
    pub routes: Vec<Route>,
    /// `[[residency]]` rules in the file's order; without one every backend may see every request.
    pub residency: Vec<Residency>,
    /// Backends in the file's order.
    pub backends: Vec<Backend>,
    /// `[failover]`.
    pub failover: Failover,
    /// `[shadow]`; without the section no request is copied.
    pub shadow: Option<Shadow>,
    /// `[records]`; without the section nothing is written.
    pub records: Option<Records>,
    /// `[guard]`; without the section no candidate is withdrawn.
    pub guard: Option<Guard>,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// First 16 hex digits of the SHA-256 over the file, the secrets and the TLS files it names.
    pub hash: String,
    /// SHA-256 over the file's text alone, in hex: it stays when a key or a TLS file is replaced.
    pub text_hash: String,
    /// Resolved paths of the secrets and certificates that the file names: watched like the file itself.
    pub watched: Vec<PathBuf>,
}

impl Config {
    /// Finds a backend by its name.
    pub fn backend(&self, name: &str) -> Option<BackendId> {
        self.backends.iter().position(|backend| backend.name == name).map(BackendId::new)
    }

    /// Every backend with its id, in the file's order.
    pub fn backends_with_ids(&self) -> impl Iterator<Item = (BackendId, &Backend)> + Clone {
        self.backends.iter().enumerate().map(|(position, backend)| (BackendId::new(position), backend))
    }

    /// Every route with its id, in the file's order; `default` is the last.
    pub fn routes_with_ids(&self) -> impl Iterator<Item = (RouteId, &Route)> + Clone {
        self.routes.iter().enumerate().map(|(position, route)| (RouteId::new(position), route))
    }

    /// True if the file names this model of a backend: as the backend's name for another one, or as a pattern of its
    /// prices or of a route, without its last star.
    pub fn names_model(&self, backend: &Backend, model: &str) -> bool {
        let prices = match &backend.price {
            Some(Price::Tokens(prices)) => prices.as_slice(),
            _ => &[],
        };
        let patterns = prices.iter().map(|(pattern, _)| pattern);
        let patterns = patterns.chain(self.routes.iter().filter_map(|route| route.matcher.model.as_ref()));
        backend.models.iter().any(|(_, name)| name == model)
            || patterns.map(Glob::as_str).any(|pattern| pattern.strip_suffix('*').unwrap_or(pattern) == model)
    }

    /// Percent of a route's eligible requests that are copied; 0 without `[shadow]`.
    pub fn shadow_percent(&self, route: &Route) -> Percent {
        match (&self.shadow, route.shadow) {
            (None, _) | (_, RouteShadow::Never) => Percent::ZERO,
            (Some(shadow), RouteShadow::Inherit) => shadow.percent,
            (Some(_), RouteShadow::Percent(own)) => own,
        }
    }
}

/// Panics for an id of another reading that had more backends.
impl Index<BackendId> for Config {
    type Output = Backend;

    fn index(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }
}

/// Panics for an id of another reading that had more routes.
impl Index<RouteId> for Config {
    type Output = Route;

    fn index(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }
}
