//! Reads `[[residency]]`, and finds rules that no backend satisfies.

use std::ops::Range;

use super::super::problem::Problems;
use super::super::reader::{Section, Value, list, string};
use super::super::types::{Backend, RequestMatch, Residency};
use super::matcher;

/// Reads the rules in the file's order.
pub(crate) fn read(value: Option<&Value<'_>>, backends: &[Backend], p: &mut Problems<'_>) -> Vec<Residency> {
    let Some(value) = value else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        p.add(&value.span(), "residency is not a list of tables", "write [[residency]] for each rule");
        return Vec::new();
    };
    let mut rules: Vec<Residency> = Vec::new();
    for item in items.iter() {
        let Some((rule, allow)) = rule(item, p) else { continue };
        if rules.iter().any(|known| known.name == rule.name) {
            let message = format!("there are two residency rules named {:?}", rule.name);
            p.add(&item.span(), message, "give each rule its own name: it is shown in errors and metrics");
        }
        satisfied(&rule, &rules, backends, &allow, p);
        rules.push(rule);
    }
    rules
}

/// Reads one rule, and the place of its tags; `None` if it has a problem.
fn rule(item: &Value<'_>, p: &mut Problems<'_>) -> Option<(Residency, Range<usize>)> {
    let mut s = Section::new("[[residency]]", item, p);
    let name = s.require("name", "add name = \"…\": it is shown in errors and metrics", p, string);
    let cure = "add allow = [\"…\"]: the tags of the backends that may see these requests";
    let allow = s.require("allow", cure, p, Ok);
    let matcher = match s.get("match") {
        Some(value) => matcher::read(value, p),
        None => RequestMatch::default(),
    };
    s.finish(p);
    let (name, allow) = (name?.to_owned(), allow?);
    let is_list = allow.get_ref().as_array();
    let tags: Vec<String> = list("allow", allow, p, |tag| Ok(tag.to_owned()));
    if is_list.is_some_and(|items| items.is_empty()) {
        p.add(&allow.span(), "allow is empty", "name at least one tag, or remove the rule");
    }
    (!tags.is_empty()).then(|| (Residency { name, matcher, allow: tags }, allow.span()))
}

/// Reports a rule that no backend satisfies, alone or together with earlier ones of the same condition.
fn satisfied(
    rule: &Residency,
    earlier: &[Residency],
    backends: &[Backend],
    allow: &Range<usize>,
    p: &mut Problems<'_>,
) {
    let tags = rule.allow.join(" or ");
    if !backends.iter().any(|backend| rule.allows(&backend.tags)) {
        let message = format!("residency rule {:?} allows only backends tagged {tags}, and no backend is", rule.name);
        p.add(allow, message, "add tags = [\"…\"] with one of them to a backend, or correct the rule");
        return;
    }
    let is_satisfied = |other: &&Residency| backends.iter().any(|backend| other.allows(&backend.tags));
    let same: Vec<&Residency> =
        earlier.iter().filter(|other| other.matcher == rule.matcher).filter(is_satisfied).collect();
    let satisfies_all =
        |backend: &Backend| rule.allows(&backend.tags) && same.iter().all(|other| other.allows(&backend.tags));
    if !same.is_empty() && !backends.iter().any(satisfies_all) {
        let names: Vec<String> = same.iter().map(|other| format!("{:?}", other.name)).collect();
        p.add(
            allow,
            format!(
                "residency rules {} and {:?} match the same requests, and no backend satisfies all of them",
                names.join(", "),
                rule.name
            ),
            "tag a backend for all of them, or merge the rules",
        );
    }
}
