//! The rules of the file for the guards.

use std::time::Duration;

use crate::config::{Config, Guard, Route};
use crate::guard::FileFacts;
use crate::model::{BackendId, Percent};

/// The candidates that the file has a guard for.
pub(super) fn candidates(config: &Config) -> Vec<(BackendId, FileFacts)> {
    config.backends_with_ids().filter_map(|(id, _)| Some((id, FileFacts::of(config, id)?))).collect()
}

/// Age at which a request of a route is overdue.
pub(super) fn overdue(settings: &Guard, route: &Route) -> Duration {
    route.overdue.unwrap_or(settings.errors.overdue)
}

/// Percents of a candidate and of the baseline on each route of the file.
pub(super) fn shares(config: &Config, name: &str) -> Vec<(Percent, Percent)> {
    let Some(id) = config.backend(name) else { return Vec::new() };
    config.routes.iter().map(|route| (route.own(id), route.left())).collect()
}
