//! Reads `[shadow]`.

use std::time::Duration;

use super::super::problem::Problems;
use super::super::reader::{Section, Value, count, duration, kind, not_negative, percent, size, string};
use super::super::types::Shadow;
use super::names;
use crate::model::{BackendId, Percent};

/// Default of `percent`.
const TEN_PERCENT: Percent = match Percent::from_hundredths(1000) {
    Some(percent) => percent,
    None => Percent::ZERO,
};

/// Default of `noise_percent`.
const TWENTY_PERCENT: Percent = match Percent::from_hundredths(2000) {
    Some(percent) => percent,
    None => Percent::ZERO,
};

/// Reads the section; returns `None` if no receiver of it is usable, which is a problem already.
pub(crate) fn read(
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Option<Shadow> {
    let mut s = Section::new("[shadow]", value, p);
    let to = match s.get("to") {
        Some(to) => receivers(to, names, p),
        None => only_candidate(value, names, baseline, p),
    };
    let shadow = Shadow {
        percent: s.read("percent", p, percent).unwrap_or(TEN_PERCENT),
        to,
        max_in_flight: s.read("max_in_flight", p, count).unwrap_or(32),
        max_bytes: s.read("max_bytes", p, size).unwrap_or(64 << 20),
        budget_usd_per_hour: s.read("budget_usd_per_hour", p, not_negative).unwrap_or(5.0),
        noise_percent: s.read("noise_percent", p, percent).unwrap_or(TWENTY_PERCENT),
        timeout: s.read("timeout", p, duration).unwrap_or(Duration::from_secs(120)),
    };
    s.finish(p);
    (!shadow.to.is_empty()).then_some(shadow)
}

/// Reads a name or a list of names; reports an empty list, and each entry that is unknown or repeated.
fn receivers(value: &Value<'_>, names: &[String], p: &mut Problems<'_>) -> Vec<BackendId> {
    let items = match value.get_ref().as_array() {
        Some(items) if items.is_empty() => {
            p.add(&value.span(), "to is empty", "name at least one backend, or remove [shadow]");
            return Vec::new();
        }
        Some(items) => items.iter().collect(),
        None if value.get_ref().as_str().is_some() => vec![value],
        None => {
            let cure = "write the name of a backend, or a list of names";
            p.add(&value.span(), format!("to is {}", kind(value)), cure);
            return Vec::new();
        }
    };
    let mut receivers: Vec<BackendId> = Vec::new();
    for item in items {
        match string(item) {
            Ok(name) => match names::find(name, item, names, "shadow.to", p) {
                Some(id) if receivers.contains(&id) => {
                    p.add(&item.span(), format!("to names {name:?} twice"), "remove one of the two");
                }
                id => receivers.extend(id),
            },
            Err(wrong) => p.add(&item.span(), format!("an entry of to {}", wrong.what), wrong.cure),
        }
    }
    receivers
}

/// Without `to`, the receiver is the candidate, if there is only one.
fn only_candidate(
    section: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Vec<BackendId> {
    let mut candidates = names::candidates(names, baseline);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => vec![only],
        (several, _) => {
            let cure = match several {
                Some(_) => "add to = \"NAME\" of a backend, or a list of names",
                None => "add a [backend.NAME] beside the baseline, or remove [shadow]",
            };
            p.add(&section.span(), "[shadow] does not say where copies are sent", cure);
            Vec::new()
        }
    }
}
