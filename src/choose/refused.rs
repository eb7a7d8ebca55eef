//! Requests that no backend gets.

use super::eligible::Eligible;
use crate::config::Config;
use crate::model::RouteId;
use crate::translate::Pinned;

/// Reason for which no backend is chosen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotChosen {
    /// The override header names a backend that is not in the file.
    #[error("x-shiftgate-backend does not name a backend of the file")]
    UnknownBackend,
    /// Residency rules leave no backend that could serve the request.
    #[error("residency rules leave no backend that could serve the request")]
    Residency(Refused),
    /// The only backends that may see the request lack a feature that it needs.
    #[error("no backend that may see the request has what it needs")]
    Unable(Refused, Pinned),
}

/// A request that residency rules leave without a backend.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The route that the request matched.
    pub route: RouteId,
    /// The backends that may see the request, and the rules that match it.
    pub eligible: Eligible,
    /// Lack of the eligible backends.
    pub lack: Lack,
}

/// Lack of the backends that may see a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// There is no such backend.
    Backend,
    /// The request refers to state that another backend stores.
    State,
    /// They do not serve the endpoint.
    Endpoint(&'static str),
    /// They serve another embedding model.
    EmbeddingModel,
    /// The body is larger than `max_body`, so that it cannot be translated.
    MaxBody,
    /// They lack a feature.
    Feature,
}

impl Refused {
    /// Returns the message for the application: the rules, their tags, and a cure.
    pub fn message(&self, config: &Config) -> String {
        let rules: Vec<String> = self
            .eligible
            .matching(config)
            .map(|rule| format!("{} (only backends tagged {})", rule.name, rule.allow.join(" or ")))
            .collect();
        let rules = match rules.as_slice() {
            [one] => format!("residency rule {one} of rollout.toml applies"),
            many => format!("residency rules {} of rollout.toml apply", many.join(" and ")),
        };
        let (lack, cure) = match self.lack {
            Lack::Backend => ("no backend satisfies them together".to_owned(), "tag a backend for all of them"),
            Lack::State => (
                "the request refers to state stored at a backend that may not see it".to_owned(),
                "send the whole conversation, or tag that backend",
            ),
            Lack::Endpoint(template) => (
                format!("no backend that may see the request serves {template} as the baseline does"),
                "tag a backend that does, or narrow the rule's match",
            ),
            Lack::EmbeddingModel => (
                "no backend that may see the request serves its embedding model under the same name, and vectors of \
                 another model cannot be compared with stored ones"
                    .to_owned(),
                "tag a backend that serves the model, or narrow the rule's match",
            ),
            Lack::MaxBody => (
                "no backend that may see the request takes a body above server.max_body".to_owned(),
                "raise server.max_body, or tag the baseline",
            ),
            Lack::Feature => (
                "no backend that may see the request has what it needs".to_owned(),
                "tag a backend that has it, or narrow the rule's match",
            ),
        };
        format!("{rules}, and {lack}: {cure}")
    }
}
