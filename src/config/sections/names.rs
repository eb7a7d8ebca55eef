//! Resolves names of backends, and reads the percents that are given by name.

use super::super::problem::Problems;
use super::super::reader::{Section, Value, percent, unknown_cure};
use crate::model::{BackendId, Percent};

/// Finds a backend by its name; reports an unknown one with the nearest name that exists.
pub(super) fn find(
    name: &str,
    value: &Value<'_>,
    names: &[String],
    what: &str,
    p: &mut Problems<'_>,
) -> Option<BackendId> {
    let found = names.iter().position(|known| known == name).map(BackendId::new);
    if found.is_none() && !names.is_empty() {
        let cure = unknown_cure(name, names.iter().map(String::as_str));
        p.add(&value.span(), format!("{what} names {name:?}, but there is no [backend.{name}]"), cure);
    }
    found
}

/// Every backend but the baseline, in the file's order.
pub(super) fn candidates(names: &[String], baseline: Option<BackendId>) -> impl Iterator<Item = BackendId> {
    (0..names.len()).map(BackendId::new).filter(move |id| Some(*id) != baseline)
}

/// Reads the percent of every candidate, sorted by name; one that the table leaves out gets 0.
pub(super) fn percents(
    of: &str,
    value: &Value<'_>,
    names: &[String],
    baseline: Option<BackendId>,
    p: &mut Problems<'_>,
) -> Vec<(BackendId, Percent)> {
    let table = Section::new(format!("percent of {of}"), value, p);
    let mut given: Vec<(BackendId, Percent)> = Vec::new();
    let mut sum = 0_u32;
    for (name, span, value) in table.entries() {
        let percent = match percent(value) {
            Ok(percent) => percent,
            Err(wrong) => {
                p.add(&value.span(), format!("percent of {name} {}", wrong.what), wrong.cure);
                continue;
            }
        };
        sum += u32::from(percent.hundredths());
        let Some(id) = names.iter().position(|known| known == name).map(BackendId::new) else {
            let known: Vec<&str> = candidates(names, baseline).map(|id| names[id.index()].as_str()).collect();
            let cure = unknown_cure(name, known.into_iter());
            p.add(&span, format!("percent names {name:?}, but there is no [backend.{name}]"), cure);
            continue;
        };
        if Some(id) == baseline {
            p.add(&span, format!("percent names the baseline {name:?}"), "leave it out: it serves the rest");
            continue;
        }
        given.push((id, percent));
    }
    if sum > 10_000 {
        p.add(
            &value.span(),
            format!("the percents of {of} add up to {}.{:02}, above 100", sum / 100, sum % 100),
            "lower one: the baseline serves the rest up to 100",
        );
    }
    let percent_of = |id| given.iter().find(|(named, _)| *named == id).map_or(Percent::ZERO, |(_, percent)| *percent);
    let mut all: Vec<(BackendId, Percent)> = candidates(names, baseline).map(|id| (id, percent_of(id))).collect();
    all.sort_by(|(a, _), (b, _)| names[a.index()].cmp(&names[b.index()]));
    all
}
