//! Failure of a leg, and its meaning for the backend.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode, response};

use crate::backend::Failure;
use crate::model::{Cause, Engine, Fault};
use crate::outcome::{Miss, MissKind};
use crate::translate::answer::{self, BackendError};

/// Reason for which a leg has no answer to pass on. No byte was passed on.
#[derive(Debug)]
pub enum LegError {
    /// No answer, or an invalid one.
    Failed(Failure),
    /// The backend rejected the request: by its status, in a 200, or in the first events of a stream.
    Rejected {
        /// The status as received, 200 included.
        status: StatusCode,
        /// Cause of a failover.
        cause: Cause,
        /// The `retry-after` of the answer.
        retry_after: Option<HeaderValue>,
        /// The error in OpenAI's terms.
        error: Box<BackendError>,
    },
    /// The process is at its limit of held bytes.
    NoRoom,
}

impl LegError {
    /// Creates the error for an answer with an error status; `body` is empty if it could not be read.
    pub fn of_refusal(engine: Engine, head: &response::Parts, body: &[u8]) -> Self {
        Self::Rejected {
            status: head.status,
            cause: Cause::Status,
            retry_after: head.headers.get(RETRY_AFTER).cloned(),
            error: Box::new(answer::refusal(engine, head.status.as_u16(), body)),
        }
    }

    /// Creates the error for a rejection within a 200.
    pub(super) fn in_answer(cause: Cause, error: BackendError) -> Self {
        Self::Rejected { status: StatusCode::OK, cause, retry_after: None, error: Box::new(error) }
    }

    /// Cause for asking another backend; `None` if the backend is not to blame.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed(failure) => failure.cause(),
            Self::Rejected { cause, .. } => Some(*cause),
            Self::NoRoom => None,
        }
    }

    /// Returns the facts for the verdict. `has_begun` is true if a stream had generated anything.
    pub fn miss(&self, is_stream: bool, has_begun: bool) -> Miss {
        let fault = match self {
            Self::Failed(failure) => failure.fault(is_stream, has_begun),
            Self::Rejected { cause: Cause::ErrorEvent | Cause::BadAnswer, .. } => Fault::SseError,
            Self::Rejected { status, .. } => Fault::Status(status.as_u16()),
            Self::NoRoom => Fault::Shed,
        };
        Miss { fault, kind: self.kind() }
    }

    fn kind(&self) -> MissKind {
        match self {
            Self::NoRoom => MissKind::Process,
            Self::Failed(failure) if failure.cause().is_none() => MissKind::Client,
            Self::Failed(_) => MissKind::Failed,
            Self::Rejected { retry_after, error, .. } if error.status == StatusCode::TOO_MANY_REQUESTS.as_u16() => {
                MissKind::Busy(retry_after.as_ref().and_then(seconds))
            }
            Self::Rejected { status, error, .. } => {
                let is_client_error = status.is_client_error() || (400..500).contains(&error.status);
                // A rejection about the server itself does not blame the request.
                if is_client_error && (!error.unusable || error.misconfigured) {
                    let status = if status.is_client_error() { status.as_u16() } else { error.status };
                    MissKind::Rejected { status, misconfigured: error.misconfigured }
                } else {
                    MissKind::Failed
                }
            }
        }
    }

    /// Replaces the backend's model name in the error's text by the application's.
    pub(super) fn rename_model(mut self, served: Option<&str>, asked: &str) -> Self {
        if let (Self::Rejected { error, .. }, Some(served)) = (&mut self, served.filter(|served| *served != asked)) {
            error.rename_model(served, asked);
        }
        self
    }
}

impl From<Failure> for LegError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads `retry-after`: seconds, or a date (RFC 9110 §10.2.3).
fn seconds(value: &HeaderValue) -> Option<Duration> {
    /// Limit of `retry-after`, in seconds; longer values count as this. Cool-downs have a far lower limit.
    const LONGEST: f64 = 1e6;
    let text = value.to_str().ok()?.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            at.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0)
        }
    };
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}
