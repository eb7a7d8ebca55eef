//! Everything that an epoch of evidence has and that ends with it.

use super::counted::{Ended, Ledger, Tally, Trial};
use super::evidence::{Event, Evidence};
use super::file::{FileFacts, threshold};
use super::moves::Cause;
use crate::config::GuardErrors;

/// Part of the threshold, as a natural logarithm, that suffices after a hold: a tenth. Good answers that were under way
/// at the trip would undo one withdrawal in five otherwise.
const LN_TENTH: f64 = std::f64::consts::LN_10;

/// One epoch of a candidate.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    /// Number, which its trials carry.
    pub(super) number: u64,
    /// Limits that its events are judged by.
    pub(super) errors: GuardErrors,
    /// Chance of a false alarm.
    pub(super) alpha: f64,
    pub(super) ledger: Ledger,
    pub(super) evidence: Evidence,
    /// Cause and reason that were told instead of a withdrawal, with `action = "alert"`.
    pub(super) told: Option<(Cause, String)>,
}

impl Epoch {
    /// Begins with the limits of the file.
    pub(super) fn new(number: u64, facts: &FileFacts) -> Self {
        Self::with_limits(number, facts.errors, facts.alpha)
    }

    /// Begins with given limits.
    pub(super) fn with_limits(number: u64, errors: GuardErrors, alpha: f64) -> Self {
        let evidence = Evidence::new(&errors);
        Self { number, errors, alpha, ledger: Ledger::default(), evidence, told: None }
    }

    /// Adds a trial at its end; true if it is evidence against the candidate.
    pub(super) fn add(&mut self, trial: &Trial, ended: Ended) -> bool {
        let Some(event) = self.ledger.add(trial, ended) else { return false };
        self.evidence.add(event);
        matches!(event, Event::CandidateFault(_))
    }

    /// True if the evidence suffices to act.
    pub(super) fn is_enough(&self, is_blind: bool) -> bool {
        self.evidence.ln(is_blind) >= self.threshold().ln()
    }

    /// True if the evidence suffices after a hold.
    pub(super) fn is_confirmed(&self, is_blind: bool) -> bool {
        self.evidence.ln(is_blind) >= self.threshold().ln() - LN_TENTH
    }

    pub(super) fn threshold(&self) -> f64 {
        threshold(self.alpha)
    }

    pub(super) fn tally(&self) -> Tally {
        self.ledger.tally()
    }
}
