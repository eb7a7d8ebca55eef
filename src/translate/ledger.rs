//! What was done to a request, field by field.

use std::borrow::Cow;

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

/// Every step, in the order in which it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger(Vec<Step>);

impl Ledger {
    pub fn note(&mut self, field: impl Into<Cow<'static, str>>, action: Action, detail: impl Into<Cow<'static, str>>) {
        self.0.push(Step { field: field.into(), action, detail: detail.into() });
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}
