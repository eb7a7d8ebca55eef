//! The guards as the admin port shows them.

use std::path::PathBuf;

use super::entry::Entry;
use crate::guard::{Report, Sides, State};
use crate::model::Percent;

/// The guards at one moment.
#[derive(Debug, Clone, Default)]
pub struct GuardSeen {
    /// Guarded candidates.
    pub candidates: Vec<CandidateGuard>,
    /// Requests whose age was not watched because too many waited.
    pub unwatched: u64,
    /// Messages by result.
    pub messages: Vec<(&'static str, u64)>,
    /// The state file, with the error for which it is not written; `None` without one.
    pub state: Option<(PathBuf, Option<String>)>,
    /// Failures of the state file.
    pub state_errors: u64,
}

/// One candidate's guard.
#[derive(Debug, Clone)]
pub struct CandidateGuard {
    /// Name of the candidate.
    pub name: String,
    /// Its state and evidence.
    pub report: Report,
    /// Trials since the start of the process.
    pub trials: Sides,
    /// Counted failures since the start of the process.
    pub counted: Sides,
    /// Failures since the start of the process.
    pub faults: Vec<FaultCount>,
}

/// Number of failures.
#[derive(Debug, Clone)]
pub struct FaultCount {
    /// `candidate` or `baseline`.
    pub role: &'static str,
    /// Cause.
    pub cause: &'static str,
    /// Their number.
    pub count: u64,
}

/// Returns a candidate as it is shown; `shares` are its percents and the baseline's by route, `copies` those that it
/// answered, and answered or failed, since it was withdrawn.
pub(super) fn candidate(entry: &Entry, shares: &[(Percent, Percent)], copies: (u64, u64)) -> CandidateGuard {
    let faults = entry.totals.faults.iter();
    let mut report = entry.guard.report(Entry::weight(shares));
    if report.state != State::Watching && copies.1 > 0 {
        report.next.push_str(&format!("; it answered {} of {} copies since", copies.0, copies.1));
    }
    CandidateGuard {
        name: entry.name().to_owned(),
        report,
        trials: entry.totals.trials,
        counted: entry.totals.counted,
        faults: faults.map(|((role, cause), count)| FaultCount { role, cause, count: *count }).collect(),
    }
}
