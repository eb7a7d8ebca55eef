//! Matches a request against the conditions of routes and residency rules.
//!
//! A part that cannot be known, such as the model of a body that is not read, does not match a route, and matches a
//! residency rule.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::percent_decode_str;

use super::request::{Body, Request};
use crate::config::RequestMatch;
use crate::model::Glob;
use crate::wire::endpoint::Endpoint;

/// Result for a part that cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It counts as not matched.
    Fails,
    /// It counts as matched.
    Matches,
}

/// A request's model, as far as it is known.
enum Model<'a> {
    /// The names that it may be read as; empty without a body.
    Named(Vec<Cow<'a, str>>),
    Unknown,
}

/// True if all parts of the condition match.
pub(super) fn matches(rule: &RequestMatch, request: &Request<'_>, unknown: Unknown) -> bool {
    let if_unknown = unknown == Unknown::Matches;
    rule.path.as_ref().is_none_or(|glob| has_path(request.path, glob, if_unknown))
        && rule.model.as_ref().is_none_or(|glob| match model(request) {
            Model::Named(names) => names.iter().any(|name| glob.matches(name)),
            Model::Unknown => if_unknown,
        })
        && rule.header.iter().all(|(name, glob)| {
            request.headers.get_all(name).iter().any(|line| has_value(line, glob).unwrap_or(if_unknown))
        })
        && rule.field.iter().all(|(path, glob)| has_field(request, path, glob, if_unknown))
}

/// True if the path matches as it is or, as many servers read it, decoded.
fn has_path(path: &str, glob: &Glob, if_unknown: bool) -> bool {
    if glob.matches(path) || !path.contains('%') {
        return glob.matches(path);
    }
    percent_decode_str(path).decode_utf8().map_or(if_unknown, |decoded| glob.matches(&decoded))
}

/// True if a line of a header, or an element of the list that it may be (RFC 9110 §5.3), matches; `None` if the line is
/// not ASCII.
fn has_value(line: &HeaderValue, glob: &Glob) -> Option<bool> {
    let text = line.to_str().ok()?;
    Some(glob.matches_in_any_case(text) || text.split(',').any(|element| glob.matches_in_any_case(element.trim())))
}

fn model<'a>(request: &Request<'a>) -> Model<'a> {
    if *request.endpoint == Endpoint::Realtime {
        return queried_model(request.query.unwrap_or_default());
    }
    match request.body {
        Body::Empty => Model::Named(Vec::new()),
        Body::Scanned(scan) => scan.model().map_or(Model::Unknown, |model| Model::Named(vec![model.clone()])),
        Body::Unparsable | Body::OverCap | Body::NotRead => Model::Unknown,
    }
}

/// The model of a WebSocket, which only its query names.
fn queried_model(query: &str) -> Model<'_> {
    // Some servers separate pairs by `;` too.
    let pairs = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    let names: Option<Vec<_>> = pairs
        .filter(|(name, _)| percent_decode_str(name).decode_utf8().is_ok_and(|name| name == "model"))
        .map(|(_, value)| {
            let spaced = value.replace('+', " ");
            Some(Cow::Owned(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned()))
        })
        .collect();
    names.filter(|names| !names.is_empty()).map_or(Model::Unknown, Model::Named)
}

fn has_field(request: &Request<'_>, path: &[String], glob: &Glob, if_unknown: bool) -> bool {
    match request.body {
        // The frames of a WebSocket are not read.
        Body::Empty => *request.endpoint == Endpoint::Realtime && if_unknown,
        Body::Scanned(scan) => scan.any_value(path, |value| value.map_or(if_unknown, |value| glob.matches(value))),
        Body::Unparsable | Body::OverCap | Body::NotRead => if_unknown,
    }
}
