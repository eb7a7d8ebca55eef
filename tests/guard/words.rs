//! The words of `check` and the sentences of `/status`.

use shiftgate::api::guard::{Ended, Guard, OtherSide, Side, table};

use super::support::{FILE, Times, config, facts, trial};

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots"}, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn check_says_what_is_limited_and_how_long_it_takes() {
    snapshot("guard-table", &table(&config(FILE)));
    let text = FILE.replace("qwen = 25", "qwen = 100").replace("state = \"state.json\"", "");
    let text = format!(
        "{text}action = \"alert\"\nalpha = 0.05\nerrors = {{ floor = 0.002, max_ratio = 1 }}\n\
         notify = {{ url = \"https://hooks.example/canary-7f3\", format = \"slack\" }}\n"
    );
    let told = table(&config(&text));
    assert!(!told.contains("canary"), "{told}");
    snapshot("guard-table-alert", &told);
    let none = FILE.replace("[guard]", "").replace("overdue = \"2m\"", "");
    assert_eq!(table(&config(&none)), "guard: none, no candidate is withdrawn\n");
    let large = table(&config(&format!("{FILE}errors = {{ floor = 0.3 }}\n")));
    assert!(large.contains("fails 20 %: never at 1/s, never at 10/s, never at 100/s"), "{large}");
}

/// Seconds that the table says for 20 % of failures, at 5 % and 10 requests a second: guard.md's own table has 45 s.
#[test]
fn the_times_are_those_of_the_simulation() {
    let told = table(&config(&FILE.replace("qwen = 25", "qwen = 1")));
    let rows: Vec<&str> = told.lines().filter(|line| line.contains("fails 20 %")).collect();
    let [one, five] = rows[..] else { panic!("{told}") };
    // Simulated: 29 min, 3 min, 34 s, and 7 min, 45 s, 10 s.
    assert!(one.ends_with("26 min at 1/s, 3.5 min at 10/s, 32 s at 100/s"), "{one}");
    assert!(five.ends_with("7.2 min at 1/s, 50 s at 10/s, 8.6 s at 100/s"), "{five}");
}

#[test]
fn each_verdict_has_its_next_step() {
    let times = Times::new();
    let text = FILE.replace("percent = { qwen = 5 }", "percent = { qwen = 50 }");
    let mut guard = Guard::new(facts(&text), 1, times.s(0));
    let next = |guard: &Guard| guard.report(0.5).next;
    assert_eq!(next(&guard), "about 3087 more requests until qwen would be withdrawn if 2.5 % of them failed");
    guard.trial(&trial(Side::Candidate, 1), Ended::Cut, times.s(0));
    assert_eq!(next(&guard), "qwen is withdrawn at an evidence of 100");
    for _ in 0..6_000 {
        guard.trial(&trial(Side::Candidate, 1), Ended::Answered, times.s(0));
        guard.trial(&trial(Side::Baseline, 1), Ended::Answered, times.s(0));
    }
    assert_eq!(next(&guard), "qwen would have been withdrawn if 2.5 % of its requests failed");
    for _ in 0..3_000 {
        guard.trial(&trial(Side::Baseline, 1), Ended::Failed(OtherSide::NotAnswered), times.s(0));
    }
    assert_eq!(next(&guard), "openai fails so often that qwen may fail in 2.5 % of its requests");
    let zero = FILE.replace("qwen = 5 }", "qwen = 0 }").replace("qwen = 25", "qwen = 0");
    assert_eq!(next(&Guard::new(facts(&zero), 1, times.s(0))), "qwen is at 0 %: nothing is counted");
    let all = FILE.replace("qwen = 5 }", "qwen = 100 }").replace("qwen = 25", "qwen = 0");
    let blind = "openai has no share on any route of qwen: only the floor and its breaker count";
    assert_eq!(next(&Guard::new(facts(&all), 1, times.s(0))), blind);
}
