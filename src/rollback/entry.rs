//! One candidate: its guard, and what is counted and remembered beside it.

use std::collections::{BTreeMap, VecDeque};

use crate::guard::{BreakerChange, Ended, Guard, Move, Now, Side, Sides, Tally, Trial};
use crate::health::{Report, State};
use crate::model::{Percent, TraceId};

/// Number of traces that a message names: enough to look at, and few in a chat window.
const TRACES: usize = 5;

/// A candidate.
#[derive(Debug)]
pub(super) struct Entry {
    /// Number of the guard in this process; trials name it, so that none goes to a later guard of the same name.
    pub(super) number: u64,
    pub(super) guard: Guard,
    /// Counters since the start of the process.
    pub(super) totals: Totals,
    /// Traces of the candidate's last failures, the latest last; at most [`TRACES`].
    pub(super) traces: VecDeque<TraceId>,
    /// Copies that it had answered, and answered or failed, when it was withdrawn.
    pub(super) copies: (u64, u64),
    /// Its breaker when it was last looked at.
    breaker: Report,
}

/// Counters over all epochs.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) trials: Sides,
    pub(super) counted: Sides,
    /// Failures by side and cause, both closed lists.
    pub(super) faults: BTreeMap<(&'static str, &'static str), u64>,
}

impl Entry {
    pub(super) fn new(number: u64, guard: Guard, totals: Totals, breaker: Report) -> Self {
        Self { number, guard, totals, traces: VecDeque::new(), copies: (0, 0), breaker }
    }

    /// Name of the candidate.
    pub(super) fn name(&self) -> &str {
        &self.guard.facts().candidate
    }

    /// Adds the end of a trial. `cause` counts if it is a failure.
    pub(super) fn trial(
        &mut self,
        (trial, trace): (&Trial, TraceId),
        (ended, cause): (Ended, &'static str),
        now: Now,
    ) -> Vec<Move> {
        let before = self.guard.tally();
        let moves = self.guard.trial(trial, ended, now);
        let after = self.guard.tally();
        let more = |of: fn(&Tally) -> Sides| Sides {
            candidate: of(&after).candidate.saturating_sub(of(&before).candidate),
            baseline: of(&after).baseline.saturating_sub(of(&before).baseline),
        };
        for (total, more) in [
            (&mut self.totals.trials, more(|tally| tally.trials)),
            (&mut self.totals.counted, more(|tally| tally.counted)),
        ] {
            total.candidate += more.candidate;
            total.baseline += more.baseline;
        }
        let faults = more(|tally| tally.faults);
        for (role, count) in [("candidate", faults.candidate), ("baseline", faults.baseline)] {
            if count > 0 {
                *self.totals.faults.entry((role, cause)).or_default() += count;
            }
        }
        if faults.candidate > 0 && trial.side == Side::Candidate {
            self.traces.push_back(trace);
            if self.traces.len() > TRACES {
                self.traces.pop_front();
            }
        }
        moves
    }

    /// Looks at the breaker, and tells the guard what changed since the last look.
    pub(super) fn breaker(&mut self, report: Report, is_baseline_well: bool, now: Now) -> Vec<Move> {
        let before = std::mem::replace(&mut self.breaker, report);
        let probes = report.probes_failed.saturating_sub(before.probes_failed);
        let opened = report.opened.saturating_sub(before.opened).saturating_sub(probes);
        let is_closed = |report: &Report| report.state == State::Closed;
        let closed = is_closed(&report) && (opened > 0 || probes > 0 || !is_closed(&before));
        let changes = std::iter::repeat_n(BreakerChange::Opened, times(opened))
            .chain(std::iter::repeat_n(BreakerChange::ProbeFailed, times(probes)))
            .chain(closed.then_some(BreakerChange::Closed));
        changes.flat_map(|change| self.guard.breaker(change, is_baseline_well, now)).collect()
    }

    /// Candidate's part of its share and the baseline's, over the routes that both serve.
    pub(super) fn weight(shares: &[(Percent, Percent)]) -> f64 {
        let both = shares.iter().filter(|(own, left)| *own > Percent::ZERO && *left > Percent::ZERO);
        let (own, left) =
            both.fold((0.0, 0.0), |(own, left), (one, other)| (own + one.as_f64(), left + other.as_f64()));
        // The floor alone is looked at where the baseline serves none of it.
        if own > 0.0 { own / (own + left) } else { 1.0 }
    }
}

/// Number of changes between two looks: more than the guard remembers make no difference.
fn times(changes: u64) -> usize {
    usize::try_from(changes.min(64)).unwrap_or(64)
}
