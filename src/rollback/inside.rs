//! The state behind the lock: guards, trials under way, the baseline's health, the history.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ends;
use super::entry::{Entry, Totals};
use super::history::History;
use super::trial::Trials;
use crate::guard::{BaselineHealth, Ended, Move, Now, OtherSide, State, Waiting};
use crate::live::InForce;
use crate::outcome::{LegKind, Outcome, Role};

/// State that requests, the reader of the file and the ticker share.
#[derive(Debug)]
pub(super) struct Inside {
    /// A guard for each candidate of the file.
    pub(super) entries: Vec<Entry>,
    pub(super) waiting: Waiting<Box<Trials>>,
    pub(super) baseline: BaselineHealth,
    pub(super) history: History,
    /// Counters of candidates that left the file, for those that return; the number is bounded by whoever adds.
    pub(super) gone: BTreeMap<String, Totals>,
    pub(super) next_number: u64,
    /// True if the state differs from that of the file.
    pub(super) is_changed: bool,
    pub(super) saved_at: Instant,
}

impl Inside {
    /// Returns the number of the next guard and that of its first epoch.
    pub(super) fn number(&mut self) -> (u64, u64) {
        let number = self.next_number;
        self.next_number += 1;
        (number, 1)
    }

    /// True if a candidate is held.
    pub(super) fn has_hold(&self) -> bool {
        self.entries.iter().any(|entry| entry.guard.state() == State::Held)
    }

    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    pub(super) fn decide(&mut self, trials: &Trials, end: (Ended, &'static str), now: Now) -> Vec<(u64, Move)> {
        let mut moves = Vec::new();
        for (number, trial) in &trials.of {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == *number) {
                let of = entry.trial((trial, trials.trace), end, now);
                moves.extend(of.into_iter().map(|one| (*number, one)));
            }
        }
        moves
    }

    /// Tells a candidate's guard how its breaker changed.
    pub(super) fn breaker(&mut self, in_force: &InForce, name: &str, now: Now) -> Vec<(u64, Move)> {
        let is_well = self.baseline.is_well(now.at);
        let id = in_force.snapshot.config.backend(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name() == name);
        let (Some(id), Some(entry)) = (id, entry) else { return Vec::new() };
        let number = entry.number;
        let moves = entry.breaker(in_force.health(id).report(now.at), is_well, now);
        moves.into_iter().map(|one| (number, one)).collect()
    }

    /// Notes how the baseline answered, whatever sent the request there.
    pub(super) fn note_baseline(&mut self, outcome: &Outcome, now: Instant) {
        let served = outcome.legs.iter().filter(|leg| leg.role == Role::Baseline && leg.kind == LegKind::Served);
        for leg in served.filter(|_| outcome.operation.is_some()) {
            match ends::of_leg(leg, OtherSide::NotAnswered) {
                Ended::Answered => self.baseline.answered(true, now),
                Ended::Failed(_) | Ended::Cut => self.baseline.answered(false, now),
                _ => {}
            }
        }
    }
}
