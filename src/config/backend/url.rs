//! Reads a URL of a backend section and says how to correct it.

use super::super::reader::{Wrong, wrong};
use super::super::types::BackendUrl;
use super::super::url::{UrlProblem, http_url};

/// Reads an http or https URL.
pub(super) fn read(text: &str) -> Result<BackendUrl, Wrong> {
    http_url(text).or_else(|problem| {
        let cure = match problem {
            UrlProblem::User => "leave them out: keys belong into api_key",
            UrlProblem::Query => "leave out everything after the path",
            _ => "write a URL such as \"http://127.0.0.1:8000/v1\"",
        };
        wrong(problem.to_string(), cure)
    })
}
