//! The facts of one leg while it runs.

use std::sync::Arc;
use std::time::Instant;

use super::clock::WaitedTime;
use super::conn_use::ConnUse;
use super::judge::{Ending, OtherAnswer, judge};
use super::labels::{BackendLabels, LegKind, Role};
use super::leg::{Attempt, LegEnd};
use crate::health::Ticket;
use crate::model::{CancelledBy, Fault, SpanId, prefix};
use crate::stats::BackendStats;
use crate::translate::Ledger;
use crate::translate::answer::Notes;
use crate::wire::answer_facts::AnswerFacts;

/// Limit of a model name, in bytes; longer names are truncated.
const MAX_MODEL: usize = 128;

/// Facts of one leg, noted step by step. [`Trail::end`] turns them into an immutable [`LegEnd`].
#[derive(Debug)]
pub struct Trail {
    kind: LegKind,
    role: Role,
    backend: Arc<BackendLabels>,
    stats: Arc<BackendStats>,
    model: String,
    is_stream: bool,
    attempts: Vec<Attempt>,
    /// Facts read from the answer.
    pub facts: AnswerFacts,
    /// Repairs that the answer needed.
    pub notes: Notes,
    /// Steps of the request's translation; `None` if its bytes are unchanged.
    pub ledger: Option<Ledger>,
    /// Time spent waiting for the backend.
    pub waited_time: WaitedTime,
    /// Connection of the last attempt.
    pub conn: ConnUse,
    /// Reports the verdict to the candidate's breaker.
    ticket: Option<Ticket>,
    was_passed_on: bool,
    /// The ending, noted before the verdict is known.
    ended: Option<(Ending, Instant)>,
}

impl Trail {
    /// Creates a leg that has sent nothing. `model` is the backend's name for the model.
    pub fn new(
        kind: LegKind,
        role: Role,
        (backend, stats): (&Arc<BackendLabels>, &Arc<BackendStats>),
        model: &str,
        is_stream: bool,
    ) -> Self {
        Self {
            kind,
            role,
            backend: Arc::clone(backend),
            stats: Arc::clone(stats),
            model: prefix(model, MAX_MODEL),
            is_stream,
            attempts: Vec::with_capacity(1),
            facts: AnswerFacts::default(),
            notes: Notes::default(),
            ledger: None,
            waited_time: WaitedTime::default(),
            conn: ConnUse::default(),
            ticket: None,
            was_passed_on: false,
            ended: None,
        }
    }

    /// Sets the ticket that reports the verdict to the breaker.
    pub fn admit(&mut self, ticket: Option<Ticket>) {
        self.ticket = ticket;
    }

    /// The backend that is asked.
    pub const fn backend(&self) -> &Arc<BackendLabels> {
        &self.backend
    }

    /// The backend's part in the rollout.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Notes that a request is sent. Returns the attempt's span.
    pub fn sends(&mut self, is_replay: bool) -> SpanId {
        let (span, now) = (SpanId::new(rand::random()), Instant::now());
        self.conn.clear();
        self.attempts.push(Attempt {
            span,
            sent_at: now,
            head_at: None,
            ended_at: now,
            is_replay,
            is_reused: None,
            status: None,
            fault: None,
            cancelled: None,
        });
        if self.kind == LegKind::Served {
            self.stats.attempts.add(1);
            self.stats.replays.add(u64::from(is_replay));
        }
        span
    }

    /// Notes that the answer's head arrived.
    pub fn head_came(&mut self, status: u16) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.head_at, attempt.status) = (Some(Instant::now()), Some(status));
        }
    }

    /// Notes that the attempt failed on a reused connection with `fault`, before a byte of an answer.
    pub fn died_on_reused(&mut self, fault: Fault) {
        if let Some(attempt) = self.attempts.last_mut() {
            (attempt.is_reused, attempt.fault) = (Some(true), Some(fault));
            attempt.ended_at = Instant::now();
        }
    }

    /// Notes the first content: enough for a half-open breaker to close.
    pub fn content_began(&mut self, now: Instant) {
        if let Some(ticket) = &mut self.ticket {
            ticket.begun(now);
        }
    }

    /// Notes that the application gets this leg's answer.
    pub fn is_passed_on(&mut self) {
        self.was_passed_on = true;
    }

    /// Instant of the first request; `None` if none was sent.
    pub fn first_sent_at(&self) -> Option<Instant> {
        self.attempts.first().map(|attempt| attempt.sent_at)
    }

    /// Status of the last answer.
    pub fn status(&self) -> Option<u16> {
        self.attempts.last().and_then(|attempt| attempt.status)
    }

    /// Notes the ending while the verdict waits for another backend's answer.
    pub fn ends(&mut self, ending: Ending, now: Instant) {
        self.ended.get_or_insert((ending, now));
    }

    /// Judges the leg and reports to its breaker. An ending noted earlier takes precedence over `ending`.
    pub fn end(mut self, ending: Ending, other: OtherAnswer, now: Instant) -> LegEnd {
        let (ending, ended_at) = self.ended.unwrap_or((ending, now));
        let (status, has_error_event) = (self.status(), self.facts.error_event);
        let verdict = judge(self.role, ending, status, has_error_event, other);
        let opened_breaker =
            self.ticket.take().is_some_and(|ticket| ticket.settle(verdict.sample, verdict.cool_down, now));
        if let Some(last) = self.attempts.last_mut() {
            last.is_reused = self.conn.is_reused();
            last.ended_at = ended_at;
            last.fault = ending.fault(status, has_error_event);
            last.cancelled = cancelled_by(ending, last.fault);
        }
        LegEnd {
            kind: self.kind,
            backend: self.backend,
            stats: self.stats,
            role: self.role,
            model: self.model,
            attempts: self.attempts,
            facts: self.facts,
            notes: self.notes,
            ledger: self.ledger,
            waited: self.waited_time.waited(),
            ending,
            verdict,
            opened_breaker,
            was_passed_on: self.was_passed_on,
        }
    }

    /// True if the answer is a stream.
    pub const fn is_stream(&self) -> bool {
        self.is_stream
    }
}

fn cancelled_by(ending: Ending, fault: Option<Fault>) -> Option<CancelledBy> {
    match ending {
        Ending::ClientGone => Some(CancelledBy::Client),
        Ending::Drained => Some(CancelledBy::Drain),
        Ending::TimedOut => Some(CancelledBy::Deadline),
        Ending::Complete | Ending::Broken => None,
        Ending::Missed(_) => match fault {
            Some(Fault::TtftTimeout | Fault::IdleTimeout | Fault::Deadline) => Some(CancelledBy::Deadline),
            Some(Fault::Shed) => Some(CancelledBy::Shed),
            Some(Fault::ClientGone) => Some(CancelledBy::Client),
            _ => None,
        },
    }
}
