//! The states of one candidate and every way between them.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::breaker::{BreakerChange, BreakerLog};
use super::counted::{Ended, Side, Tally, Trial};
use super::epoch::Epoch;
use super::evidence::Weight;
use super::file::FileFacts;
use super::moves::{Cause, Lift, Move, MoveKind, Now, State};
use super::needs::{Verdict, needs};
use super::saved::{Saved, SavedHold};
use super::words;
use crate::config::GuardAction;
use crate::model::Percent;

/// Length of a hold: answers that were under way come in meanwhile, also those of a baseline that fails slowly.
pub const HOLD: Duration = Duration::from_secs(60);

/// State with what it needs.
#[derive(Debug, Clone)]
enum Phase {
    Watching,
    Held(Box<Hold>),
    RolledBack,
}

#[derive(Debug, Clone)]
struct Hold {
    until_at: Instant,
    until: Timestamp,
    /// The epoch that is judged at the end, if another one began meanwhile.
    judged: Option<Epoch>,
}

impl Hold {
    fn of(left: Duration, judged: Option<Epoch>, now: Now) -> Self {
        // A clock at the end of its range shows the beginning.
        let until = now.time.checked_add(left).unwrap_or(now.time);
        Self { until_at: now.at + left, until, judged }
    }
}

/// Guard of one candidate. It returns the moves that somebody has to be told of, and writes nothing itself.
///
/// The caller gives it every end of a trial ([`Guard::trial`]), every change of the breaker ([`Guard::breaker`]), every
/// reading of the file ([`Guard::reload`], [`Guard::remove`]) and the time, once a second ([`Guard::tick`]).
#[derive(Debug, Clone)]
pub struct Guard {
    facts: FileFacts,
    epoch: Epoch,
    phase: Phase,
    breaker: BreakerLog,
    since: Timestamp,
    cause: Option<Cause>,
    why: Option<String>,
}

/// Guard of one candidate, as `/status` and `/metrics` show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// State of the candidate.
    pub state: State,
    /// Time from which it is in this state.
    pub since: Timestamp,
    /// Cause of the state; `None` if nothing has happened.
    pub cause: Option<Cause>,
    /// A sentence with the numbers; `None` if nothing has happened.
    pub why: Option<String>,
    /// End of the hold; `None` if it is not held.
    pub until: Option<Timestamp>,
    /// Sums of the epoch; during a hold, of the one in which it began.
    pub tally: Tally,
    /// Number of distinct keys among the candidate's trials.
    pub keys: u64,
    /// Natural logarithm of the evidence.
    pub ln_evidence: f64,
    /// Evidence at which the guard acts.
    pub threshold: f64,
    /// Judgement in one word.
    pub verdict: Verdict,
    /// Number of further requests; `None` if no number suffices.
    pub needs: Option<u64>,
    /// A sentence: until when, or the command that lifts it.
    pub next: String,
}

/// Result of a reading of the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reloaded {
    /// Moves that it caused.
    pub moves: Vec<Move>,
    /// Warning about a withdrawal that it did not lift.
    pub warning: Option<String>,
}

impl Guard {
    /// Begins to watch. No earlier trial of this candidate may have an epoch's number from `first_epoch` on.
    pub fn new(facts: FileFacts, first_epoch: u64, now: Now) -> Self {
        let epoch = Epoch::new(first_epoch, &facts);
        let breaker = BreakerLog::default();
        Self { facts, epoch, phase: Phase::Watching, breaker, since: now.time, cause: None, why: None }
    }

    /// Continues after a restart as the state file says, if it lifts nothing; evidence of a candidate that was watched
    /// begins anew.
    pub fn restore(facts: FileFacts, saved: &Saved, first_epoch: u64, now: Now) -> (Self, Vec<Move>) {
        let mut guard = Self::new(facts, first_epoch, now);
        guard.cause = Some(Cause::Restart);
        if saved.state == State::Watching {
            return (guard, Vec::new());
        }
        (guard.since, guard.cause, guard.why) = (saved.since, saved.cause, saved.why.clone());
        guard.phase = match (saved.state, &saved.hold) {
            (State::Held, Some(hold)) => {
                let left = Duration::from_millis(hold.left_ms).min(HOLD);
                // Number before the first, so that no trial of this process is added to it.
                let judged = Some(hold.epoch(first_epoch.wrapping_sub(1)));
                Phase::Held(Box::new(Hold::of(left, judged, now)))
            }
            _ => Phase::RolledBack,
        };
        let lift = guard.facts.lift(&saved.rollout, &saved.identity, saved.resume);
        let moves = lift.map(|lift| guard.lift(&lift, now)).into_iter().collect();
        (guard, moves)
    }

    /// State of the candidate.
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Watching => State::Watching,
            Phase::Held(_) => State::Held,
            Phase::RolledBack => State::RolledBack,
        }
    }

    /// True if the candidate's requests go to the baseline, where it may serve them: its effective percent is 0. Another
    /// `action` in the file does not give it back: only the named ways do.
    pub fn is_withdrawn(&self) -> bool {
        self.state() != State::Watching
    }

    /// Number of the epoch for a request that is drawn at this moment; `None` if it is no trial, because the candidate
    /// is held or rolled back.
    pub fn drawn(&self) -> Option<u64> {
        (self.state() == State::Watching).then_some(self.epoch.number)
    }

    /// Makes the trial of a request that the split decided and sent to whom it chose, from the percents of the candidate
    /// and of the baseline that it was drawn from. `None` if it is none: one of the two has no share on the route, or the
    /// candidate is held or rolled back.
    pub fn draw(&self, side: Side, (own, left): (Percent, Percent), key: Option<u64>) -> Option<Trial> {
        let epoch = self.drawn()?;
        let weight = Weight::of(own, left);
        let is_alone = self.facts.is_blind && side == Side::Candidate && own > Percent::ZERO;
        (weight.is_some() || is_alone).then_some(Trial { side, weight, key, epoch })
    }

    /// Adds a trial at its end, or when it becomes overdue. One of an epoch that is over is dropped.
    pub fn trial(&mut self, trial: &Trial, ended: Ended, now: Now) -> Vec<Move> {
        let mut moves = self.end_hold(now);
        if trial.epoch == self.epoch.number {
            let is_against = self.epoch.add(trial, ended);
            if is_against {
                moves.extend(self.trip(now));
            }
        } else if let Phase::Held(hold) = &mut self.phase
            && let Some(judged) = hold.judged.as_mut().filter(|judged| judged.number == trial.epoch)
        {
            judged.add(trial, ended);
        }
        moves
    }

    /// Adds a change of the breaker; `baseline_is_well` of [`super::BaselineHealth`].
    pub fn breaker(&mut self, change: BreakerChange, baseline_is_well: bool, now: Now) -> Vec<Move> {
        let mut moves = self.end_hold(now);
        let counts = self.state() == State::Watching && self.facts.has_failover && baseline_is_well;
        self.breaker.add(change, counts, now.at);
        if counts && change == BreakerChange::Opened && self.breaker.opened_too_often() {
            let why = words::breaker_opened(&self.facts);
            moves.extend(self.withdraw(MoveKind::RolledBack, Cause::BreakerOpened, why, now));
        }
        moves
    }

    /// Looks at the time.
    pub fn tick(&mut self, baseline_is_well: bool, now: Now) -> Vec<Move> {
        let mut moves = self.end_hold(now);
        if self.state() == State::Watching
            && self.facts.has_failover
            && baseline_is_well
            && let Some(probes) = self.breaker.not_closed_too_long(now.at)
        {
            let why = words::breaker_not_closed(&self.facts, probes);
            moves.extend(self.withdraw(MoveKind::RolledBack, Cause::BreakerNotClosed, why, now));
        }
        moves
    }

    /// Sums of the epoch; during a hold, of the one in which it began.
    pub fn tally(&self) -> Tally {
        self.judged().tally()
    }

    /// Facts of the file about the candidate.
    pub const fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// Takes a new reading of the file.
    pub fn reload(&mut self, facts: FileFacts, now: Now) -> Reloaded {
        let mut moves = self.end_hold(now);
        let before = std::mem::replace(&mut self.facts, facts);
        let facts = &self.facts;
        let is_new_epoch = facts.begins_epoch(&before);
        let is_latched = self.state() != State::Watching;
        let lift = facts.lift(&before.rollout, &before.identity, before.resume).filter(|_| is_latched);
        if let Some(lift) = lift {
            moves.push(self.lift(&lift, now));
        } else {
            if is_new_epoch {
                self.begin_epoch(now);
            }
            // With fewer routes or another action the evidence may suffice from here on.
            moves.extend(self.trip(now));
        }
        let is_still = is_latched && self.state() != State::Watching;
        let why = self.why.as_deref().unwrap_or_default();
        let warning = is_still.then(|| words::still(&self.facts, self.state(), self.since, why));
        Reloaded { moves, warning }
    }

    /// Ends the guard: `lift` is [`Lift::GuardGone`] or [`Lift::CandidateGone`]. The value is of no use afterwards.
    pub fn remove(&mut self, lift: &Lift, now: Now) -> Vec<Move> {
        let mut moves = self.end_hold(now);
        if self.state() != State::Watching {
            moves.push(self.lift(lift, now));
        }
        moves
    }

    /// Acts if the evidence suffices.
    fn trip(&mut self, now: Now) -> Option<Move> {
        if self.state() != State::Watching || !self.epoch.is_enough(self.facts.is_blind) {
            return None;
        }
        let why = words::held(&self.facts, &self.epoch.tally(), self.evidence(&self.epoch), self.epoch.threshold());
        self.withdraw(MoveKind::Held, Cause::Errors, why, now)
    }

    /// Withdraws a candidate that is watched; with `action = "alert"` tells it once in an epoch, and nothing moves.
    fn withdraw(&mut self, kind: MoveKind, cause: Cause, why: String, now: Now) -> Option<Move> {
        let evidence = (cause == Cause::Errors).then(|| self.evidence(&self.epoch));
        let (threshold, tally) = (self.epoch.threshold(), self.epoch.tally());
        if self.facts.action == GuardAction::Alert {
            if self.epoch.told.is_some() {
                return None;
            }
            let (from, to, since, why) = (State::Watching, State::Watching, self.since, words::alerted(&why));
            self.epoch.told = Some((cause, why.clone()));
            return Some(Move { kind: MoveKind::Held, from, to, cause, why, since, evidence, threshold, tally });
        }
        self.phase = match kind {
            MoveKind::Held => Phase::Held(Box::new(Hold::of(HOLD, None, now))),
            _ => Phase::RolledBack,
        };
        Some(self.moved(State::Watching, (kind, cause, why), (evidence, threshold, tally), now))
    }

    /// Judges a hold that is over.
    fn end_hold(&mut self, now: Now) -> Vec<Move> {
        let Phase::Held(hold) = &self.phase else { return Vec::new() };
        if now.at < hold.until_at {
            return Vec::new();
        }
        let judged = self.judged();
        let (evidence, threshold, tally) = (self.evidence(judged), judged.threshold(), judged.tally());
        let (phase, what) = if judged.is_confirmed(self.facts.is_blind) {
            let why = words::confirmed(&self.facts, &tally, evidence, threshold);
            (Phase::RolledBack, (MoveKind::RolledBack, Cause::Errors, why))
        } else {
            let why = words::released(&self.facts, evidence, threshold);
            (Phase::Watching, (MoveKind::Released, Cause::BothFailed, why))
        };
        self.phase = phase;
        vec![self.moved(State::Held, what, (Some(evidence), threshold, tally), now)]
    }

    fn lift(&mut self, lift: &Lift, now: Now) -> Move {
        let from = self.state();
        let (threshold, tally) = (self.judged().threshold(), self.judged().tally());
        self.phase = Phase::Watching;
        self.begin_epoch(now);
        let why = words::lifted(&self.facts, lift);
        self.moved(from, (MoveKind::Lifted, lift.cause(), why), (None, threshold, tally), now)
    }

    /// Begins an epoch; a hold is judged by the one in which it began.
    fn begin_epoch(&mut self, now: Now) {
        let next = Epoch::new(self.epoch.number + 1, &self.facts);
        let before = std::mem::replace(&mut self.epoch, next);
        if let Phase::Held(hold) = &mut self.phase {
            hold.judged.get_or_insert(before);
        }
        self.breaker.forget(now.at);
    }

    /// Notes a move that was made.
    fn moved(
        &mut self,
        from: State,
        (kind, cause, why): (MoveKind, Cause, String),
        (evidence, threshold, tally): (Option<f64>, f64, Tally),
        now: Now,
    ) -> Move {
        (self.since, self.cause, self.why) = (now.time, Some(cause), Some(why.clone()));
        Move { kind, from, to: self.state(), cause, why, since: now.time, evidence, threshold, tally }
    }

    /// Returns what the state file keeps.
    pub fn saved(&self, now: Now) -> Saved {
        let hold = match &self.phase {
            Phase::Held(hold) => {
                let left = hold.until_at.saturating_duration_since(now.at);
                Some(SavedHold::of(self.judged(), left))
            }
            Phase::Watching | Phase::RolledBack => None,
        };
        Saved {
            candidate: self.facts.candidate.clone(),
            rollout: self.facts.rollout.clone(),
            identity: self.facts.identity,
            resume: self.facts.resume,
            state: self.state(),
            since: self.since,
            cause: self.cause,
            why: self.why.clone(),
            hold,
        }
    }

    /// Returns what is shown. `weight`: the candidate's part, above 0 and up to 1, of its share and the baseline's in the
    /// file at this moment.
    pub fn report(&self, weight: f64) -> Report {
        let (facts, epoch) = (&self.facts, self.judged());
        let (tally, ln_evidence) = (epoch.tally(), epoch.evidence.ln(facts.is_blind));
        let needs = needs(&epoch.errors, epoch.alpha, weight, facts.is_blind, &tally);
        let verdict = Verdict::of(facts.is_blind, ln_evidence, tally.counted.candidate, needs);
        let until = match &self.phase {
            Phase::Held(hold) => Some(hold.until),
            Phase::Watching | Phase::RolledBack => None,
        };
        let is_alerting = facts.action == GuardAction::Alert && self.state() == State::Watching;
        let told = epoch.told.as_ref().filter(|_| is_alerting);
        let (cause, why) = told.map_or((self.cause, self.why.as_ref()), |(cause, why)| (Some(*cause), Some(why)));
        Report {
            state: self.state(),
            since: self.since,
            cause,
            why: why.cloned(),
            until,
            tally,
            keys: epoch.ledger.keys(),
            ln_evidence,
            threshold: epoch.threshold(),
            verdict,
            needs,
            next: words::next(facts, (self.state(), until, told.is_some()), verdict, needs),
        }
    }

    /// The epoch that decides: that of a hold, even if another one began or the process was restarted meanwhile.
    fn judged(&self) -> &Epoch {
        match &self.phase {
            Phase::Held(hold) => hold.judged.as_ref().unwrap_or(&self.epoch),
            Phase::Watching | Phase::RolledBack => &self.epoch,
        }
    }

    fn evidence(&self, epoch: &Epoch) -> f64 {
        epoch.evidence.ln(self.facts.is_blind).exp()
    }
}
