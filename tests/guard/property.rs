//! Every order of events: a withdrawal ends by the named ways and by no other.

use proptest::prelude::*;
use shiftgate::api::guard::{BreakerChange, Ended, Guard, MoveKind, Side, State};

use super::state::through_the_file;
use super::support::{FAILED, FILE, Times, changed, facts, fail, trial};

/// One step of a life of a candidate.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Fail,
    Trial(Side, bool, u64),
    Breaker(BreakerChange, bool),
    Tick(bool),
    Save(usize),
    Restart,
}

/// The ways of a save: index, and whether it lifts a withdrawal that was made under the file before.
fn saves() -> Vec<String> {
    vec![
        FILE.to_owned(),
        format!("{FILE}resume = 1\n"),
        changed("name = \"n\"", "name = \"m\""),
        changed(":2/v1", ":3/v1"),
        changed("qwen = 5 }", "qwen = 0 }").replace("qwen = 25", "qwen = 0"),
        changed(":1/v1", ":3/v1"),
        changed("qwen = 5 }", "qwen = 50 }"),
        format!("{FILE}alpha = 0.3\n"),
        format!("{FILE}action = \"alert\"\n"),
        format!("{FILE}errors = {{ floor = 0.2 }}\n"),
        format!("{FILE}[failover]\nenabled = false\n"),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![Just(Side::Candidate), Just(Side::Baseline)];
    let change = prop_oneof![
        3 => Just(BreakerChange::Opened), 2 => Just(BreakerChange::ProbeFailed), 1 => Just(BreakerChange::Closed)
    ];
    prop_oneof![
        3 => (1..120_000_u64).prop_map(Step::Wait),
        3 => Just(Step::Fail),
        3 => (side, any::<bool>(), 0..6_u64).prop_map(|(side, good, epoch)| Step::Trial(side, good, epoch)),
        3 => (change, any::<bool>()).prop_map(|(change, well)| Step::Breaker(change, well)),
        2 => any::<bool>().prop_map(Step::Tick),
        3 => (0..saves().len()).prop_map(Step::Save),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The invariants hold after any events in any order.
    #[test]
    fn a_withdrawal_ends_by_the_named_ways_and_by_no_other(steps in proptest::collection::vec(step(), 1..60)) {
        let saves: Vec<_> = saves().iter().map(|text| facts(text)).collect();
        let times = Times::new();
        let (mut ms, mut file) = (0, 0);
        let mut guard = Guard::new(saves[0].clone(), 0, times.ms(0));
        let mut until = 0;
        for step in steps {
            let (before, now) = (guard.state(), times.ms(ms));
            let mut may_lift = false;
            let moves = match step {
                Step::Wait(more) => {
                    ms += more;
                    Vec::new()
                }
                Step::Fail => fail(&mut guard, now),
                Step::Trial(side, good, epoch) => {
                    guard.trial(&trial(side, epoch), if good { Ended::Answered } else { FAILED }, now)
                }
                Step::Breaker(change, well) => guard.breaker(change, well, now),
                Step::Tick(well) => guard.tick(well, now),
                Step::Save(next) => {
                    let (old, new) = (&saves[file], &saves[next]);
                    may_lift = new.is_at_zero || old.resume != new.resume || old.rollout != new.rollout
                        || old.identity != new.identity;
                    file = next;
                    let reloaded = guard.reload(new.clone(), now);
                    let is_still = before != State::Watching && guard.state() != State::Watching;
                    if reloaded.moves.is_empty() {
                        prop_assert_eq!(reloaded.warning.is_some(), is_still);
                    }
                    reloaded.moves
                }
                Step::Restart => {
                    let saved = through_the_file(guard.saved(now));
                    let (next, moves) = Guard::restore(saves[file].clone(), &saved, 100, now);
                    may_lift = saves[file].is_at_zero;
                    guard = next;
                    moves
                }
            };
            // The moves tell the way from the state before to the state after.
            let mut state = before;
            for one in &moves {
                prop_assert_eq!(one.from, state);
                prop_assert!(!one.why.is_empty() && one.threshold.is_finite());
                prop_assert!(one.evidence.is_none_or(|evidence| evidence.is_finite() && evidence >= 0.0));
                match (one.kind, one.from, one.to) {
                    (MoveKind::Held, State::Watching, State::Watching) => prop_assert!(file == 8),
                    (MoveKind::Held, State::Watching, State::Held) => until = ms + 60_000,
                    (MoveKind::RolledBack, State::Watching, State::RolledBack) => {}
                    (MoveKind::RolledBack | MoveKind::Released, State::Held, State::RolledBack | State::Watching) => {
                        prop_assert!(ms >= until);
                        prop_assert_eq!(one.kind == MoveKind::Released, one.to == State::Watching);
                    }
                    (MoveKind::Lifted, State::Held | State::RolledBack, State::Watching) => prop_assert!(may_lift),
                    _ => prop_assert!(false, "{:?}", one),
                }
                state = one.to;
            }
            prop_assert_eq!(guard.state(), state);
            if before != State::Watching && may_lift && moves.is_empty() {
                prop_assert!(false, "{:?} is not lifted", before);
            }
            prop_assert_eq!(guard.is_withdrawn(), state != State::Watching);
            prop_assert_eq!(guard.drawn().is_some(), state == State::Watching);
        }
    }
}
