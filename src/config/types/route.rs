//! Routes, residency rules, their conditions, and the keys that keep requests together.

use std::time::Duration;

use http::HeaderName;

use super::shadow::RouteShadow;
use crate::model::{BackendId, Glob, Percent};

/// A place in a request where a key may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A header's value.
    Header(HeaderName),
    /// A field of the body, by its path: `metadata.session_id`.
    Field(Vec<String>),
    /// A hash over system text, first user text and tool names.
    Conversation,
}

impl KeySource {
    /// Returns the source as it is written in the file.
    pub fn describe(&self) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::Field(path) => path.join("."),
            Self::Conversation => "hash:conversation".to_owned(),
        }
    }
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Unique name; part of the assignment's salt.
    pub name: String,
    /// Condition for a request to take this route.
    pub matcher: RequestMatch,
    /// Percent of every candidate (each backend but the baseline), sorted by name; 0 for one that the table leaves out.
    pub percent: Vec<(BackendId, Percent)>,
    /// Whether, and at which percent, its requests are copied; without `[shadow]` none are.
    pub shadow: RouteShadow,
    /// Its own `overdue` for the guard; `None`: that of `[guard]`.
    pub overdue: Option<Duration>,
}

impl Route {
    /// A candidate's percent.
    pub fn own(&self, candidate: BackendId) -> Percent {
        self.percent.iter().find(|(id, _)| *id == candidate).map_or(Percent::ZERO, |(_, own)| *own)
    }

    /// The baseline's percent: the rest.
    pub fn left(&self) -> Percent {
        let shifted: u16 = self.percent.iter().map(|(_, percent)| percent.hundredths()).sum();
        Percent::from_hundredths(10_000_u16.saturating_sub(shifted)).unwrap_or_default()
    }
}

/// One `[[residency]]`: requests that match may go only to backends with one of the tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    /// Unique name, shown in errors, metrics and spans.
    pub name: String,
    /// Condition for the rule to apply to a request.
    pub matcher: RequestMatch,
    /// Tags; a backend with one of them may see the request. Not empty.
    pub allow: Vec<String>,
}

impl Residency {
    /// True if a backend with these tags may see a request that the rule applies to.
    pub fn allows(&self, tags: &[String]) -> bool {
        self.allow.iter().any(|tag| tags.contains(tag))
    }
}

/// Condition on a request: every given part must match; without parts it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestMatch {
    /// Pattern of the request's path.
    pub path: Option<Glob>,
    /// Pattern of the model's name.
    pub model: Option<Glob>,
    /// Patterns of header values, compared without case.
    pub header: Vec<(HeaderName, Glob)>,
    /// Patterns of scalar fields of the body, by their path: `metadata.region`.
    pub field: Vec<(Vec<String>, Glob)>,
}

impl RequestMatch {
    /// True if the condition has no part, so that it matches everything.
    pub const fn is_everything(&self) -> bool {
        self.path.is_none() && self.model.is_none() && self.header.is_empty() && self.field.is_empty()
    }
}
