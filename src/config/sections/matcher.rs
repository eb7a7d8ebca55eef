//! Reads `match`: the condition of a route or of a residency rule.

use http::HeaderName;

use super::super::problem::Problems;
use super::super::reader::{Section, Value, string};
use super::super::types::RequestMatch;
use crate::model::Glob;

/// Reads the table.
pub(super) fn read(value: &Value<'_>, p: &mut Problems<'_>) -> RequestMatch {
    let mut s = Section::new("match", value, p);
    let path = s.read("path", p, |value| string(value).map(Glob::new));
    let model = s.read("model", p, |value| string(value).map(Glob::new));
    let header = s.get("header").map(|value| header(value, p)).unwrap_or_default();
    let field = s.get("field").map(|value| field(value, p)).unwrap_or_default();
    s.finish(p);
    RequestMatch { path, model, header, field }
}

fn header(value: &Value<'_>, p: &mut Problems<'_>) -> Vec<(HeaderName, Glob)> {
    let mut patterns = Vec::new();
    for (name, span, value) in Section::new("match.header", value, p).entries() {
        match (name.parse::<HeaderName>(), string(value)) {
            (Ok(name), Ok(pattern)) => patterns.push((name, Glob::new(pattern))),
            (Err(_), _) => p.add(&span, format!("{name:?} is not a header name"), "write a name that HTTP allows"),
            (_, Err(wrong)) => p.add(&value.span(), format!("the pattern of {name} {}", wrong.what), wrong.cure),
        }
    }
    patterns
}

fn field(value: &Value<'_>, p: &mut Problems<'_>) -> Vec<(Vec<String>, Glob)> {
    let mut patterns = Vec::new();
    for (path, span, value) in Section::new("match.field", value, p).entries() {
        match string(value) {
            _ if path.split('.').any(str::is_empty) => p.add(
                &span,
                format!("{path:?} is not a field of the body"),
                "write its path in quotes, such as \"metadata.region\"",
            ),
            Ok(pattern) => patterns.push((path.split('.').map(str::to_owned).collect(), Glob::new(pattern))),
            Err(wrong) => p.add(
                &value.span(),
                format!("the pattern of {path} {}", wrong.what),
                format!("{}; write a path of several names in quotes, such as \"metadata.region\"", wrong.cure),
            ),
        }
    }
    patterns
}
