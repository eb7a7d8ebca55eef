//! The ways between the states: each of the table, and none beside them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shiftgate::api::guard::{
    BreakerChange, Cause, Ended, Entry, EntryCause, EntryMove, Guard, HISTORY, Lift, Move, MoveKind, Now, OtherSide,
    Saved, Side, State, StateError, StateFile, Verdict,
};

use super::support::{FILE, Times, facts, trial};

const FAILED: Ended = Ended::Failed(OtherSide::Answered);

fn guard(text: &str, now: Now) -> Guard {
    Guard::new(facts(text), 1, now)
}

/// Sends failures, each after a good answer, until something moves.
fn fail(guard: &mut Guard, now: Now) -> Vec<Move> {
    for _ in 0..40 {
        let Some(epoch) = guard.drawn() else { return Vec::new() };
        assert!(guard.trial(&trial(Side::Candidate, epoch), Ended::Answered, now).is_empty());
        let moves = guard.trial(&trial(Side::Candidate, epoch), FAILED, now);
        if !moves.is_empty() {
            return moves;
        }
    }
    Vec::new()
}

/// A candidate that is rolled back by its failures, at 60 s.
fn rolled_back(times: Times) -> Guard {
    let mut guard = guard(FILE, times.s(0));
    assert_eq!(kinds(&fail(&mut guard, times.s(0))), [MoveKind::Held]);
    assert_eq!(kinds(&guard.tick(true, times.s(60))), [MoveKind::RolledBack]);
    guard
}

fn kinds(moves: &[Move]) -> Vec<MoveKind> {
    moves.iter().map(|one| one.kind).collect()
}

fn changed(from: &str, to: &str) -> String {
    let text = FILE.replace(from, to);
    assert_ne!(text, FILE, "{from}");
    text
}

#[test]
fn failures_hold_it_and_after_a_minute_roll_it_back() {
    let times = Times::new();
    let mut guard = guard(FILE, times.s(0));
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Watching, false, Some(1)));
    let moves = fail(&mut guard, times.s(9));
    let [held] = &moves[..] else { panic!("{moves:?}") };
    assert_eq!(
        (held.kind, held.from, held.to, held.cause),
        (MoveKind::Held, State::Watching, State::Held, Cause::Errors)
    );
    assert!(held.evidence.unwrap() >= 100.0 && held.threshold == 100.0 && held.since == times.s(9).time);
    assert!(held.tally.counted.candidate > 0 && held.why.contains("requests of qwen failed"), "{}", held.why);
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Held, true, None));
    let report = guard.report(0.05);
    assert_eq!((report.until, report.since), (Some(times.s(69).time), times.s(9).time));
    assert_eq!(report.next, "it is looked at again at 2026-11-18T11:07:49Z; to lift it: shiftgate resume");
    assert!(guard.tick(true, times.ms(68_999)).is_empty());
    let moves = guard.tick(true, times.s(69));
    assert_eq!(kinds(&moves), [MoveKind::RolledBack]);
    assert!(moves[0].why.contains("during the hold the evidence is"), "{}", moves[0].why);
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::RolledBack, true, None));
    for second in [70, 1_000, 1_000_000] {
        assert!(guard.tick(true, times.s(second)).is_empty());
    }
    let report = guard.report(0.05);
    assert_eq!((report.verdict, report.next.as_str()), (Verdict::Suspicious, "to lift it: shiftgate resume"));
    assert_eq!((report.cause, report.until, report.since), (Some(Cause::Errors), None, times.s(69).time));
}

#[test]
fn what_comes_in_during_the_hold_is_looked_at() {
    let times = Times::new();
    // The baseline fails as well, later.
    let mut both = guard(FILE, times.s(0));
    fail(&mut both, times.s(0));
    for _ in 0..20 {
        assert!(both.trial(&trial(Side::Baseline, 1), FAILED, times.s(10)).is_empty());
    }
    let moves = both.trial(&trial(Side::Baseline, 1), FAILED, times.s(61));
    assert_eq!((kinds(&moves), moves[0].cause), (vec![MoveKind::Released], Cause::BothFailed));
    assert!(moves[0].why.starts_with("openai had failed as well: the evidence fell to "), "{}", moves[0].why);
    assert_eq!(
        (both.state(), both.is_withdrawn(), both.drawn()),
        (State::Watching, false, Some(1)),
        "the epoch goes on"
    );

    // A tenth of the threshold suffices.
    let mut low = guard(FILE, times.s(0));
    let before = fail(&mut low, times.s(0))[0].evidence.unwrap();
    low.trial(&trial(Side::Candidate, 1), Ended::Answered, times.s(1));
    while low.report(0.05).ln_evidence.exp() >= 100.0 {
        low.trial(&trial(Side::Baseline, 1), FAILED, times.s(1));
    }
    let after = low.report(0.05).ln_evidence.exp();
    assert!(before >= 100.0 && (10.0..100.0).contains(&after), "{after}");
    assert_eq!(kinds(&low.tick(true, times.s(60))), [MoveKind::RolledBack]);
}

#[test]
fn trials_of_another_epoch_are_dropped() {
    let times = Times::new();
    let mut guard = guard(FILE, times.s(0));
    for epoch in [0, 2] {
        guard.trial(&trial(Side::Candidate, epoch), Ended::Answered, times.s(0));
    }
    assert_eq!(guard.report(0.05).tally, Default::default());
    guard.trial(&trial(Side::Candidate, 1), Ended::Answered, times.s(0));
    assert_eq!(guard.report(0.05).tally.trials.candidate, 1);
}

#[test]
fn five_openings_while_the_baseline_is_well() {
    let times = Times::new();
    let open = |guard: &mut Guard, well: bool, second: u64| {
        let mut moves = guard.breaker(BreakerChange::Opened, well, times.s(second));
        moves.extend(guard.breaker(BreakerChange::ProbeFailed, well, times.s(second)));
        moves.extend(guard.breaker(BreakerChange::Closed, well, times.s(second)));
        moves
    };
    let mut dead = guard(FILE, times.s(0));
    assert!((0..4).all(|n| open(&mut dead, true, n * 100).is_empty()) && open(&mut dead, false, 450).is_empty());
    let moves = open(&mut dead, true, 500);
    assert_eq!(
        (kinds(&moves), moves[0].cause, moves[0].evidence),
        (vec![MoveKind::RolledBack], Cause::BreakerOpened, None)
    );
    assert_eq!(moves[0].why, "the breaker of qwen opened 5 times within 10 minutes, while openai was well");
    assert!(dead.is_withdrawn());

    let mut both = guard(FILE, times.s(0));
    assert!((0..50).all(|n| open(&mut both, false, n).is_empty()), "the baseline was not well");
    let mut off = guard(&format!("{FILE}[failover]\nenabled = false\n"), times.s(0));
    assert!((0..50).all(|n| open(&mut off, true, n).is_empty()), "without failover there is no breaker");
    // A new epoch forgets them.
    let mut again = guard(FILE, times.s(0));
    (0..4).for_each(|n| drop(open(&mut again, true, n)));
    again.reload(facts(&format!("{FILE}alpha = 0.02\n")), times.s(5));
    assert!((6..10).all(|n| open(&mut again, true, n).is_empty()) && !open(&mut again, true, 10).is_empty());
}

#[test]
fn a_breaker_that_does_not_close() {
    let times = Times::new();
    let mut guard = guard(FILE, times.s(0));
    guard.breaker(BreakerChange::Opened, true, times.s(0));
    for second in [10, 20] {
        assert!(guard.breaker(BreakerChange::ProbeFailed, true, times.s(second)).is_empty());
    }
    assert!(guard.tick(true, times.s(299)).is_empty());
    assert!(guard.tick(false, times.s(300)).is_empty(), "the baseline is not well");
    let moves = guard.tick(true, times.s(301));
    assert_eq!((kinds(&moves), moves[0].cause), (vec![MoveKind::RolledBack], Cause::BreakerNotClosed));
    assert_eq!(
        moves[0].why,
        "the breaker of qwen has not closed for 5 minutes and 2 probes failed, while openai was well"
    );
    // Lifted with an open breaker: it has another five minutes.
    let moves = guard.reload(facts(&format!("{FILE}resume = 1\n")), times.s(400)).moves;
    assert_eq!(kinds(&moves), [MoveKind::Lifted]);
    for second in [410, 420] {
        guard.breaker(BreakerChange::ProbeFailed, true, times.s(second));
    }
    assert!(guard.tick(true, times.s(699)).is_empty());
    assert_eq!(kinds(&guard.tick(true, times.s(700))), [MoveKind::RolledBack]);
}

#[test]
fn each_way_lifts_and_says_so() {
    let times = Times::new();
    let zero = changed("qwen = 5 }", "qwen = 0 }").replace("qwen = 25", "qwen = 0");
    for (text, cause, why) in [
        (zero, Cause::PercentZero, "qwen is at 0 % on every route of the file"),
        (format!("{FILE}resume = 1\n"), Cause::Resumed, "resume is 1 in the file, it was 0"),
        (changed("name = \"n\"", "name = \"m\""), Cause::Changed, "the rollout has another name"),
        (changed("\"vllm\"", "\"sglang\""), Cause::Changed, "qwen is another one: engine changed in the file"),
        (changed(":2/v1", ":3/v1"), Cause::Changed, "qwen is another one: url changed in the file"),
        (
            changed("[guard]", "models = { \"*\" = \"q\" }\nfamily = \"qwen3\"\n[guard]"),
            Cause::Changed,
            "qwen is another one: models, family changed in the file",
        ),
        (
            changed("[guard]", "late_system = \"as_user\"\n[guard]"),
            Cause::Changed,
            "qwen is another one: the translation changed in the file",
        ),
    ] {
        let mut guard = rolled_back(times);
        let reloaded = guard.reload(facts(&text), times.s(100));
        assert_eq!((kinds(&reloaded.moves), reloaded.warning), (vec![MoveKind::Lifted], None), "{why}");
        let lifted = &reloaded.moves[0];
        assert_eq!((lifted.cause, lifted.why.as_str(), lifted.evidence), (cause, why, None));
        assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Watching, false, Some(2)));
        assert_eq!(guard.report(0.05).ln_evidence, 0.0, "the evidence is gone");
        assert_eq!(kinds(&fail(&mut guard, times.s(200))), [MoveKind::Held], "it is watched again");
    }
    for (lift, cause) in [(Lift::GuardGone, Cause::Changed), (Lift::CandidateGone, Cause::PercentZero)] {
        let moves = rolled_back(times).remove(&lift, times.s(100));
        assert_eq!((kinds(&moves), moves[0].cause, moves[0].to), (vec![MoveKind::Lifted], cause, State::Watching));
        assert!(guard(FILE, times.s(0)).remove(&lift, times.s(1)).is_empty(), "there was nothing to lift");
    }
}

#[test]
fn other_saves_leave_it_and_warn_once_each() {
    let times = Times::new();
    let mut guard = rolled_back(times);
    let since = guard.report(0.05).since;
    let wording = changed("api_key = \"client\"", "api_key = \"client\"\nmax_in_flight = 9");
    for text in [
        FILE.to_owned(),
        format!("{FILE}alpha = 0.5\n"),
        format!("{FILE}errors = {{ floor = 0.4, max_ratio = 9.0 }}\n"),
        changed("127.0.0.1:1/v1", "127.0.0.1:9/v1"),
        changed("qwen = 5 }", "qwen = 0 }"),
        changed("qwen = 25", "qwen = 50"),
        changed("api_key = \"none\"", "api_key = { env = \"KEY\" }"),
        changed("[guard]", "[[route]]\nname = \"other\"\npercent = { qwen = 1 }\n[guard]"),
        wording,
    ] {
        let reloaded = guard.reload(facts(&text), times.s(100));
        assert!(reloaded.moves.is_empty(), "{text}");
        let warning = reloaded.warning.unwrap();
        assert!(warning.starts_with("qwen has been rolled back since 2026-11-18T11:07:40Z: "), "{warning}");
        assert!(warning.ends_with("This save does not lift it; to lift it: shiftgate resume"), "{warning}");
        assert_eq!((guard.state(), guard.is_withdrawn(), guard.report(0.05).since), (State::RolledBack, true, since));
    }
}

#[test]
fn an_epoch_begins_by_the_definition_only() {
    let times = Times::new();
    for (text, is_new) in [
        (changed("name = \"n\"", "name = \"m\""), true),
        (changed(":2/v1", ":3/v1"), true),
        (changed(":1/v1", ":3/v1"), true),
        (format!("{FILE}errors = {{ overdue = \"9s\" }}\n"), true),
        (format!("{FILE}alpha = 0.02\n"), true),
        (changed("qwen = 5 }", "qwen = 7 }"), false),
        (changed("qwen = 5 }", "qwen = 0 }").replace("qwen = 25", "qwen = 0"), false),
        (changed("name = \"nightly\"", "name = \"daily\""), false),
        (changed("\"none\"", "{ env = \"KEY\" }"), false),
        (format!("{FILE}resume = 4\nnotify = {{ url = \"https://h/x\" }}\n"), false),
        (format!("{FILE}action = \"alert\"\n"), false),
    ] {
        let mut guard = guard(FILE, times.s(0));
        guard.trial(&trial(Side::Candidate, 1), FAILED, times.s(0));
        assert_eq!(guard.reload(facts(&text), times.s(1)), Default::default(), "a candidate that is watched");
        assert_eq!(guard.report(0.05).tally.trials.candidate == 0, is_new, "{text}");
        assert_eq!(guard.drawn(), Some(if is_new { 2 } else { 1 }));
    }
}

#[test]
fn a_hold_is_judged_by_the_epoch_in_which_it_began() {
    let times = Times::new();
    let looser = format!("{FILE}errors = {{ max_ratio = 9.0 }}\n");
    let mut bad = guard(FILE, times.s(0));
    fail(&mut bad, times.s(0));
    assert!(bad.reload(facts(&looser), times.s(10)).warning.unwrap().contains("qwen has been held since"));
    assert_eq!(bad.report(0.05).ln_evidence, 0.0, "a new epoch");
    assert_eq!(kinds(&bad.tick(true, times.s(60))), [MoveKind::RolledBack]);
    // What was drawn before belongs to it, and may release it.
    let mut both = guard(FILE, times.s(0));
    fail(&mut both, times.s(0));
    both.reload(facts(&looser), times.s(10));
    for _ in 0..20 {
        both.trial(&trial(Side::Baseline, 1), FAILED, times.s(20));
    }
    assert_eq!(kinds(&both.tick(true, times.s(60))), [MoveKind::Released]);
    assert_eq!(both.drawn(), Some(2));
}

#[test]
fn an_alert_is_told_once_an_epoch_and_nothing_moves() {
    let times = Times::new();
    let alert = format!("{FILE}action = \"alert\"\n");
    let mut guard = guard(&alert, times.s(0));
    let moves = fail(&mut guard, times.s(0));
    assert_eq!((kinds(&moves), moves[0].from, moves[0].to), (vec![MoveKind::Held], State::Watching, State::Watching));
    assert!(moves[0].why.ends_with("action is \"alert\", so nothing is withdrawn"), "{}", moves[0].why);
    assert!(fail(&mut guard, times.s(1)).is_empty() && guard.tick(true, times.s(100)).is_empty());
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Watching, false, Some(1)));
    (0..9).for_each(|n| assert!(guard.breaker(BreakerChange::Opened, true, times.s(100 + n)).is_empty()));
    guard.reload(facts(&format!("{alert}alpha = 0.02\n")), times.s(200));
    assert_eq!(kinds(&fail(&mut guard, times.s(201))), [MoveKind::Held], "another epoch");
    // With the other action the evidence that is there acts at once.
    let moves = guard.reload(facts(&format!("{FILE}alpha = 0.02\n")), times.s(202)).moves;
    assert_eq!((kinds(&moves), moves[0].to, guard.is_withdrawn()), (vec![MoveKind::Held], State::Held, true));
    // And back: the state stays, the requests do not.
    assert!(guard.reload(facts(&format!("{alert}alpha = 0.02\n")), times.s(203)).warning.is_some());
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Held, false, None));
}

#[test]
fn without_a_share_of_the_baseline_the_floor_acts_alone() {
    let times = Times::new();
    let text = changed("qwen = 5 }", "qwen = 100 }").replace("qwen = 25", "qwen = 100");
    let mut guard = guard(&text, times.s(0));
    assert_eq!(guard.report(1.0).verdict, Verdict::Blind);
    let moves = (0..20).flat_map(|_| {
        let alone = shiftgate::api::guard::Trial { weight: None, ..trial(Side::Candidate, 1) };
        guard.trial(&alone, Ended::Answered, times.s(0));
        guard.trial(&alone, FAILED, times.s(0))
    });
    assert_eq!(kinds(&moves.collect::<Vec<_>>()), [MoveKind::Held]);
}

fn through_the_file(saved: Saved) -> Saved {
    let state = StateFile { candidates: vec![saved], ..StateFile::default() };
    let mut read = StateFile::read(&state.write()).unwrap();
    assert_eq!(read, state);
    read.candidates.pop().unwrap()
}

#[test]
fn a_restart_continues_what_was_withdrawn() {
    let times = Times::new();
    let before = rolled_back(times);
    let saved = through_the_file(before.saved(times.s(70)));
    let (guard, moves) = Guard::restore(facts(FILE), &saved, 1, times.s(500));
    assert!(moves.is_empty());
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::RolledBack, true, None));
    let (then, now) = (before.report(0.05), guard.report(0.05));
    assert_eq!((then.since, then.cause, then.why), (now.since, now.cause, now.why));

    for (text, cause) in [
        (format!("{FILE}resume = 1\n"), Cause::Resumed),
        (changed("qwen = 5 }", "qwen = 0 }").replace("qwen = 25", "qwen = 0"), Cause::PercentZero),
        (changed("name = \"n\"", "name = \"m\""), Cause::Changed),
        (changed(":2/v1", ":3/v1"), Cause::Changed),
    ] {
        let (guard, moves) = Guard::restore(facts(&text), &saved, 1, times.s(500));
        assert_eq!((kinds(&moves), moves[0].cause, moves[0].from), (vec![MoveKind::Lifted], cause, State::RolledBack));
        assert_eq!((guard.state(), guard.is_withdrawn()), (State::Watching, false));
    }
    for text in [format!("{FILE}alpha = 0.02\n"), changed(":1/v1", ":3/v1"), changed("qwen = 5 }", "qwen = 7 }")] {
        let (guard, moves) = Guard::restore(facts(&text), &saved, 1, times.s(500));
        assert_eq!((moves, guard.state()), (Vec::new(), State::RolledBack), "{text}");
    }

    let watched = through_the_file(self::guard(FILE, times.s(0)).saved(times.s(0)));
    let (guard, moves) = Guard::restore(facts(FILE), &watched, 1, times.s(500));
    assert_eq!((guard.state(), guard.report(0.05).cause, moves), (State::Watching, Some(Cause::Restart), Vec::new()));
}

#[test]
fn a_restart_in_a_hold_keeps_its_sums_and_at_most_a_minute() {
    let times = Times::new();
    let mut held = guard(FILE, times.s(0));
    fail(&mut held, times.s(0));
    let saved = through_the_file(held.saved(times.s(20)));
    let (mut guard, _) = Guard::restore(facts(FILE), &saved, 1, times.s(500));
    assert_eq!((guard.state(), guard.report(0.05).until), (State::Held, Some(times.s(540).time)));
    assert!(guard.tick(true, times.ms(539_999)).is_empty());
    let moves = guard.tick(true, times.s(540));
    assert_eq!(kinds(&moves), [MoveKind::RolledBack]);
    let evidence = held.report(0.05).ln_evidence.exp();
    assert!((moves[0].evidence.unwrap() / evidence - 1.0).abs() < 1e-9);

    // The baseline had failed as well, and the file was written then.
    for _ in 0..20 {
        held.trial(&trial(Side::Baseline, 1), FAILED, times.s(20));
    }
    let mut saved = through_the_file(held.saved(times.s(20)));
    saved.hold.as_mut().unwrap().left_ms = u64::MAX;
    let (mut guard, _) = Guard::restore(facts(FILE), &saved, 1, times.s(500));
    assert_eq!(guard.report(0.05).until, Some(times.s(560).time), "at most a minute");
    assert_eq!(kinds(&guard.tick(true, times.s(560))), [MoveKind::Released]);
}

#[test]
fn other_bytes_are_an_error_and_the_history_is_bounded() {
    let mut state = StateFile::default();
    for n in 0..HISTORY as u64 + 5 {
        let at = Times::new().s(n).time;
        let (cause, moved, percents) = match n % 2 {
            0 => (EntryCause::Edit, None, BTreeMap::from([("default".to_owned(), [("qwen".to_owned(), 2.5)].into())])),
            _ => {
                let (from, to) = (State::Watching, State::Held);
                (
                    EntryCause::Guard,
                    Some(EntryMove { candidate: "qwen".into(), from, to, why: "w".into() }),
                    BTreeMap::new(),
                )
            }
        };
        state.add(Entry { at, generation: n, cause, hash: "9f2c".to_owned(), percents, moved });
    }
    assert_eq!((state.history.len(), state.history[0].generation), (HISTORY, 5));
    let bytes = state.write();
    assert_eq!(StateFile::read(&bytes).as_ref(), Ok(&state));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("{\"version\":1,\"candidates\":[],\"history\":[{\"at\":\"2026-11-18T11:06:45.000Z\",\"generation\":5,\"cause\":\"guard\",\"hash\":\"9f2c\",\"candidate\":\"qwen\",\"from\":\"watching\",\"to\":\"held\",\"why\":\"w\"}"), "{text}");

    assert_eq!(StateFile::read(br#"{"version":2,"candidates":"else"}"#), Err(StateError::Version(2)));
    for wrong in [
        "",
        "null",
        "{}",
        "[]",
        "{\"version\":1}",
        "{\"version\":1,\"candidates\":[{}],\"history\":[]}",
        "{\"version\":-1}",
    ] {
        assert!(matches!(StateFile::read(wrong.as_bytes()), Err(StateError::Unreadable(_))), "{wrong}");
    }
    assert_eq!(StateFile::read(&vec![b' '; (16 << 20) + 1]), Err(StateError::TooLarge));
    let times = Times::new();
    let mut held = guard(FILE, times.s(0));
    fail(&mut held, times.s(0));
    let text = String::from_utf8(StateFile { candidates: vec![held.saved(times.s(0))], ..Default::default() }.write())
        .unwrap();
    assert!(StateFile::read(text.as_bytes()).is_ok());
    for (from, to) in [
        ("\"max_ratio\":1.5", "\"max_ratio\":0.5"),
        ("\"floor_events\":", "\"floor_events\":0"),
        ("\"alpha\":0.01", "\"alpha\":0"),
    ] {
        let wrong = text.replace(from, to);
        assert!(wrong != text, "{from} in {text}");
        let wrong = wrong.replace("\"floor_events\":0", "\"floor_events\":0,\"x\":");
        assert!(matches!(StateFile::read(wrong.as_bytes()), Err(StateError::Unreadable(_))), "{wrong}");
    }
}

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

    /// Whatever happens, in whatever order.
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
            prop_assert_eq!(guard.is_withdrawn(), state != State::Watching && file != 8);
            prop_assert_eq!(guard.drawn().is_some(), state == State::Watching);
        }
    }
}
