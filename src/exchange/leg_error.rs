//! A leg without an answer to pass on, and what it says about its backend.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::backend::Failure;
use crate::model::{Cause, Fault};
use crate::outcome::{Miss, MissKind};
use crate::translate::answer::BackendError;

/// Why a leg has no answer that can be passed on. No byte of it has been.
#[derive(Debug)]
pub enum LegError {
    /// No answer came, or one that is none.
    Failed(Failure),
    /// The backend refused: with a status other than 2xx, in a 200, or in the first events of a stream.
    Rejected {
        /// The status as it came, 200 included.
        status: StatusCode,
        /// The word for a failover.
        cause: Cause,
        /// The `retry-after` of the answer.
        retry_after: Option<HeaderValue>,
        /// The refusal in OpenAI's terms.
        error: Box<BackendError>,
    },
    /// The process holds as many bytes as it may.
    NoRoom,
}

impl LegError {
    /// The backend's own error in an answer that came with 200.
    pub(super) fn in_answer(cause: Cause, error: BackendError) -> Self {
        Self::Rejected { status: StatusCode::OK, cause, retry_after: None, error: Box::new(error) }
    }

    /// Why another backend may be asked; `None` where the backend is not to blame.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Failed(failure) => failure.cause(),
            Self::Rejected { cause, .. } => Some(*cause),
            Self::NoRoom => None,
        }
    }

    /// The facts that the leg is judged by. `has_begun` is true if a stream had generated anything.
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
                // A refusal that speaks of the server itself does not blame the request.
                if is_client_error && (!error.unusable || error.misconfigured) {
                    let status = if status.is_client_error() { status.as_u16() } else { error.status };
                    MissKind::Rejected { status, misconfigured: error.misconfigured }
                } else {
                    MissKind::Failed
                }
            }
        }
    }

    /// Makes the application's name for the model of the backend's, in the backend's words.
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
    /// Longest wait taken at its word, in seconds; a cool-down is bounded far below it.
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
