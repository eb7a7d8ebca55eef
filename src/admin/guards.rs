//! Guards in `/status`.

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::guard::{Rates, Sides};
use crate::rollback::CandidateGuard;
use crate::telemetry::log::rfc3339;

/// Guard of a candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuardStatus {
    /// `watching`, `held` or `rolled_back`.
    pub state: String,
    /// Time from which it is in this state, RFC 3339.
    pub since: String,
    /// Cause of the state; `null` if nothing has happened.
    pub cause: Option<String>,
    /// A sentence with the numbers; `null` if nothing has happened.
    pub why: Option<String>,
    /// End of the hold; `null` unless it is held.
    pub until: Option<String>,
    /// Trials of the epoch.
    pub trials: Sides,
    /// Failures that counted.
    pub counted: Sides,
    /// Failures for each trial; `null` without trials.
    pub rate: Rates,
    /// Distinct keys among the candidate's trials; exact to 1,000, then estimated.
    pub keys: u64,
    /// Evidence against the candidate.
    pub evidence: f64,
    /// Evidence at which the guard acts.
    pub threshold: f64,
    /// `blind`, `suspicious`, `insufficient` or `healthy`.
    pub verdict: String,
    /// Requests that are missing for a judgement; `null` if no number suffices.
    pub needs: Option<u64>,
    /// A sentence: until when, or the command that lifts it.
    pub next: String,
}

/// The state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateStatus {
    /// Its path.
    pub path: String,
    /// Error for which the state is in memory alone; `null` if the file is written.
    pub error: Option<String>,
}

impl GuardStatus {
    /// Converts a guard to the names of `/status`.
    pub(super) fn of(guard: &CandidateGuard) -> Self {
        let report = &guard.report;
        Self {
            state: report.state.as_str().to_owned(),
            since: rfc3339(report.since),
            cause: report.cause.map(|cause| cause.as_str().to_owned()),
            why: report.why.clone(),
            until: report.until.map(rfc3339),
            trials: report.tally.trials,
            counted: report.tally.counted,
            rate: report.tally.rates(),
            keys: report.keys,
            evidence: report.ln_evidence.exp(),
            threshold: report.threshold,
            verdict: report.verdict.as_str().to_owned(),
            needs: report.needs,
            next: report.next.clone(),
        }
    }
}

impl StateStatus {
    /// Returns the state file of the process; `None` without one.
    pub(super) fn of(view: &View) -> Option<Self> {
        let (path, error) = view.guard.state.as_ref()?;
        Some(Self { path: path.display().to_string(), error: error.clone() })
    }
}
