//! The log line of a move, and its span.

use crate::guard::{Move, MoveKind};
use crate::telemetry::SPANS;

/// Logs a move of the candidate `name`.
pub(super) fn log(name: &str, one: &Move) {
    let (from, to, why) = (one.from.as_str(), one.to.as_str(), one.why.as_str());
    match one.kind {
        MoveKind::Held | MoveKind::RolledBack => {
            // Before the span: a filter that was asked about an event and saw none drops the next span of its thread.
            tracing::warn!(backend = name, event = one.kind.as_str(), from, to, "{why}");
            let tally = &one.tally;
            // tracing-opentelemetry exports only `i64` as an integer; other integers become strings.
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let span = tracing::info_span!(
                target: SPANS,
                "shiftgate.rolled_back",
                shiftgate.backend = name,
                shiftgate.guard.event = one.kind.as_str(),
                shiftgate.guard.cause = one.cause.as_str(),
                shiftgate.guard.why = why,
                shiftgate.guard.evidence = one.evidence,
                shiftgate.guard.threshold = one.threshold,
                shiftgate.guard.candidate.trials = number(tally.trials.candidate),
                shiftgate.guard.candidate.counted = number(tally.counted.candidate),
                shiftgate.guard.baseline.trials = number(tally.trials.baseline),
                shiftgate.guard.baseline.counted = number(tally.counted.baseline),
            );
            drop(span);
        }
        MoveKind::Released | MoveKind::Lifted => {
            tracing::info!(backend = name, event = one.kind.as_str(), from, to, "{why}");
        }
    }
}
