//! Updates the counters of backends, routes and the process.

use std::sync::Arc;

use crate::choose::Choice;
use crate::model::{Cause, End, Reason};
use crate::outcome::{Blame, Decided, LegEnd, Outcome};
use crate::stats::{ShareStats, Stats};

/// Counts a decision. `decided` and `asked` are the counters of the backend decided for and of the backend asked, on
/// the request's route.
pub(super) fn decided(choice: &Choice, decided: &ShareStats, asked: &ShareStats) {
    let (_, why) = choice.decided();
    decided.decided(why);
    asked.asked(choice.reason());
}

/// Counts a leg.
pub(super) fn leg_ended(leg: &LegEnd) {
    let stats = &leg.stats;
    if leg.verdict.is_error() {
        stats.errors.add(1);
    }
    if leg.verdict.blame == Some(Blame::Configuration) {
        stats.misconfigured.add(1);
    }
    stats.served.add(u64::from(leg.was_passed_on));
    if leg.verdict.is_complete && leg.was_passed_on {
        if let (Some(sent_at), Some(last)) = (leg.sent_at(), leg.attempts.last()) {
            stats.total.record(last.ended_at.saturating_duration_since(sent_at));
        }
        if let Some(waited) = leg.first_token_after() {
            stats.ttft.record(waited);
        }
    }
    if let Some(usage) = leg.facts.usage {
        stats.input_tokens.add(usage.input);
        stats.output_tokens.add(usage.output);
    }
    stats.noticed(leg.notes);
    if let Some(ledger) = &leg.ledger {
        stats.translated(ledger);
    }
    for attempt in &leg.attempts {
        if attempt.is_replay {
            stats.retried(None);
        }
        if let Some(by) = attempt.cancelled {
            stats.cancelled(by);
        }
    }
}

/// Counts a failed leg after which another backend is asked.
pub(super) fn failed_over(leg: &LegEnd, cause: Cause) {
    leg.stats.failovers.add(1);
    leg.stats.retried(Some(cause));
}

/// Counts a request.
pub(super) fn ended(stats: &Arc<Stats>, outcome: &Outcome) {
    stats.end(outcome.end);
    if let Some(Reason::Refused(refusal)) = outcome.reason {
        stats.refuse(refusal);
    }
    if let Some(by) = &outcome.residency {
        by.rules.iter().for_each(|rule| rule.placed(by.placement));
    }
    let nano_usd = nano_usd(outcome);
    if let (Some(nano_usd), Some(leg)) = (nano_usd, outcome.legs.last()) {
        leg.stats.priced.add(1);
        leg.stats.nano_usd.add(nano_usd);
    }
    if let Some(decided) = &outcome.decided {
        share_ended(decided, (&outcome.legs, outcome.end), nano_usd);
    }
}

/// Returns the cost of the last leg's answer in 10⁻⁹ USD, if it is known.
fn nano_usd(outcome: &Outcome) -> Option<u64> {
    let usd = outcome.cost_usd.filter(|usd| usd.is_finite() && *usd >= 0.0)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative")]
    let nano_usd = (usd * 1e9) as u64;
    Some(nano_usd)
}

/// Counts the result of a request that the split decided, at the backend that it chose.
fn share_ended(decided: &Decided, (legs, end): (&[LegEnd], End), nano_usd: Option<u64>) {
    let (_, why) = decided.choice.decided();
    let first = legs.first().filter(|leg| leg.backend.name == decided.backend.name && !leg.attempts.is_empty());
    let Some(leg) = first.filter(|_| why.is_share()) else { return };
    let has_begun = leg.was_passed_on && leg.facts.first_content.is_some();
    if end == End::ClientGone && has_begun {
        decided.share.signals().aborts.add(1);
    }
    let results = decided.share.results();
    results.attempted.add(1);
    if leg.verdict.is_error() {
        results.failed.add(1);
    } else if leg.was_passed_on {
        results.served.add(1);
        if let Some(nano_usd) = nano_usd {
            results.priced.add(1);
            results.nano_usd.add(nano_usd);
        }
    }
}

#[cfg(test)]
mod tests;
