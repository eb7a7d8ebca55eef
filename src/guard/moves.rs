//! States of a candidate, and the moves between them as values.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counted::Tally;

/// An instant, and the time of day for people. Nothing is decided by the latter: clocks jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic instant.
    pub at: Instant,
    /// Time of day.
    pub time: Timestamp,
}

/// State of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It gets its requests, and its failures are counted.
    Watching,
    /// It gets no requests for a minute, after which the evidence is looked at again.
    Held,
    /// It gets no requests until somebody lifts it.
    RolledBack,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Watching, Self::Held, Self::RolledBack];

    /// Text in `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Held => "held",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// Cause of the state that a candidate is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The evidence of its failures.
    Errors,
    /// Its breaker opened too often.
    BreakerOpened,
    /// Its breaker did not close.
    BreakerNotClosed,
    /// The baseline had failed as well: it was held and is watched again.
    BothFailed,
    /// `resume` has another number.
    Resumed,
    /// It is at 0 % on every route.
    PercentZero,
    /// The rollout's name, the candidate itself or `[guard]` changed.
    Changed,
    /// The process began anew, without a withdrawal to continue.
    Restart,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 8] = [
        Self::Errors,
        Self::BreakerOpened,
        Self::BreakerNotClosed,
        Self::BothFailed,
        Self::Resumed,
        Self::PercentZero,
        Self::Changed,
        Self::Restart,
    ];

    /// Text in `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::BreakerOpened => "breaker_opened",
            Self::BreakerNotClosed => "breaker_not_closed",
            Self::BothFailed => "both_failed",
            Self::Resumed => "resumed",
            Self::PercentZero => "percent_zero",
            Self::Changed => "changed",
            Self::Restart => "restart",
        }
    }
}

/// Kind of a move, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MoveKind {
    /// Withdrawn for a minute; with `action = "alert"` told and not withdrawn.
    Held,
    /// Withdrawn until somebody lifts it.
    RolledBack,
    /// Watched again after a hold.
    Released,
    /// Watched again because somebody lifted the withdrawal.
    Lifted,
}

impl MoveKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Held, Self::RolledBack, Self::Released, Self::Lifted];

    /// Text in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::RolledBack => "rolled_back",
            Self::Released => "released",
            Self::Lifted => "lifted",
        }
    }
}

/// A move to tell: by a log line, a message, the history and the state file.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Kind of the move.
    pub kind: MoveKind,
    /// State before.
    pub from: State,
    /// State after. That before with `action = "alert"`, where nothing moves.
    pub to: State,
    /// Cause of the move.
    pub cause: Cause,
    /// A sentence with the numbers.
    pub why: String,
    /// Time from which the state after holds.
    pub since: Timestamp,
    /// Evidence at the move; `None` for the rules of the breaker and for lifts.
    pub evidence: Option<f64>,
    /// Evidence at which the guard acts.
    pub threshold: f64,
    /// Sums of the epoch that was judged.
    pub tally: Tally,
}

/// Ways by which a withdrawal is lifted; there are no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lift {
    /// The candidate is at 0 % on every route of the file.
    PercentZero,
    /// `resume` has another number.
    Resumed {
        /// Number before.
        from: u64,
        /// Number in the file.
        to: u64,
    },
    /// The rollout has another name.
    Renamed,
    /// Keys of the candidate's section changed that make it another one, by name.
    Candidate(Vec<&'static str>),
    /// `[guard]` is not in the file any more.
    GuardGone,
    /// The candidate is not in the file any more, or is the baseline.
    CandidateGone,
}

impl Lift {
    /// The cause that `/status` shows.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::PercentZero | Self::CandidateGone => Cause::PercentZero,
            Self::Resumed { .. } => Cause::Resumed,
            Self::Renamed | Self::Candidate(_) | Self::GuardGone => Cause::Changed,
        }
    }
}
