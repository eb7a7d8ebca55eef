//! The state file: what a restart continues, and which bytes are refused.

use std::collections::BTreeMap;

use shiftgate::api::guard::{
    Cause, Entry, EntryCause, EntryMove, Guard, HISTORY, MoveKind, Saved, Side, State, StateError, StateFile,
};

use super::support::{FAILED, FILE, Times, changed, facts, fail, guard, kinds, rolled_back, trial};

pub(crate) fn through_the_file(saved: Saved) -> Saved {
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

    let watched = through_the_file(Guard::new(facts(FILE), 1, times.s(0)).saved(times.s(0)));
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
    let (then, now) = (held.report(0.05), guard.report(0.05));
    assert_eq!((now.state, now.until), (State::Held, Some(times.s(540).time)));
    assert_eq!((now.tally, now.verdict, now.keys), (then.tally, then.verdict, then.keys), "what decides is shown");
    assert!((now.ln_evidence - then.ln_evidence).abs() < 1e-9 && now.ln_evidence > 0.0);
    assert!(guard.tick(true, times.ms(539_999)).is_empty());
    let moves = guard.tick(true, times.s(540));
    assert_eq!(kinds(&moves), [MoveKind::RolledBack]);
    let evidence = held.report(0.05).ln_evidence.exp();
    assert!((moves[0].evidence.unwrap() / evidence - 1.0).abs() < 1e-9);

    let lifted = format!("{FILE}resume = 9\n");
    let (mut again, _) = Guard::restore(facts(FILE), &saved, 1, times.s(500));
    let moves = again.reload(facts(&lifted), times.s(501)).moves;
    assert_eq!((kinds(&moves), moves[0].tally), (vec![MoveKind::Lifted], then.tally), "it tells of what was shown");

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
