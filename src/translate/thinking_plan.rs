//! Decision on whether and how hard the model thinks, which several modules may overrule.

/// What the model is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ThinkingPlan {
    /// `None`: its template knows no switch.
    pub(super) enable: Option<bool>,
    /// Of families that know degrees.
    pub(super) effort: Option<&'static str>,
    /// It will think, as far as one can tell.
    pub(super) thinks: bool,
    /// The application said it in the server's own words.
    pub(super) own_words: bool,
}
