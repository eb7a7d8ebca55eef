//! The end of a request's first leg in the guard's terms. Pure.

use crate::guard::{Ended, OtherSide};
use crate::model::Fault;
use crate::outcome::{Ending, LegEnd, MissKind, Outcome};

/// Cause of the failures of which the age decided.
pub(super) const OVERDUE: &str = "overdue";
/// Cause of the failures of answers that broke off.
pub(super) const CUT: &str = "cut";

/// Returns the end of the leg that the split chose, and the cause if it is a failure. `has_failover` is the file's.
pub(super) fn of(outcome: &Outcome, has_failover: bool) -> Option<(Ended, &'static str)> {
    let leg = outcome.legs.first()?;
    let other = match outcome.legs.get(1) {
        Some(second) => other_side(second),
        None if has_failover => OtherSide::NotAnswered,
        None => OtherSide::FailoverOff,
    };
    Some((of_leg(leg, other), cause(leg)))
}

/// Returns the end of a leg; `other` is the other side's answer to the same request.
pub(super) fn of_leg(leg: &LegEnd, other: OtherSide) -> Ended {
    match leg.ending {
        Ending::Complete if leg.facts.error_event => Ended::Cut,
        Ending::Complete => match leg.last_status() {
            Some(200..=299) => Ended::Answered,
            Some(429) => Ended::Limited,
            Some(400..=499) => Ended::Refused(other),
            Some(500..) => Ended::Failed(other),
            _ => Ended::ClientGone,
        },
        Ending::Broken | Ending::TimedOut => Ended::Cut,
        Ending::Missed(miss) => match miss.kind {
            MissKind::Failed => Ended::Failed(other),
            MissKind::Busy(_) => Ended::Limited,
            MissKind::Rejected { .. } => Ended::Refused(other),
            MissKind::Client | MissKind::Process => Ended::ClientGone,
        },
        Ending::ClientGone | Ending::Drained => Ended::ClientGone,
    }
}

/// Classifies the answer of the baseline to a request that a candidate had failed.
fn other_side(leg: &LegEnd) -> OtherSide {
    match of_leg(leg, OtherSide::NotAnswered) {
        Ended::Answered => OtherSide::Answered,
        Ended::Refused(_) => OtherSide::Refused,
        _ => OtherSide::NotAnswered,
    }
}

/// Names the cause of a leg's failure as failovers do.
fn cause(leg: &LegEnd) -> &'static str {
    let is_cut = matches!(of_leg(leg, OtherSide::NotAnswered), Ended::Cut);
    if is_cut && (leg.facts.first_content.is_some() || !leg.facts.error_event) {
        return CUT;
    }
    match leg.attempts.last().and_then(|attempt| attempt.fault) {
        Some(Fault::Connect | Fault::Dns) => "connect",
        Some(Fault::Tls) => "tls",
        Some(Fault::TtftTimeout | Fault::IdleTimeout | Fault::Deadline) => "timeout",
        Some(Fault::BadUpstream) => "bad_answer",
        Some(Fault::SseError) => "error_event",
        Some(Fault::Status(_)) => "status",
        _ => "reset",
    }
}
