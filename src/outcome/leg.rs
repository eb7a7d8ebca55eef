//! A leg after its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::judge::{Ending, Verdict};
use super::labels::{BackendLabels, LegKind, Role};
use crate::model::{CancelledBy, Fault, SpanId};
use crate::stats::BackendStats;
use crate::translate::Ledger;
use crate::translate::answer::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// One request sent to a backend.
#[derive(Debug)]
pub struct Attempt {
    /// Its CLIENT span.
    pub span: SpanId,
    /// Instant at which it was handed to a connection, or began to wait for one.
    pub sent_at: Instant,
    /// Arrival of the answer's head.
    pub head_at: Option<Instant>,
    /// Instant of its end.
    pub ended_at: Instant,
    /// True if it repeats the request on a fresh connection.
    pub is_replay: bool,
    /// True if its connection had carried a request before; `None` without a connection.
    pub is_reused: Option<bool>,
    /// The status as the backend sent it.
    pub status: Option<u16>,
    /// The `error.type`.
    pub fault: Option<Fault>,
    /// The party that ended it before the backend did.
    pub cancelled: Option<CancelledBy>,
}

/// One leg, complete and immutable. Holds no content, no header and no key.
#[derive(Debug)]
pub struct LegEnd {
    /// Its purpose.
    pub kind: LegKind,
    /// The backend that was asked.
    pub backend: Arc<BackendLabels>,
    /// The backend's counters.
    pub stats: Arc<BackendStats>,
    /// The backend's part in the rollout.
    pub role: Role,
    /// Model name sent to the backend; empty if the request names no model.
    pub model: String,
    /// Requests sent, in order: at most two, the second one a replay. Empty if none was sent.
    pub attempts: Vec<Attempt>,
    /// Facts read from the answer.
    pub facts: AnswerFacts,
    /// Repairs that the answer needed.
    pub notes: Notes,
    /// Steps of the request's translation; `None` if its bytes were unchanged.
    pub ledger: Option<Ledger>,
    /// Time spent waiting for the backend.
    pub waited: Duration,
    /// The way it ended.
    pub ending: Ending,
    /// The judgement.
    pub verdict: Verdict,
    /// True if its failure opened the backend's breaker.
    pub opened_breaker: bool,
    /// True if the application got its answer, or a part of it.
    pub was_passed_on: bool,
}

impl LegEnd {
    /// Instant of its last request; `None` if none was sent.
    pub fn sent_at(&self) -> Option<Instant> {
        self.attempts.last().map(|attempt| attempt.sent_at)
    }

    /// Status of its last answer; `None` if none came.
    pub fn last_status(&self) -> Option<u16> {
        self.attempts.last()?.status
    }

    /// Time from the last request to the first generated token of a stream: the backend's own time.
    pub fn first_token_after(&self) -> Option<Duration> {
        Some(self.facts.first_content?.saturating_duration_since(self.sent_at()?))
    }
}
