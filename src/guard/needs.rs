//! How many requests it takes until the tests see a candidate that fails: closed forms, which are 0.9 to 1.4 times what
//! simulation takes.

use super::counted::{Side, Tally};
use super::evidence::{floor_gain, ln_alternatives, ratio_gain};
use super::file::threshold;
use crate::config::GuardErrors;

/// Multiple of the floor whose detection is asked for.
pub const MULTIPLE: f64 = 5.0;

/// A situation in which a candidate begins to fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Limits of the guard.
    pub errors: GuardErrors,
    /// Chance of a false alarm.
    pub alpha: f64,
    /// Candidate's part of its share and the baseline's, above 0 and up to 1; 1 without a share of the baseline.
    pub weight: f64,
    /// Failure rate of the baseline; one below the floor is taken as the floor.
    pub baseline_rate: f64,
    /// Failure rate of the candidate.
    pub candidate_rate: f64,
    /// Counted events before.
    pub counted: u64,
}

impl Outlook {
    /// Number of requests of the routes until the evidence suffices, by the larger one of the two tests; `None` if it
    /// never does, because the limits allow this rate.
    pub fn requests(&self) -> Option<f64> {
        let floor = self.by_floor()?;
        // With the whole share there is no baseline to compare with.
        if self.weight >= 1.0 { Some(floor) } else { Some(floor.max(self.by_ratio()?)) }
    }

    fn by_ratio(&self) -> Option<f64> {
        let baseline = self.baseline_rate.max(self.errors.floor);
        let gain = ratio_gain(self.weight, self.candidate_rate / baseline, self.errors.max_ratio);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let start = 2.0 * (self.counted.max(1) as f64).ln();
        let events = (threshold(self.alpha).ln() + ln_alternatives().0 + start) / gain;
        let events_per_request = self.weight * self.candidate_rate + (1.0 - self.weight) * baseline;
        positive(gain).and_then(|_| positive(events / events_per_request))
    }

    fn by_floor(&self) -> Option<f64> {
        let gain = floor_gain(self.candidate_rate, self.errors.floor);
        let trials = (threshold(self.alpha).ln() + ln_alternatives().1) / gain;
        positive(gain).and_then(|_| positive(trials / self.weight))
    }
}

fn positive(number: f64) -> Option<f64> {
    (number.is_finite() && number > 0.0).then_some(number)
}

/// Number of further requests of the candidate's routes until a failure rate of five times the floor would be seen;
/// `None` if it would never be, because the baseline fails so often that the limit allows it.
///
/// `weight` is that of the file at this moment; `is_blind`: the baseline has no share on any route of the candidate.
pub fn needs(errors: &GuardErrors, alpha: f64, weight: f64, is_blind: bool, tally: &Tally) -> Option<u64> {
    let outlook = Outlook {
        errors: *errors,
        alpha,
        weight: if is_blind { 1.0 } else { weight },
        baseline_rate: tally.rate(Side::Baseline).unwrap_or(0.0),
        candidate_rate: (MULTIPLE * errors.floor).min(1.0),
        counted: tally.counted.candidate + tally.counted.baseline,
    };
    let seen = tally.trials.candidate + if is_blind { 0 } else { tally.trials.baseline };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; a larger one saturates")]
    outlook.requests().map(|requests| (requests.ceil() as u64).saturating_sub(seen))
}

/// Judgement of an epoch, in words for people; nothing acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The baseline has no share on any route of the candidate: nothing can be compared.
    Blind,
    /// There is some evidence against the candidate, and a counted failure.
    Suspicious,
    /// Too few requests have come to see a candidate that fails.
    Insufficient,
    /// A candidate that fails would have been seen.
    Healthy,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Blind, Self::Suspicious, Self::Insufficient, Self::Healthy];

    /// Text in `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Suspicious => "suspicious",
            Self::Insufficient => "insufficient",
            Self::Healthy => "healthy",
        }
    }

    /// Judges; `needs` of [`needs`].
    pub fn of(is_blind: bool, ln_evidence: f64, counted_of_candidate: u64, needs: Option<u64>) -> Self {
        if is_blind {
            Self::Blind
        } else if ln_evidence >= 0.0 && counted_of_candidate > 0 {
            Self::Suspicious
        } else if needs != Some(0) {
            Self::Insufficient
        } else {
            Self::Healthy
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::counted::Sides;
    use super::*;

    const ERRORS: GuardErrors = GuardErrors { max_ratio: 1.5, floor: 0.005, overdue: Duration::from_secs(30) };

    fn tally(trials: [u64; 2], faults: [u64; 2], counted: [u64; 2]) -> Tally {
        let sides = |[candidate, baseline]: [u64; 2]| Sides { candidate, baseline };
        Tally { trials: sides(trials), faults: sides(faults), counted: sides(counted) }
    }

    /// The closed forms of the page, written out for one case.
    #[test]
    fn the_closed_form_by_hand() {
        let (w, k, m): (f64, f64, f64) = (0.05, 5.0, 1.5);
        let theta = w * k / (1.0 - w + w * k);
        let at_limit = w * m / (1.0 - w + w * m);
        let gain = |r: f64| {
            let under = at_limit * r / (1.0 - at_limit + at_limit * r);
            theta * (under / at_limit).ln() + (1.0 - theta) * ((1.0 - under) / (1.0 - at_limit)).ln()
        };
        let best = [1.5, 2.0, 3.0, 5.0, 10.0, 30.0].map(gain).into_iter().fold(f64::MIN, f64::max);
        let events = (100_f64.ln() + 6_f64.ln()) / best;
        let requests = events / (w * 0.025 + (1.0 - w) * 0.005);
        assert_eq!(needs(&ERRORS, 0.01, w, false, &Tally::default()), Some(requests.ceil() as u64));
        // Events of the past cost, requests of the past are taken off.
        let seen = tally([500, 9_500], [0, 50], [0, 50]);
        let events = (100_f64.ln() + 6_f64.ln() + 2.0 * 50_f64.ln()) / ratio_gain(w, 0.025 / (50.0 / 9_500.0), m);
        let left = events / (w * 0.025 + (1.0 - w) * (50.0 / 9_500.0)) - 10_000.0;
        assert_eq!(needs(&ERRORS, 0.01, w, false, &seen), Some(left.ceil() as u64));
        let floor = [2.0, 4.0, 16.0, 64.0_f64].map(|n| {
            let q = (n * 0.005).min(0.9);
            0.025 * (q / 0.005).ln() + 0.975 * ((1.0 - q) / 0.995_f64).ln()
        });
        let trials = (100_f64.ln() + 4_f64.ln()) / floor.into_iter().fold(f64::MIN, f64::max);
        assert_eq!(needs(&ERRORS, 0.01, w, true, &Tally::default()), Some(trials.ceil() as u64));
    }

    #[test]
    fn never_is_not_a_number() {
        let half = tally([100, 1_000], [0, 500], [0, 500]);
        assert_eq!(needs(&ERRORS, 0.01, 0.05, false, &half), None, "2.5 % is within the limit of a baseline at 50 %");
        let large = GuardErrors { floor: 0.5, ..ERRORS };
        assert!(needs(&large, 0.01, 0.05, false, &Tally::default()).is_some());
        assert_eq!(needs(&ERRORS, 0.01, 0.05, false, &tally([1 << 40, 1 << 40], [0; 2], [0; 2])), Some(0));
    }

    #[test]
    fn verdicts_in_their_order() {
        assert_eq!(Verdict::of(true, 9.0, 3, Some(5)), Verdict::Blind);
        assert_eq!(Verdict::of(false, 0.0, 1, Some(5)), Verdict::Suspicious);
        assert_eq!(Verdict::of(false, 0.0, 0, Some(5)), Verdict::Insufficient, "without a failure there is none");
        assert_eq!(Verdict::of(false, -0.1, 1, Some(0)), Verdict::Healthy);
        assert_eq!(Verdict::of(false, -0.1, 1, None), Verdict::Insufficient);
        assert_eq!(Verdict::ALL.map(Verdict::as_str), ["blind", "suspicious", "insufficient", "healthy"]);
    }
}
