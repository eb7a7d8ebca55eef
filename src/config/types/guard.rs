//! The guard, which withdraws a candidate that fails.

use std::time::Duration;

use super::backend::SecretSource;
use crate::model::Secret;

/// `[guard]`: tests of each candidate's failures, and the action that follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// `errors`: the limits that a candidate has to keep.
    pub errors: GuardErrors,
    /// Chance, above 0 and up to 0.5, that a candidate within the limits is withdrawn; for each epoch and process.
    pub alpha: f64,
    /// Action when the evidence against a candidate suffices.
    pub action: GuardAction,
    /// Number whose change lifts every withdrawal.
    pub resume: u64,
    /// Receiver of messages; `None` if nobody is told.
    pub notify: Option<Notify>,
}

impl Default for Guard {
    fn default() -> Self {
        let errors = GuardErrors { max_ratio: 1.5, floor: 0.005, overdue: Duration::from_secs(30) };
        Self { errors, alpha: 0.01, action: GuardAction::Rollback, resume: 0, notify: None }
    }
}

/// `errors`: limits of a candidate's failure rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardErrors {
    /// Limit, 1 to 100, of the candidate's failure rate over the baseline's.
    pub max_ratio: f64,
    /// Failure rate, above 0 and up to 0.5, below which a candidate is never withdrawn.
    pub floor: f64,
    /// Age at which a streamed request without a generated token is a failure; ten times as long for one that is not
    /// streamed. At least 100 ms.
    pub overdue: Duration,
}

/// `action`: consequence of sufficient evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardAction {
    /// The candidate's requests go to the baseline.
    Rollback,
    /// A message is sent and nothing is withdrawn.
    Alert,
}

/// `notify`: receiver of messages about held, withdrawn and lifted candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Place that the URL is read from; `None` if it is written in the file itself.
    pub source: Option<SecretSource>,
    /// The URL, which may contain a token; absent if it is not in the file and secrets were not read.
    pub url: Option<Secret>,
    /// Form of a message.
    pub format: NotifyFormat,
}

/// `format`: form of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyFormat {
    /// All fields of the event.
    Json,
    /// One field, `text`, as Slack and its like expect it.
    Slack,
}
