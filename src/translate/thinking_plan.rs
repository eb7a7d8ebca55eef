//! Decision on whether and how hard the model thinks, which several modules may overrule.

/// Instruction to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ThinkingPlan {
    /// Whether the model thinks; `None` if its template has no switch.
    pub(super) enable: Option<bool>,
    /// Effort, for families that have degrees of it.
    pub(super) effort: Option<&'static str>,
    /// The model is expected to think.
    pub(super) thinks: bool,
    /// The application set the switch itself, in the server's own field.
    pub(super) own_words: bool,
}
