//! Sentences for people: why a candidate is in its state, and what to do next.

use jiff::Timestamp;

use super::breaker;
use super::counted::{Side, Tally};
use super::file::FileFacts;
use super::moves::{Lift, State};
use super::needs::{MULTIPLE, Verdict};
use crate::config::GuardAction;

/// `20 of 512 requests of qwen failed (3.9 %), 3 of 9000 of openai (0.033 %)`.
fn rates(facts: &FileFacts, tally: &Tally) -> String {
    let rate = |side| tally.rate(side).map(|rate| format!(" ({} %)", figure(rate * 100.0))).unwrap_or_default();
    let (own, other) = (rate(Side::Candidate), rate(Side::Baseline));
    let Tally { trials, faults, .. } = tally;
    format!(
        "{} of {} requests of {} failed{own}, {} of {} of {}{other}",
        faults.candidate, trials.candidate, facts.candidate, faults.baseline, trials.baseline, facts.baseline
    )
}

/// The reason to hold it.
pub(super) fn held(facts: &FileFacts, tally: &Tally, evidence: f64, threshold: f64) -> String {
    let rates = rates(facts, tally);
    format!("{rates}: the evidence is {}, and {} is enough", figure(evidence), figure(threshold))
}

/// The reason to withdraw it after a hold.
pub(super) fn confirmed(facts: &FileFacts, tally: &Tally, evidence: f64, threshold: f64) -> String {
    let rates = rates(facts, tally);
    let (evidence, bar) = (figure(evidence), figure(threshold / 10.0));
    format!("{rates}: with what came in during the hold the evidence is {evidence}, and {bar} is enough")
}

/// The reason to watch it again after a hold.
pub(super) fn released(facts: &FileFacts, evidence: f64, threshold: f64) -> String {
    let (baseline, bar) = (&facts.baseline, figure(threshold / 10.0));
    format!("{baseline} had failed as well: the evidence fell to {}, below {bar}, during the hold", figure(evidence))
}

/// The reason to withdraw it because of its breaker's openings.
pub(super) fn breaker_opened(facts: &FileFacts) -> String {
    let (openings, minutes) = (breaker::OPENINGS, breaker::WITHIN.as_secs() / 60);
    let FileFacts { candidate, baseline, .. } = facts;
    format!("the breaker of {candidate} opened {openings} times within {minutes} minutes, while {baseline} was well")
}

/// The reason to withdraw it because its breaker does not close.
pub(super) fn breaker_not_closed(facts: &FileFacts, probes: u64) -> String {
    let minutes = breaker::NOT_CLOSED.as_secs() / 60;
    let FileFacts { candidate, baseline, .. } = facts;
    format!(
        "the breaker of {candidate} has not closed for {minutes} minutes and {probes} probes failed, while {baseline} \
         was well"
    )
}

/// Marks a reason of a guard that only alerts.
pub(super) fn alerted(why: &str) -> String {
    format!("{why}; action is \"alert\", so nothing is withdrawn")
}

/// The way by which it was lifted.
pub(super) fn lifted(facts: &FileFacts, lift: &Lift) -> String {
    let candidate = &facts.candidate;
    match lift {
        Lift::PercentZero => format!("{candidate} is at 0 % on every route of the file"),
        Lift::Resumed { from, to } => format!("resume is {to} in the file, it was {from}"),
        Lift::Renamed => "the rollout has another name".to_owned(),
        Lift::Candidate(keys) => format!("{candidate} is another one: {} changed in the file", keys.join(", ")),
        Lift::GuardGone => "the file has no [guard] any more".to_owned(),
        Lift::CandidateGone => format!("{candidate} is not a candidate of the file any more"),
    }
}

/// The warning of a save that does not lift it.
pub(super) fn still(facts: &FileFacts, state: State, since: Timestamp, why: &str) -> String {
    let (candidate, state) = (&facts.candidate, verb(state));
    format!("{candidate} has been {state} since {}: {why}. This save does not lift it; {}", time(since), to_lift(facts))
}

/// Returns the next step: until when, or the exact command that lifts it. `is_told` is true if the candidate would be
/// withdrawn but for `action = "alert"`.
pub(super) fn next(
    facts: &FileFacts,
    (state, until, is_told): (State, Option<Timestamp>, bool),
    verdict: Verdict,
    needs: Option<u64>,
) -> String {
    let candidate = &facts.candidate;
    let withdrawn = if facts.action == GuardAction::Alert { "reported" } else { "withdrawn" };
    match (state, until) {
        (State::Held, Some(until)) => format!("it is looked at again at {}; {}", time(until), to_lift(facts)),
        (State::Held | State::RolledBack, _) => to_lift(facts),
        (State::Watching, _) if facts.is_at_zero => format!("{candidate} is at 0 %: nothing is counted"),
        (State::Watching, _) if is_told => {
            format!("{candidate} goes on serving, because action is \"alert\"; to withdraw it, set its percent to 0")
        }
        (State::Watching, _) => {
            let rate = figure((MULTIPLE * facts.errors.floor).min(1.0) * 100.0);
            match (verdict, needs) {
                (Verdict::Blind, _) => {
                    let baseline = &facts.baseline;
                    format!("{baseline} has no share on any route of {candidate}: only the floor and its breaker count")
                }
                (Verdict::Suspicious, _) => {
                    format!("{candidate} is {withdrawn} at an evidence of {}", figure(facts.threshold()))
                }
                (_, Some(0)) => format!("{candidate} would have been {withdrawn} if {rate} % of its requests failed"),
                (_, Some(needs)) => {
                    format!(
                        "about {needs} more requests until {candidate} would be {withdrawn} if {rate} % of them failed"
                    )
                }
                (_, None) => {
                    let baseline = &facts.baseline;
                    format!("{baseline} fails so often that {candidate} may fail in {rate} % of its requests")
                }
            }
        }
    }
}

fn to_lift(facts: &FileFacts) -> String {
    format!("to lift it: {}", facts.resume_command)
}

/// Continues "it has been".
const fn verb(state: State) -> &'static str {
    match state {
        State::Watching => "watched",
        State::Held => "held",
        State::RolledBack => "rolled back",
    }
}

/// Formats as `2026-11-22T18:00:00Z`.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats with two figures that matter, and large numbers as a power: `0.033`, `3.9`, `131`, `1e300`.
pub(super) fn figure(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{n:.0e}"),
        n if n >= 10.0 => format!("{n:.0}"),
        n if n >= 1.0 => trimmed(format!("{n:.1}")),
        n if n >= 1e-4 => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 4")]
            let zeros = (-n.log10()).floor() as usize;
            trimmed(format!("{n:.*}", zeros + 2))
        }
        n if n > 0.0 => format!("{n:.0e}"),
        _ => "0".to_owned(),
    }
}

fn trimmed(decimals: String) -> String {
    match decimals.contains('.') {
        true => decimals.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => decimals,
    }
}
