//! Reads `[shadow]`.

use std::time::Duration;

use super::super::problem::Problems;
use super::super::reader::{Section, Value, count, duration, not_negative, percent, size, string};
use super::super::types::{Shadow, ShadowTo};
use super::names;
use crate::model::{BackendId, Percent};

const TEN_PERCENT: Percent = match Percent::from_hundredths(1000) {
    Some(percent) => percent,
    None => Percent::ZERO,
};

/// Reads the section; returns `None` if the receiver is missing or unknown, which is a problem already.
pub(crate) fn read(
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Option<Shadow> {
    let mut s = Section::new("[shadow]", value, p);
    let to = match s.get("to") {
        Some(to) => receiver(to, names, baseline, p),
        None => only_candidate(value, names, baseline, p),
    };
    let shadow = Shadow {
        percent: s.read("percent", p, percent).unwrap_or(TEN_PERCENT),
        to: to.unwrap_or(ShadowTo::Both),
        max_in_flight: s.read("max_in_flight", p, count).unwrap_or(32),
        max_bytes: s.read("max_bytes", p, size).unwrap_or(64 << 20),
        budget_usd_per_hour: s.read("budget_usd_per_hour", p, not_negative).unwrap_or(5.0),
        noise_percent: s.read("noise_percent", p, percent).unwrap_or(TEN_PERCENT),
        timeout: s.read("timeout", p, duration).unwrap_or(Duration::from_secs(120)),
    };
    s.finish(p);
    to.map(|_| shadow)
}

fn receiver(
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Option<ShadowTo> {
    match string(value) {
        Ok("baseline") => Some(ShadowTo::Baseline),
        Ok("both") => Some(ShadowTo::Both),
        Ok(name) => match names::find(name, value, names, "shadow.to", p) {
            Some(id) if Some(id) == baseline => Some(ShadowTo::Baseline),
            id => id.map(ShadowTo::Candidate),
        },
        Err(wrong) => {
            p.add(&value.span(), format!("to {}", wrong.what), wrong.cure);
            None
        }
    }
}

/// Without `to`, the receiver is the candidate, if there is only one.
fn only_candidate(
    section: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Option<ShadowTo> {
    let mut candidates = names::candidates(names, baseline);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Some(ShadowTo::Candidate(only)),
        _ => {
            let cure = "add to = \"NAME\" of a candidate, \"baseline\" or \"both\"";
            p.add(&section.span(), "[shadow] does not say where copies are sent", cure);
            None
        }
    }
}
