//! From the ends of requests to counted events: trials, failures, and the failures that count.

use serde::{Deserialize, Serialize};

use super::bloom::Bloom;
use super::evidence::{Event, Weight};
use super::keys::Keys;

/// Side of the split that a trial belongs to: the backend that the split chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The candidate.
    Candidate,
    /// The baseline.
    Baseline,
}

/// A request that the split decided while the candidate was fit, sent to the backend that the split chose. One of the
/// baseline is a trial of every candidate that its route had above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Backend that it was sent to.
    pub side: Side,
    /// Candidate's part of the shares it was drawn from; `None` where the baseline has no share on any route of the
    /// candidate, so that it tells of the floor alone.
    pub weight: Option<Weight>,
    /// Evenly spread hash of the value of the request's key, the same on every route; `None` without a key.
    pub key: Option<u64>,
    /// Number of the epoch it was drawn in.
    pub epoch: u64,
}

/// End of a trial at the backend that it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A complete 2xx.
    Answered,
    /// Nothing usable before the first content, by any cause but a 4xx; and the other side's answer to the same request.
    Failed(OtherSide),
    /// A 4xx but 429, and the other side's answer to the same request.
    Refused(OtherSide),
    /// A 429: no trial.
    Limited,
    /// After its first content the answer broke off or ended in an error event.
    Cut,
    /// Nothing was generated at the age `overdue`.
    Overdue,
    /// The application left first: no trial.
    ClientGone,
}

/// Answer of the baseline to a request that a candidate had failed. A trial of the baseline has none: `NotAnswered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSide {
    /// A complete 2xx.
    Answered,
    /// A 4xx.
    Refused,
    /// Anything else; also if it was not asked, because the budget of failovers was spent.
    NotAnswered,
    /// `[failover]` is off, so that no candidate's failure can be confirmed.
    FailoverOff,
}

/// Meaning of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decided {
    Good,
    /// A failure that counts unless a rule of the ledger passes it over.
    Fault,
    /// A failure that may have been the request's or everybody's.
    Unconfirmed,
}

/// Decides an end; `None` if the request is no trial.
const fn decide(side: Side, ended: Ended) -> Option<Decided> {
    match (ended, side) {
        (Ended::Answered, _) => Some(Decided::Good),
        (Ended::Cut | Ended::Overdue, _) | (Ended::Failed(_), Side::Baseline) => Some(Decided::Fault),
        (Ended::Failed(OtherSide::Answered | OtherSide::FailoverOff), Side::Candidate) => Some(Decided::Fault),
        (Ended::Failed(OtherSide::Refused | OtherSide::NotAnswered), Side::Candidate) => Some(Decided::Unconfirmed),
        // The candidate's fault only where the baseline shows that the request was right.
        (Ended::Refused(OtherSide::Answered), Side::Candidate) => Some(Decided::Fault),
        (Ended::Refused(_) | Ended::Limited | Ended::ClientGone, _) => None,
    }
}

/// A number for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sides {
    /// That of the candidate.
    pub candidate: u64,
    /// That of the baseline.
    pub baseline: u64,
}

impl Sides {
    fn add_one(&mut self, side: Side) {
        match side {
            Side::Candidate => self.candidate += 1,
            Side::Baseline => self.baseline += 1,
        }
    }
}

/// Failures for each trial of a side; `None` without trials.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Rates {
    /// That of the candidate.
    pub candidate: Option<f64>,
    /// That of the baseline.
    pub baseline: Option<f64>,
}

/// Sums of an epoch, as they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Trials.
    pub trials: Sides,
    /// Trials that failed.
    pub faults: Sides,
    /// Failures that counted.
    pub counted: Sides,
}

impl Tally {
    /// Failures for each trial of both sides.
    pub(crate) fn rates(&self) -> Rates {
        Rates { candidate: self.rate(Side::Candidate), baseline: self.rate(Side::Baseline) }
    }

    /// Failures for each trial of a side; `None` without trials.
    #[expect(clippy::cast_precision_loss, reason = "a rate that is shown")]
    pub fn rate(&self, side: Side) -> Option<f64> {
        let of = |sides: &Sides| match side {
            Side::Candidate => sides.candidate,
            Side::Baseline => sides.baseline,
        };
        (of(&self.trials) > 0).then(|| of(&self.faults) as f64 / of(&self.trials) as f64)
    }
}

/// Decides, in the order of the ends, which trials of an epoch are failures and which failures count.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    tally: Tally,
    /// True if the candidate's last trial failed, whether it counted or not: failures in a row count once.
    is_after_fault: bool,
    /// Keys that had a counted event.
    counted: Bloom,
    keys: Keys,
    /// Number of distinct keys that was saved.
    saved_keys: u64,
}

impl Ledger {
    /// Adds a trial at its end, or at the age at which it became overdue; returns what it tells the tests.
    pub fn add(&mut self, trial: &Trial, ended: Ended) -> Option<Event> {
        let decided = decide(trial.side, ended)?;
        self.tally.trials.add_one(trial.side);
        if decided != Decided::Good {
            self.tally.faults.add_one(trial.side);
        }
        match trial.side {
            Side::Candidate => self.of_candidate(trial, decided),
            Side::Baseline => {
                let weight = trial.weight.filter(|_| decided == Decided::Fault)?;
                self.is_counted(trial).then_some(Event::BaselineFault(weight))
            }
        }
    }

    fn of_candidate(&mut self, trial: &Trial, decided: Decided) -> Option<Event> {
        if let Some(key) = trial.key {
            self.keys.insert(key);
        }
        let is_first_in_row = !std::mem::replace(&mut self.is_after_fault, decided != Decided::Good);
        match decided {
            Decided::Good => Some(Event::CandidateGood),
            Decided::Fault if is_first_in_row && self.is_counted(trial) => Some(Event::CandidateFault(trial.weight)),
            Decided::Fault | Decided::Unconfirmed => None,
        }
    }

    /// Counts the failure if it is its key's first counted one. Users, not requests, are drawn: a user for whom
    /// everything fails would else count as often as it asks.
    fn is_counted(&mut self, trial: &Trial) -> bool {
        let is_new = trial.key.is_none_or(|key| self.counted.insert(key));
        if is_new {
            self.tally.counted.add_one(trial.side);
        }
        is_new
    }

    /// Sums of the epoch.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Number of distinct keys among the candidate's trials; exact to 1,000, then estimated.
    pub fn keys(&self) -> u64 {
        self.saved_keys + self.keys.count()
    }

    /// Continues from saved sums. Which keys there were is not saved, and the row begins anew.
    #[must_use]
    pub fn with(mut self, tally: Tally, keys: u64) -> Self {
        (self.tally, self.saved_keys) = (tally, keys);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Percent;

    const CANDIDATE: Side = Side::Candidate;
    const BASELINE: Side = Side::Baseline;
    const CONFIRMED: Ended = Ended::Failed(OtherSide::Answered);

    fn trial(side: Side, key: Option<u64>) -> Trial {
        let percent = |hundredths| Percent::from_hundredths(hundredths).unwrap();
        Trial { side, weight: Weight::of(percent(500), percent(9_500)), key, epoch: 0 }
    }

    /// Adds trials without keys; returns which of them counted.
    fn counted(ends: &[(Side, Ended)]) -> Vec<bool> {
        let mut ledger = Ledger::default();
        let is_fault = |event: Option<Event>| event.is_some_and(|event| event != Event::CandidateGood);
        ends.iter().map(|(side, ended)| is_fault(ledger.add(&trial(*side, None), *ended))).collect()
    }

    #[test]
    fn each_end_of_each_side() {
        use OtherSide::{Answered, FailoverOff, NotAnswered, Refused};
        // (trials, faults, counted) of the candidate and of the baseline.
        for (ended, candidate, baseline) in [
            (Ended::Answered, [1, 0, 0], [1, 0, 0]),
            (Ended::Failed(Answered), [1, 1, 1], [1, 1, 1]),
            (Ended::Failed(Refused), [1, 1, 0], [1, 1, 1]),
            (Ended::Failed(NotAnswered), [1, 1, 0], [1, 1, 1]),
            (Ended::Failed(FailoverOff), [1, 1, 1], [1, 1, 1]),
            (Ended::Refused(Answered), [1, 1, 1], [0, 0, 0]),
            (Ended::Refused(Refused), [0, 0, 0], [0, 0, 0]),
            (Ended::Refused(NotAnswered), [0, 0, 0], [0, 0, 0]),
            (Ended::Refused(FailoverOff), [0, 0, 0], [0, 0, 0]),
            (Ended::Limited, [0, 0, 0], [0, 0, 0]),
            (Ended::Cut, [1, 1, 1], [1, 1, 1]),
            (Ended::Overdue, [1, 1, 1], [1, 1, 1]),
            (Ended::ClientGone, [0, 0, 0], [0, 0, 0]),
        ] {
            let mut ledger = Ledger::default();
            ledger.add(&trial(CANDIDATE, None), ended);
            let Tally { trials, faults, counted } = ledger.tally();
            assert_eq!([trials.candidate, faults.candidate, counted.candidate], candidate, "{ended:?} of a candidate");
            let mut ledger = Ledger::default();
            ledger.add(&trial(BASELINE, None), ended);
            let Tally { trials, faults, counted } = ledger.tally();
            assert_eq!([trials.baseline, faults.baseline, counted.baseline], baseline, "{ended:?} of the baseline");
        }
    }

    #[test]
    fn faults_in_a_row_count_once() {
        let answered = (CANDIDATE, Ended::Answered);
        let faults = [(CANDIDATE, CONFIRMED), (CANDIDATE, Ended::Cut), answered, (CANDIDATE, Ended::Overdue)];
        assert_eq!(counted(&faults), [true, false, false, true]);
        // Neither the baseline's answers nor what is no trial end a row.
        let between =
            [(CANDIDATE, CONFIRMED), (BASELINE, Ended::Answered), (CANDIDATE, Ended::Limited), (CANDIDATE, CONFIRMED)];
        assert_eq!(counted(&between), [true, false, false, false]);
        // A failure that does not count begins a row all the same.
        let unconfirmed = [
            (CANDIDATE, Ended::Failed(OtherSide::NotAnswered)),
            (CANDIDATE, CONFIRMED),
            answered,
            (CANDIDATE, CONFIRMED),
        ];
        assert_eq!(counted(&unconfirmed), [false, false, false, true]);
        assert_eq!(counted(&[(BASELINE, CONFIRMED), (BASELINE, CONFIRMED)]), [true, true], "the baseline's all count");
    }

    #[test]
    fn a_key_counts_once_on_whichever_side() {
        let mut ledger = Ledger::default();
        let mut add = |side, key, ended| ledger.add(&trial(side, Some(key)), ended);
        assert!(matches!(add(BASELINE, 1, CONFIRMED), Some(Event::BaselineFault(_))));
        assert_eq!(add(BASELINE, 1, CONFIRMED), None);
        assert_eq!(add(CANDIDATE, 1, CONFIRMED), None, "it moved to the candidate");
        assert_eq!(add(CANDIDATE, 2, Ended::Answered), Some(Event::CandidateGood));
        assert!(matches!(add(CANDIDATE, 2, CONFIRMED), Some(Event::CandidateFault(Some(_)))));
        assert_eq!(add(CANDIDATE, 3, CONFIRMED), None, "it follows a failure");
        assert_eq!(add(CANDIDATE, 4, Ended::Answered), Some(Event::CandidateGood));
        assert!(add(CANDIDATE, 3, CONFIRMED).is_some(), "its first failure did not count");
        assert_eq!((ledger.keys(), ledger.tally().counted), (4, Sides { candidate: 2, baseline: 1 }));
    }

    #[test]
    fn without_a_share_of_the_baseline_the_floor_alone_is_told() {
        let mut ledger = Ledger::default();
        let alone = |side| Trial { weight: None, ..trial(side, None) };
        assert_eq!(ledger.add(&alone(CANDIDATE), Ended::Cut), Some(Event::CandidateFault(None)));
        assert_eq!(ledger.add(&alone(BASELINE), Ended::Cut), None);
        assert_eq!(ledger.tally().counted, Sides { candidate: 1, baseline: 0 });
    }

    #[test]
    fn rates() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.tally().rate(CANDIDATE), None);
        for ended in [Ended::Answered, Ended::Cut, Ended::Failed(OtherSide::NotAnswered), Ended::Answered] {
            ledger.add(&trial(CANDIDATE, None), ended);
        }
        assert_eq!((ledger.tally().rate(CANDIDATE), ledger.tally().rate(BASELINE)), (Some(0.5), None));
    }
}
