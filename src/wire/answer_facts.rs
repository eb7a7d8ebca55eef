//! Facts of an answer that are known so far: its begin, its tokens, its end, its ids.
//!
//! Bound: ids are cut at 128 characters, and eight finish reasons are kept.

use std::time::Instant;

use super::pace::Pace;
use crate::model::prefix;

/// Limit on a count of tokens; a larger one is nonsense and counts as unknown.
pub(crate) const MAX_TOKENS: u64 = 1 << 32;

/// Tokens as the backend counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// Prompt tokens that came from a cache; `None` if unknown.
    pub cached_input: Option<u64>,
    /// Prompt tokens that were written to a cache; `None` if unknown.
    pub cache_written: Option<u64>,
    /// Generated tokens, thoughts included.
    pub output: u64,
    /// Generated tokens that are thoughts; `None` if unknown.
    pub reasoning: Option<u64>,
}

/// Ids and finish reasons of an answer, as its backend wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnswerIds {
    /// Id of the answer.
    pub id: Option<String>,
    /// Name of the model that answered.
    pub model: Option<String>,
    /// Finish reasons of the choices, in the order in which they ended.
    pub reasons: Vec<String>,
}

/// Limit, in characters, on ids, models and reasons; longer ones are cut.
const MAX_TOLD: usize = 128;
/// Limit on finish reasons; those of further choices are not kept.
pub(super) const MAX_REASONS: usize = 8;

impl AnswerIds {
    /// Sets id and model, unless they are known already.
    pub fn name(&mut self, id: Option<&str>, model: Option<&str>) {
        let cut = |text: &str| prefix(text, MAX_TOLD);
        if self.id.is_none() {
            self.id = id.map(cut);
        }
        if self.model.is_none() {
            self.model = model.map(cut);
        }
    }

    /// Adds the finish reason of one choice.
    pub fn reason(&mut self, reason: &str) {
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(prefix(reason, MAX_TOLD));
        }
    }
}

/// Facts that are known so far.
#[derive(Debug, Clone, Default)]
pub struct AnswerFacts {
    /// Time at which the first content of a stream came.
    pub first_content: Option<Instant>,
    /// Token counts, if the backend sent them.
    pub usage: Option<Usage>,
    /// True if a stream contained an error.
    pub error_event: bool,
    /// True if a stream contained a finish reason or `response.completed`.
    pub has_reason: bool,
    /// True if a stream contained `[DONE]`, after which nothing comes.
    pub done: bool,
    /// Ids and finish reasons.
    pub told: AnswerIds,
    /// Gaps between the chunks of a stream whose content has begun.
    pub pace: Option<Box<Pace>>,
}

impl AnswerFacts {
    /// True if a stream marked its own end.
    pub const fn finished(&self) -> bool {
        self.done || self.has_reason
    }
}
