//! The only judgement of how a leg ended: complete or not, who is to blame, breaker sample, cool-down.

use std::time::Duration;

use super::labels::Role;
use crate::health::Sample;
use crate::model::Fault;

/// The way a leg came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The backend's answer was passed on to its end, with any status.
    Complete,
    /// The answer broke off, or ended with an error event, after its head had been passed on.
    Broken,
    /// A deadline passed after the head had been passed on.
    TimedOut,
    /// No answer came that could be passed on.
    Missed(Miss),
    /// The application left first.
    ClientGone,
    /// Shutdown cut the answer.
    Drained,
}

/// A leg without an answer to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss {
    /// The `error.type`.
    pub fault: Fault,
    /// Kind that decides about the blame.
    pub kind: MissKind,
}

/// Kinds of legs without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissKind {
    /// The backend failed: no connection, a timeout, a 5xx, or an invalid answer.
    Failed,
    /// The backend answered 429, with its `retry-after`.
    Busy(Option<Duration>),
    /// The backend rejected the request as invalid.
    Rejected {
        /// Status in OpenAI's terms, 400 to 499.
        status: u16,
        /// True if status and text concern the configured key, model or URL.
        misconfigured: bool,
    },
    /// The application's own body failed or stopped.
    Client,
    /// A limit of the process was reached.
    Process,
}

/// The answer of the backend that was asked after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherAnswer {
    /// No other backend was asked.
    NotAsked,
    /// The other backend rejected the request too: a 4xx other than 429.
    Refused,
    /// The other backend answered anything else, or failed.
    Differs,
    /// The other backend was asked, but the application left before its answer.
    Unknown,
}

impl OtherAnswer {
    /// Classifies the other backend's status.
    pub const fn of_status(status: u16) -> Self {
        match status {
            429 => Self::Differs,
            400..=499 => Self::Refused,
            _ => Self::Differs,
        }
    }
}

/// The party at fault for a leg without a complete good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The request was invalid.
    Request,
    /// The backend failed.
    Backend,
    /// The file has a wrong key, model or URL for the backend.
    Configuration,
    /// The application left or its body failed.
    Client,
    /// A limit or the shutdown of this process.
    Process,
}

/// The judgement about a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// True if the answer was good and whole.
    pub is_complete: bool,
    /// The party at fault; `None` for a complete answer, or if unknown.
    pub blame: Option<Blame>,
    /// Sample for the candidate's breaker.
    pub sample: Option<Sample>,
    /// Cool-down of the candidate, with its `retry-after` if it sent one.
    pub cool_down: Option<Option<Duration>>,
}

impl Verdict {
    const COMPLETE: Self = Self { is_complete: true, blame: None, sample: Some(Sample::Good), cool_down: None };
    const UNKNOWN: Self = Self { is_complete: false, blame: None, sample: None, cool_down: None };

    const fn blamed(blame: Blame) -> Self {
        Self { blame: Some(blame), ..Self::UNKNOWN }
    }

    const fn failed(blame: Blame) -> Self {
        Self { sample: Some(Sample::Bad), ..Self::blamed(blame) }
    }

    /// True if the backend counts as failed, by itself or through its configuration.
    pub const fn is_error(&self) -> bool {
        matches!(self.blame, Some(Blame::Backend | Blame::Configuration))
    }
}

/// Judges a leg. `status` is that of the answer's head, `None` without a head; `has_error_event` is true if the answer
/// reported an error after a 200; `other` matters only for a request that the backend rejected.
pub fn judge(role: Role, ending: Ending, status: Option<u16>, has_error_event: bool, other: OtherAnswer) -> Verdict {
    let verdict = match ending {
        Ending::Complete if has_error_event => Verdict::failed(Blame::Backend),
        Ending::Complete => of_status(status),
        Ending::Broken | Ending::TimedOut => Verdict::failed(Blame::Backend),
        Ending::Missed(miss) => of_miss(miss.kind, other),
        // A failure seen before the application left is still blamed on the backend, but is not a sample.
        Ending::ClientGone | Ending::Drained if has_error_event || status.is_some_and(is_failure) => {
            Verdict::blamed(Blame::Backend)
        }
        Ending::ClientGone => Verdict::blamed(Blame::Client),
        Ending::Drained => Verdict::blamed(Blame::Process),
    };
    match role {
        Role::Candidate => verdict,
        Role::Baseline => Verdict { sample: None, cool_down: None, ..verdict },
    }
}

const fn is_failure(status: u16) -> bool {
    status >= 500 || status == 429
}

/// Judges an answer that was passed on whole.
fn of_status(status: Option<u16>) -> Verdict {
    match status {
        None => Verdict::UNKNOWN,
        Some(101 | 200..=299) => Verdict::COMPLETE,
        Some(429) => Verdict { cool_down: Some(None), ..Verdict::blamed(Blame::Backend) },
        Some(500..) => Verdict::failed(Blame::Backend),
        Some(_) => Verdict::blamed(Blame::Request),
    }
}

fn of_miss(kind: MissKind, other: OtherAnswer) -> Verdict {
    match kind {
        MissKind::Failed => Verdict::failed(Blame::Backend),
        MissKind::Busy(retry_after) => Verdict { cool_down: Some(retry_after), ..Verdict::blamed(Blame::Backend) },
        MissKind::Client => Verdict::blamed(Blame::Client),
        MissKind::Process => Verdict::blamed(Blame::Process),
        MissKind::Rejected { status, misconfigured } => match other {
            OtherAnswer::Unknown => Verdict::UNKNOWN,
            OtherAnswer::Refused => Verdict::blamed(Blame::Request),
            OtherAnswer::NotAsked if !misconfigured => Verdict::blamed(Blame::Request),
            OtherAnswer::NotAsked | OtherAnswer::Differs => of_rejection(status, misconfigured),
        },
    }
}

/// Judges a rejection that was the backend's own. 401, 403, 404 and 405 point to its configuration, which affects every
/// request; other statuses concern this request only.
fn of_rejection(status: u16, misconfigured: bool) -> Verdict {
    match status {
        401 | 403 | 404 | 405 => Verdict::failed(Blame::Configuration),
        408 => Verdict::failed(Blame::Backend),
        _ if misconfigured => Verdict::blamed(Blame::Configuration),
        _ => Verdict::blamed(Blame::Backend),
    }
}

impl Ending {
    /// Returns the `error.type` of a leg that ended like this; `None` if it succeeded.
    pub fn fault(self, status: Option<u16>, has_error_event: bool) -> Option<Fault> {
        match self {
            Self::ClientGone => Some(Fault::ClientGone),
            Self::Drained => Some(Fault::Drained),
            Self::TimedOut => Some(Fault::IdleTimeout),
            Self::Broken if has_error_event => Some(Fault::SseError),
            Self::Broken => Some(Fault::UpstreamReset),
            Self::Missed(miss) => Some(miss.fault),
            Self::Complete if has_error_event => Some(Fault::SseError),
            // A 4xx is an error of the call, though not of the server (HTTP semantic conventions).
            Self::Complete => status.filter(|status| *status >= 400).map(Fault::Status),
        }
    }
}

#[cfg(test)]
mod tests;
