//! The backends that may see a request, by the residency rules that match it.

use std::sync::Arc;

use super::matching::{self, Unknown};
use super::request::{Body, Request};
use crate::config::{Config, Residency};
use crate::model::BackendId;
use crate::wire::endpoint::Endpoint;

/// The backends that may see one request. [`super::choose`] and [`super::instead`] choose among these only, and a
/// [`super::Choice`] cannot name any other.
#[derive(Debug, Clone, Default)]
pub struct Eligible {
    /// `None` if no rule matches: every backend may see the request.
    by_rules: Option<Arc<ByRules>>,
}

#[derive(Debug)]
struct ByRules {
    /// Positions of the matching rules in the file.
    rules: Vec<usize>,
    /// Flags by the backend's position in the file.
    may_see: Vec<bool>,
}

impl Eligible {
    /// Every backend.
    pub const fn every() -> Self {
        Self { by_rules: None }
    }

    /// The backends that every matching rule allows. No rule applies to a question for models, which carries no data of
    /// users.
    pub fn of(config: &Config, request: &Request<'_>) -> Self {
        if config.residency.is_empty() || asks_for_models(request) {
            return Self::every();
        }
        let applies = |rule: &&Residency| matching::matches(&rule.matcher, request, Unknown::Matches);
        let rules = config.residency.iter().enumerate().filter(|(_, rule)| applies(rule));
        let rules: Vec<usize> = rules.map(|(position, _)| position).collect();
        if rules.is_empty() {
            return Self::every();
        }
        let allows =
            |tags: &[String]| rules.iter().filter_map(|at| config.residency.get(*at)).all(|rule| rule.allows(tags));
        let may_see = config.backends.iter().map(|backend| allows(&backend.tags)).collect();
        Self { by_rules: Some(Arc::new(ByRules { rules, may_see })) }
    }

    /// True if the backend may see the request.
    pub fn contains(&self, backend: BackendId) -> bool {
        self.by_rules.as_ref().is_none_or(|by| by.may_see.get(backend.index()).copied().unwrap_or(false))
    }

    /// Positions in the file of the rules that match the request.
    pub fn rules(&self) -> &[usize] {
        self.by_rules.as_ref().map_or(&[], |by| &by.rules)
    }

    /// Names of the rules that match the request, in the file's order.
    pub fn rule_names<'c>(&self, config: &'c Config) -> Vec<&'c str> {
        self.matching(config).map(|rule| rule.name.as_str()).collect()
    }

    /// The rules that match the request.
    pub(super) fn matching<'c>(&self, config: &'c Config) -> impl Iterator<Item = &'c Residency> {
        self.rules().iter().filter_map(|at| config.residency.get(*at))
    }
}

/// True for `GET /v1/models` and `GET /v1/models/{id}` without a body and a query.
fn asks_for_models(request: &Request<'_>) -> bool {
    let is_question = matches!(request.endpoint, Endpoint::Models | Endpoint::Read("/v1/models/*"));
    let is_one = request.path.strip_prefix("/v1/models/").is_none_or(|id| !id.contains('/'));
    is_question && is_one && matches!(request.body, Body::Empty) && request.query.is_none()
}
