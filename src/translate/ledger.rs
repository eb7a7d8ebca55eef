//! What was done to a request, field by field.

use std::borrow::Cow;

use super::table;

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As the application wrote it; a path such as `messages[0].content` below the top.
    pub field: Cow<'static, str>,
    pub action: Action,
    /// What it became, or why.
    pub detail: Cow<'static, str>,
}

/// More is not kept: a request can have as many unknown names as it likes.
const MAX_STEPS: usize = 256;

/// Every step once, in the order in which it was first taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger(Vec<Step>);

impl Ledger {
    pub fn note(&mut self, field: impl Into<Cow<'static, str>>, action: Action, detail: impl Into<Cow<'static, str>>) {
        let step = Step { field: field.into(), action, detail: detail.into() };
        if self.0.len() < MAX_STEPS && !self.0.contains(&step) {
            self.0.push(step);
        }
    }

    /// Whether any step is about this field of the top level.
    pub(super) fn touches(&self, name: &str) -> bool {
        self.0.iter().any(|step| {
            step.field.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        })
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The same for counters: each field by a name of the tables, and `other` for all that the application thought of.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, Action)> + '_ {
        self.0.iter().map(|step| (label(&step.field), step.action))
    }

    /// `renamed=max_completion_tokens dropped=logit_bias,store`: all that was not merely passed, by what was done to
    /// it; `None` where there is nothing to say.
    pub fn summary(&self) -> Option<String> {
        let mut text = String::new();
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Passed) {
            let mut names: Vec<&str> = Vec::new();
            for step in self.0.iter().filter(|step| step.action == action) {
                let name = top(&step.field);
                let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
                let name = if fits && !name.is_empty() { name } else { OTHER };
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

/// An unknown field's name is shown up to this length.
const MAX_NAME: usize = 64;
/// A header's value is not longer.
const MAX_SUMMARY: usize = 2048;
const OTHER: &str = "other";

/// A name that the application chose, fit to be shown.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// The field of the top level that a path is below.
fn top(field: &str) -> &str {
    field.split(['[', '.']).next().unwrap_or_default()
}

fn label(field: &str) -> &'static str {
    table::names().find(|name| *name == top(field)).unwrap_or(OTHER)
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
        assert_eq!(ledger.counted().last(), Some(("other", Action::Dropped)));
    }
}
