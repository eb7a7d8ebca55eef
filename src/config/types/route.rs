//! Routes and the keys that keep requests together.

use http::HeaderName;

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
    pub matcher: RouteMatch,
    /// Percent of every candidate (each backend but the baseline), sorted by name; 0 for one that the table leaves out.
    pub percent: Vec<(BackendId, Percent)>,
}

/// Condition of a route: every given part must match; without parts it matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteMatch {
    /// Pattern of the request's path.
    pub path: Option<Glob>,
    /// Pattern of the model's name.
    pub model: Option<Glob>,
    /// Patterns of header values.
    pub header: Vec<(HeaderName, Glob)>,
}
