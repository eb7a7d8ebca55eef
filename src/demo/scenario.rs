//! Scenarios of the demo: what happens to the simulated servers, and what the guard makes of it.

use std::time::Duration;

use clap::ValueEnum;

use crate::config::{Config, Guard};
use crate::guard::{Side, State};
use crate::rollback::{CandidateGuard, GuardSeen};
use crate::sim::{Behaviour, Fault, Sim};

/// Time before anything happens.
const HEALTHY: Duration = Duration::from_secs(10);
/// Time that the run goes on after a guard has acted.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// Share of a candidate's requests that fail in `errors`.
const ERRORS: f64 = 0.2;
/// Share of the requests of both that fail in `outage-of-both`.
const OUTAGE: f64 = 0.5;

/// A scenario, each shorter than a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Every server works.
    Healthy,
    /// A fifth of the candidates' requests fail, from the tenth second on.
    Errors,
    /// The candidates reset every connection for 15 seconds.
    Restart,
    /// Candidates and baseline fail half of their requests for 20 seconds.
    OutageOfBoth,
}

/// Part of a scenario that the servers are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Before,
    During,
    After,
}

impl Scenario {
    /// Length of the run, if no guard acts.
    pub(super) const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Healthy => 20,
            Self::Errors => 55,
            Self::Restart | Self::OutageOfBoth => 45,
        })
    }

    /// Returns the part of the scenario at `elapsed`.
    pub(super) fn part(self, elapsed: Duration) -> Part {
        let ends = match self {
            Self::Healthy => return Part::Before,
            Self::Errors => Duration::MAX,
            Self::Restart => HEALTHY + Duration::from_secs(15),
            Self::OutageOfBoth => HEALTHY + Duration::from_secs(20),
        };
        match elapsed {
            elapsed if elapsed < HEALTHY => Part::Before,
            elapsed if elapsed < ends => Part::During,
            _ => Part::After,
        }
    }

    /// True if requests of the application may fail, because no backend answers them.
    pub(super) const fn may_fail(self) -> bool {
        matches!(self, Self::OutageOfBoth)
    }

    /// Changes a server that works as `usual`.
    pub(super) fn apply(self, part: Part, (sim, is_baseline): (&Sim, bool), usual: &Behaviour) {
        let mut behaviour = usual.clone();
        if part == Part::During {
            match self {
                Self::Errors if !is_baseline => behaviour.error_rate = ERRORS,
                Self::Restart if !is_baseline => behaviour.fault = Fault::ResetBeforeHead,
                Self::OutageOfBoth => behaviour.error_rate = OUTAGE,
                Self::Healthy | Self::Errors | Self::Restart => {}
            }
        }
        sim.set(behaviour);
    }

    /// Says what happens.
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Healthy => "scenario healthy: every server works.",
            Self::Errors => "scenario errors: from the 10th second on a fifth of the candidates' requests fail.",
            Self::Restart => {
                "scenario restart: from the 10th to the 25th second the candidates reset every connection."
            }
            Self::OutageOfBoth => {
                "scenario outage-of-both: from the 10th to the 30th second candidates and baseline fail half of the requests."
            }
        }
    }
}

/// Gives a file without `[guard]` one, because a scenario shows what it does.
pub(super) fn guarded(config: &mut Config) {
    config.guard.get_or_insert_with(Guard::default);
}

/// True if a guard has withdrawn a candidate, so that the run may end `AFTERWARDS` later.
pub(super) fn has_acted(guard: &GuardSeen) -> bool {
    guard.candidates.iter().any(|one| one.report.state != State::Watching)
}

/// Time that the run goes on once a guard has acted.
pub(super) const fn afterwards() -> Duration {
    AFTERWARDS
}

/// Returns what happened and why, a paragraph for each candidate.
pub(super) fn ending(guard: &GuardSeen, baseline: &str) -> Vec<String> {
    guard
        .candidates
        .iter()
        .filter(|one| one.report.tally.trials.candidate > 0 || is_withdrawn(one))
        .map(|one| of(one, baseline))
        .collect()
}

fn is_withdrawn(one: &CandidateGuard) -> bool {
    one.report.state != State::Watching
}

fn of(one: &CandidateGuard, baseline: &str) -> String {
    let report = &one.report;
    let (name, next) = (&one.name, &report.next);
    match (report.state, &report.why) {
        (State::Watching, _) => {
            let rate =
                |side| report.tally.rate(side).map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
            format!(
                "the guard left {name} alone: {} of its requests failed and {} of {baseline}'s, failures counted against \
                 it: {}, the evidence is {:.2} and {:.0} would be enough",
                rate(Side::Candidate),
                rate(Side::Baseline),
                report.tally.counted.candidate,
                report.ln_evidence.exp(),
                report.threshold,
            )
        }
        (state, why) => {
            let state = if state == State::Held { "holds" } else { "rolled back" };
            let why = why.as_deref().unwrap_or("-");
            format!("the guard {state} {name}, and {baseline} serves its requests: {why}. Next: {next}")
        }
    }
}
