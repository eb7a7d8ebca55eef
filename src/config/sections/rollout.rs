//! Reads `[rollout]`.

use http::HeaderName;

use super::super::problem::Problems;
use super::super::reader::{Section, Wrong, list, string, wrong};
use super::super::types::KeySource;
use super::names;
use crate::model::{BackendId, Percent};

/// `[rollout]` with its names resolved.
pub(crate) struct Rollout {
    /// Salt of the assignment.
    pub(crate) name: String,
    /// `None` if the name is missing or unknown; that is a problem already.
    pub(crate) baseline: Option<BackendId>,
    pub(crate) sticky: Vec<KeySource>,
    /// Percents of the route `default`.
    pub(super) percent: Vec<(BackendId, Percent)>,
}

/// Reads the section; `names` are those of all backends, in the file's order.
pub(crate) fn read(mut s: Section<'_, '_>, names: &[String], p: &mut Problems<'_>) -> Rollout {
    let name =
        s.require("name", "add name = \"…\": the salt of the assignment", p, string).unwrap_or_default().to_owned();
    let baseline = s
        .require(
            "baseline",
            "add baseline = \"…\": the backend that serves all requests that are not shifted",
            p,
            |v| string(v).map(|name| (name, v)),
        )
        .and_then(|(name, value)| names::find(name, value, names, "baseline", p));
    let percent = s.require("percent", "add percent = { NAME = 0.0 }: it has no default", p, Ok);
    let percent = percent.map(|value| names::percents("[rollout]", value, names, baseline, p)).unwrap_or_default();
    let sticky = match s.get("sticky") {
        Some(value) => list("sticky", value, p, key_source),
        None => default_sticky(),
    };
    s.finish(p);
    Rollout { name, baseline, sticky, percent }
}

fn default_sticky() -> Vec<KeySource> {
    let headers = ["x-session-id", "session_id", "x-session-affinity"].map(HeaderName::from_static);
    let mut chain: Vec<KeySource> = headers.into_iter().map(KeySource::Header).collect();
    for field in ["prompt_cache_key", "metadata.session_id", "metadata.user_id", "safety_identifier", "user"] {
        chain.push(KeySource::Field(field.split('.').map(str::to_owned).collect()));
    }
    chain.push(KeySource::Conversation);
    chain
}

fn key_source(text: &str) -> Result<KeySource, Wrong> {
    let cure = "write \"header:NAME\", a field of the body such as \"metadata.session_id\", or \"hash:conversation\"";
    match text.split_once(':') {
        Some(("header", name)) => match name.parse::<HeaderName>() {
            Ok(name) if name.as_str() == "x-client-request-id" => wrong(
                format!("is {text:?}, which is different for each request"),
                "leave it out: it would keep nothing together",
            ),
            Ok(name) => Ok(KeySource::Header(name)),
            Err(_) => wrong(format!("is {text:?}, which does not name a header"), cure),
        },
        Some(("hash", "conversation")) => Ok(KeySource::Conversation),
        Some(_) => wrong(format!("is {text:?}"), cure),
        None if text.split('.').any(str::is_empty) => wrong(format!("is {text:?}"), cure),
        None => Ok(KeySource::Field(text.split('.').map(str::to_owned).collect())),
    }
}
