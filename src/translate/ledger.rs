//! What was done to a request, field by field.

use std::borrow::Cow;

use super::field_id::{FieldId, FieldSet};

/// What became of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    Passed,
    Renamed,
    Dropped,
    Rewritten,
    /// Sent, but it means less there.
    Flagged,
    Pinned,
}

impl Action {
    pub const ALL: [Self; 6] =
        [Self::Passed, Self::Renamed, Self::Dropped, Self::Rewritten, Self::Flagged, Self::Pinned];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Renamed => "renamed",
            Self::Dropped => "dropped",
            Self::Rewritten => "rewritten",
            Self::Flagged => "flagged",
            Self::Pinned => "pinned",
        }
    }
}

/// One thing done to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Field as the application wrote it; a path such as `messages[0].content` below the top.
    pub field: Cow<'static, str>,
    /// What was done to it.
    pub action: Action,
    /// What it became, or why.
    pub detail: Cow<'static, str>,
    id: FieldId,
}

/// Limit on the steps of one request, which can have as many unknown names as it likes. Later steps are not kept.
const MAX_STEPS: usize = 256;

/// Steps of one request, each once, in the order in which they were first taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    steps: Vec<Step>,
    /// Top-level fields that have a step.
    touched: FieldSet,
}

impl Ledger {
    /// Adds a step, unless it is there already.
    pub fn note(&mut self, field: impl Into<Cow<'static, str>>, action: Action, detail: impl Into<Cow<'static, str>>) {
        let (field, detail) = (field.into(), detail.into());
        let id = FieldId::of(&field);
        self.add(Step { field, action, detail, id });
    }

    fn add(&mut self, step: Step) {
        let is_known = self.touched.has(step.id) && self.steps.contains(&step);
        if self.steps.len() < MAX_STEPS && !is_known {
            if self.steps.capacity() == 0 {
                self.steps.reserve(USUAL_STEPS);
            }
            self.touched.add(step.id);
            self.steps.push(step);
        }
    }

    /// Notes each of these top-level fields as passed that has no step.
    pub(super) fn note_untouched<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let (touched, before) = (self.touched, self.steps.len());
        for name in names {
            let id = FieldId::named(name);
            if id == FieldId::OTHER {
                if !self.steps.iter().take(before).any(|step| is_at_or_below(&step.field, name)) {
                    self.note(shown(name), Action::Passed, "");
                }
            } else if !touched.has(id) {
                self.add(Step { field: id.name().into(), action: Action::Passed, detail: "".into(), id });
            }
        }
    }

    /// Returns the steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Returns the steps for counters: top-level fields and what was done to them.
    pub fn counted(&self) -> impl Iterator<Item = (FieldId, Action)> + '_ {
        self.steps.iter().map(|step| (step.id, step.action))
    }

    /// `renamed=max_completion_tokens dropped=logit_bias,store`: all that was not merely passed, by what was done to
    /// it; `None` where there is nothing to say.
    pub fn summary(&self) -> Option<String> {
        let mut text = String::new();
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Passed) {
            let mut names: Vec<&str> = Vec::new();
            for step in self.steps.iter().filter(|step| step.action == action) {
                let name = top(&step.field);
                let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
                let name = if fits && !name.is_empty() { name } else { FieldId::OTHER.name() };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let Some(list) = Some(names.join(",")).filter(|list| !list.is_empty()) else { continue };
            let gap = if text.is_empty() { "" } else { " " };
            if text.len() + gap.len() + action.as_str().len() + 1 + list.len() > MAX_SUMMARY {
                break;
            }
            text.extend([gap, action.as_str(), "=", &list]);
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Steps that most requests stay below.
const USUAL_STEPS: usize = 12;
/// An unknown field's name is shown up to this length.
const MAX_NAME: usize = 64;
/// A header's value is not longer.
const MAX_SUMMARY: usize = 2048;

/// A name that the application chose, fit to be shown.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The field of the top level that a path is below.
fn top(field: &str) -> &str {
    field.split(['[', '.']).next().unwrap_or_default()
}

fn is_at_or_below(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_each_field_once_and_nothing_that_a_header_cannot_hold() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.summary(), None);
        for (field, action) in [
            ("temperature", Action::Passed),
            ("max_completion_tokens", Action::Renamed),
            ("logit_bias", Action::Dropped),
            ("store", Action::Dropped),
            ("messages[].role", Action::Rewritten),
            ("messages[].content", Action::Rewritten),
            ("a b\r\nx: y", Action::Dropped),
        ] {
            ledger.note(field, action, "");
        }
        assert_eq!(
            ledger.summary().unwrap(),
            "renamed=max_completion_tokens dropped=logit_bias,store,other rewritten=messages"
        );
        assert_eq!(ledger.counted().last(), Some((FieldId::OTHER, Action::Dropped)));
    }
}
