//! Results of rewriting an unstreamed answer.

use super::backend_error::BackendError;
use super::notes::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// Unstreamed answer as the application receives it.
#[derive(Debug)]
pub struct Whole {
    /// Body in OpenAI's format.
    pub body: Vec<u8>,
    /// Facts that the backend's body showed.
    pub seen: AnswerFacts,
    /// Repairs that were made.
    pub notes: Notes,
}

/// Reason for which a body that came with 200 is not an answer.
#[derive(Debug)]
pub enum Unusable {
    /// It is an error.
    Error(BackendError),
    /// It cannot be read; the text says why.
    Garbled(&'static str),
}
