//! The ways between the states: each of the table, and none beside them.

use shiftgate::api::guard::{BreakerChange, Cause, Ended, Guard, Lift, MoveKind, Side, State, Trial, Verdict};
use shiftgate::api::model::Percent;

use super::support::{FAILED, FILE, Times, changed, facts, fail, guard, kinds, rolled_back, trial};

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
fn what_is_a_trial() {
    let times = Times::new();
    let percent = |percent| Percent::try_from(percent).unwrap();
    let draw = |guard: &Guard, side, own, left| guard.draw(side, (percent(own), percent(left)), Some(4));
    let guard = guard(FILE, times.s(0));
    let found = draw(&guard, Side::Candidate, 5.0, 95.0).unwrap();
    assert_eq!(found, Trial { key: Some(4), ..trial(Side::Candidate, 1) });
    assert!(draw(&guard, Side::Baseline, 5.0, 95.0).is_some());
    // A route where one of the two has no share, while another one has both.
    assert_eq!(draw(&guard, Side::Baseline, 0.0, 100.0), None);
    assert_eq!(draw(&guard, Side::Candidate, 100.0, 0.0), None);
    let all = changed("qwen = 5 }", "qwen = 100 }").replace("qwen = 25", "qwen = 100");
    let blind = Guard::new(facts(&all), 1, times.s(0));
    assert_eq!(draw(&blind, Side::Candidate, 100.0, 0.0).unwrap().weight, None);
    assert_eq!(draw(&rolled_back(times), Side::Candidate, 5.0, 95.0), None);
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
    assert!(bad.report(0.05).ln_evidence > 0.0, "what decides is shown");
    assert_eq!(kinds(&bad.tick(true, times.s(60))), [MoveKind::RolledBack]);
    // Requests that were drawn before belong to it, and may release it.
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
    let told = guard.report(0.05);
    assert_eq!((told.cause, told.why.as_ref(), told.until), (Some(Cause::Errors), Some(&moves[0].why), None));
    assert_eq!(told.next, "qwen goes on serving, because action is \"alert\"; to withdraw it, set its percent to 0");
    assert!(fail(&mut guard, times.s(1)).is_empty() && guard.tick(true, times.s(100)).is_empty());
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Watching, false, Some(1)));
    (0..9).for_each(|n| assert!(guard.breaker(BreakerChange::Opened, true, times.s(100 + n)).is_empty()));
    guard.reload(facts(&format!("{alert}alpha = 0.02\n")), times.s(200));
    assert_eq!((guard.report(0.05).cause, guard.report(0.05).why), (None, None));
    assert_eq!(kinds(&fail(&mut guard, times.s(201))), [MoveKind::Held], "another epoch");
    // With the other action the evidence that is there acts at once.
    let moves = guard.reload(facts(&format!("{FILE}alpha = 0.02\n")), times.s(202)).moves;
    assert_eq!((kinds(&moves), moves[0].to, guard.is_withdrawn()), (vec![MoveKind::Held], State::Held, true));
    // And back: no other save gives the requests back.
    assert!(guard.reload(facts(&format!("{alert}alpha = 0.02\n")), times.s(203)).warning.is_some());
    assert_eq!((guard.state(), guard.is_withdrawn(), guard.drawn()), (State::Held, true, None));
}

#[test]
fn an_alert_that_was_told_is_shown_only_while_the_guard_alerts() {
    let times = Times::new();
    let alert = format!("{FILE}action = \"alert\"\n");
    let mut guard = guard(&alert, times.s(0));
    assert_eq!(kinds(&fail(&mut guard, times.s(0))), [MoveKind::Held]);
    for _ in 0..20 {
        guard.trial(&trial(Side::Baseline, 1), FAILED, times.s(1));
    }
    assert!(guard.report(0.05).next.starts_with("qwen goes on serving"));
    // The evidence has fallen, so that nothing moves; from here on it would be withdrawn.
    assert!(guard.reload(facts(FILE), times.s(2)).moves.is_empty());
    let shown = guard.report(0.05);
    assert_eq!((shown.state, shown.cause, shown.why), (State::Watching, None, None));
    assert!(!shown.next.contains("alert"), "{}", shown.next);
}

#[test]
fn without_a_share_of_the_baseline_the_floor_acts_alone() {
    let times = Times::new();
    let text = changed("qwen = 5 }", "qwen = 100 }").replace("qwen = 25", "qwen = 100");
    let mut guard = guard(&text, times.s(0));
    assert_eq!(guard.report(1.0).verdict, Verdict::Blind);
    let moves = (0..20).flat_map(|_| {
        let alone = Trial { weight: None, ..trial(Side::Candidate, 1) };
        guard.trial(&alone, Ended::Answered, times.s(0));
        guard.trial(&alone, FAILED, times.s(0))
    });
    assert_eq!(kinds(&moves.collect::<Vec<_>>()), [MoveKind::Held]);
}
