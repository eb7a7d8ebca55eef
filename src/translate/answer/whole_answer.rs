//! Results of rewriting an answer that comes in one piece.

use super::backend_error::BackendError;
use super::notes::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// An unstreamed answer as the application gets it.
#[derive(Debug)]
pub struct Whole {
    pub body: Vec<u8>,
    pub seen: AnswerFacts,
    pub notes: Notes,
}

/// Why a body that came with 200 is no answer.
#[derive(Debug)]
pub enum Unusable {
    Error(BackendError),
    Garbled(&'static str),
}
