//! The result of `shift` and of its undoing.

use super::super::types::Config;
use crate::model::Percent;

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shifted {
    /// Name of the route.
    pub route: String,
    /// Name of the candidate.
    pub backend: String,
    /// Percent in the file before the change.
    pub before: Percent,
    /// Percent in the file after the change.
    pub after: Percent,
}

impl Shifted {
    /// Looks up the percent of a candidate on a route; 0 if the file does not name it there.
    pub(super) fn percent(config: &Config, route: &str, backend: &str) -> Percent {
        let id = config.backend(backend);
        let route = config.routes.iter().find(|one| one.name == route);
        let percent = route.and_then(|route| route.percent.iter().find(|(one, _)| Some(*one) == id));
        percent.map(|(_, percent)| *percent).unwrap_or_default()
    }
}
