//! What has been seen of an answer: when it began, its tokens, its end, and what it calls itself.
//!
//! Bound: names are cut at 128 characters, and eight reasons are kept.

use std::time::Instant;

use super::pace::Pace;
use crate::model::prefix;

/// No answer has more tokens: a larger count is nonsense, and not known.
pub(crate) const MAX_TOKENS: u64 = 1 << 32;

/// Tokens as the backend counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub input: u64,
    /// Of the input; `None` where it was not said.
    pub cached_input: Option<u64>,
    pub output: u64,
    /// Of the output; `None` where it was not said.
    pub reasoning: Option<u64>,
}

/// What an answer says of itself beside its content, as its backend says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerIds {
    pub id: Option<String>,
    pub model: Option<String>,
    /// One for each choice, in the order in which they ended.
    pub reasons: Vec<String>,
}

/// Longer ids, models and reasons are cut here.
const MAX_TOLD: usize = 128;
/// Further choices' reasons are not kept.
pub(super) const MAX_REASONS: usize = 8;

impl AnswerIds {
    pub fn name(&mut self, id: Option<&str>, model: Option<&str>) {
        let cut = |text: &str| prefix(text, MAX_TOLD);
        if self.id.is_none() {
            self.id = id.map(cut);
        }
        if self.model.is_none() {
            self.model = model.map(cut);
        }
    }

    pub fn reason(&mut self, reason: &str) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(prefix(reason, MAX_TOLD));
        }
    }
}

/// What has been seen so far.
#[derive(Debug, Clone, Default)]
pub struct AnswerFacts {
    /// When the first generated token of a stream came.
    pub first_content: Option<Instant>,
    pub usage: Option<Usage>,
    /// A stream said `{"error":…}`.
    pub error_event: bool,
    /// A stream said why it ended: a finish reason, `response.completed`.
    pub has_reason: bool,
    /// `[DONE]`: nothing comes after it.
    pub done: bool,
    pub told: AnswerIds,
    /// Of a stream that has begun.
    pub pace: Option<Box<Pace>>,
}

impl AnswerFacts {
    /// Whether a stream said that it is whole.
    pub const fn finished(&self) -> bool {
        self.done || self.has_reason
    }
}
