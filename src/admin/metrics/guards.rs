//! Metrics of the guard: states, evidence, trials, failures, messages, and the signals beside it.

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::View;
use crate::guard::{Sides, State};
use crate::rollback::CandidateGuard;
use crate::telemetry::names;

pub(super) fn families(view: &View) -> Vec<Family> {
    let guard = &view.guard;
    let messages =
        guard.messages.iter().map(|(result, count)| (vec![("result", (*result).to_owned())], Value::Counter(*count)));
    vec![
        Family::new(names::GUARD_STATE, guard.candidates.iter().flat_map(states).collect()),
        Family::new(names::GUARD_EVIDENCE, guard.candidates.iter().map(evidence).collect()),
        Family::new(names::GUARD_TRIALS, by_role(view, |one| one.trials)),
        Family::new(names::GUARD_COUNTED, by_role(view, |one| one.counted)),
        Family::new(names::GUARD_FAULTS, guard.candidates.iter().flat_map(faults).collect()),
        Family::one(names::GUARD_UNWATCHED, Value::Counter(guard.unwatched)),
        Family::new(names::GUARD_NOTIFY, messages.collect()),
        Family::one(names::GUARD_STATE_ERRORS, Value::Counter(guard.state_errors)),
        Family::new(names::SPLIT_PERCENT_EFFECTIVE, effective(view)),
        Family::new(names::SIGNALS, signals(view)),
    ]
}

fn labels_of(guard: &CandidateGuard) -> Labels {
    vec![("candidate", guard.name.clone())]
}

fn states(guard: &CandidateGuard) -> impl Iterator<Item = (Labels, Value)> {
    State::ALL.into_iter().map(|state| {
        let mut labels = labels_of(guard);
        labels.push(("state", state.as_str().to_owned()));
        (labels, gauge(u64::from(guard.report.state == state)))
    })
}

fn evidence(guard: &CandidateGuard) -> (Labels, Value) {
    (labels_of(guard), Value::Gauge(guard.report.ln_evidence))
}

fn by_role(view: &View, of: fn(&CandidateGuard) -> Sides) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for guard in &view.guard.candidates {
        let sides = of(guard);
        for (role, count) in [("candidate", sides.candidate), ("baseline", sides.baseline)] {
            let mut labels = labels_of(guard);
            labels.push(("role", role.to_owned()));
            samples.push((labels, Value::Counter(count)));
        }
    }
    samples
}

fn faults(guard: &CandidateGuard) -> impl Iterator<Item = (Labels, Value)> {
    guard.faults.iter().map(|fault| {
        let mut labels = labels_of(guard);
        labels.extend([("role", fault.role.to_owned()), ("cause", fault.cause.to_owned())]);
        (labels, Value::Counter(fault.count))
    })
}

fn effective(view: &View) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for route in &view.routes {
        for one in &route.percents {
            let labels = vec![("route", route.name.clone()), ("candidate", one.backend.clone())];
            samples.push((labels, Value::Gauge(one.effective.as_f64())));
        }
    }
    samples
}

fn signals(view: &View) -> Vec<(Labels, Value)> {
    let mut samples = Vec::new();
    for route in &view.routes {
        for (backend, counts) in &route.signals {
            for (signal, count) in ["abort", "retry"].into_iter().zip(counts) {
                let labels =
                    vec![("route", route.name.clone()), ("backend", backend.clone()), ("signal", signal.to_owned())];
                samples.push((labels, Value::Counter(*count)));
            }
        }
    }
    samples
}
