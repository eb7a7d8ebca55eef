//! State of a request while the modules rewrite it.

use std::borrow::Cow;

use super::answer_spec::AnswerSpec;
use super::draft::Draft;
use super::input::ContextLimits;
use super::ledger::{Action, Ledger};
use super::thinking_plan::ThinkingPlan;
use crate::config::Backend;

/// Request being rewritten.
pub(super) struct Rewrite<'a> {
    pub(super) backend: &'a Backend,
    pub(super) draft: Draft<'a>,
    pub(super) ledger: Ledger,
    pub(super) answer_spec: AnswerSpec,
    pub(super) plan: ThinkingPlan,
    pub(super) limits: ContextLimits,
}

impl Rewrite<'_> {
    pub(super) fn note(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        action: Action,
        detail: impl Into<Cow<'static, str>>,
    ) {
        self.ledger.note(field, action, detail);
    }

    /// Removes a field, if it is there, and notes the reason.
    pub(super) fn drop_field(&mut self, name: &'static str, why: &'static str) {
        if self.draft.remove(name).is_some() {
            self.note(name, Action::Dropped, why);
        }
    }
}
