//! Record of the changes to a request, field by field.

use std::borrow::Cow;

use super::field_id::{FieldId, FieldSet};

/// Kind of change to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Sent as it came.
    Passed,
    /// Sent under another name.
    Renamed,
    /// Not sent.
    Dropped,
    /// Sent with another value.
    Rewritten,
    /// Sent, but the backend treats it differently.
    Flagged,
    /// Not served by the backend that was chosen, so that another one gets the request.
    Pinned,
}

impl Action {
    /// All actions, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Passed, Self::Renamed, Self::Dropped, Self::Rewritten, Self::Flagged, Self::Pinned];

    /// Returns the value of the label `action` on /metrics.
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
    /// New value, or the reason.
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

    /// Marks a top-level field as changed by a step that names another one.
    pub(super) fn cover(&mut self, field: &str) {
        self.touched.add(FieldId::of(field));
    }

    /// Notes as passed each of these top-level fields that has no step.
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

    /// Returns `renamed=max_completion_tokens dropped=logit_bias,messages[].name`: the changed fields by action, at most
    /// [`MAX_SUMMARY`] bytes; `None` if nothing changed. A part that was dropped is named by its path.
    pub fn summary(&self) -> Option<String> {
        let mut text = String::new();
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Passed) {
            let mut names: Vec<&str> = Vec::new();
            for step in self.steps.iter().filter(|step| step.action == action) {
                let is_part = action == Action::Dropped && step.id != FieldId::OTHER;
                let name = if is_part { step.field.as_ref() } else { top(&step.field) };
                let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte));
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

/// Capacity that is enough for the steps of most requests.
const USUAL_STEPS: usize = 12;
/// Limit, in characters, on the name of an unknown field; the rest is cut off.
const MAX_NAME: usize = 64;
/// Limit, in bytes, on the summary, which is sent in a header. Actions that do not fit are left out.
const MAX_SUMMARY: usize = 2048;

/// Returns a name that the application chose in printable ASCII, cut to [`MAX_NAME`].
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Returns the top-level field of a path.
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
            ("messages[].annotations", Action::Dropped),
            ("messages[].annotations", Action::Dropped),
            ("foo[].bar", Action::Dropped),
            ("a b\r\nx: y", Action::Dropped),
        ] {
            ledger.note(field, action, "");
        }
        assert_eq!(
            ledger.summary().unwrap(),
            "renamed=max_completion_tokens dropped=logit_bias,store,messages[].annotations,foo,other rewritten=messages"
        );
        assert_eq!(ledger.counted().last(), Some((FieldId::OTHER, Action::Dropped)));
    }
}
