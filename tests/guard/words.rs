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

/// Times of the table for 20 % after a healthy minute, and for doubled errors, at 1, 10 and 100 requests a second.
#[test]
fn the_times_are_near_those_of_the_simulation() {
    let rollout =
        |percent: &str| FILE.replace("qwen = 25", "qwen = 0").replace("qwen = 5 }", &format!("qwen = {percent} }}"));
    let units = [("s", 1.0), ("min", 60.0), ("h", 3_600.0), ("days", 86_400.0)];
    // The page's medians, in seconds.
    for (percent, often, doubled) in [
        ("1", [29.0 * 60.0, 180.0, 34.0], [f64::NAN; 3]),
        ("5", [420.0, 45.0, 10.0], [4.0 * 86_400.0, 9.6 * 3_600.0, 57.0 * 60.0]),
        ("25", [240.0, 21.0, 3.4], [81_000.0, 8_100.0, 810.0]),
    ] {
        let told = table(&config(&rollout(percent)));
        let rows: Vec<&str> = told.lines().filter(|line| line.contains("      fails")).collect();
        assert_eq!(rows.len(), 2, "{told}");
        for (row, expected) in rows.into_iter().zip([often, doubled]) {
            let times = row.split_once(": ").unwrap().1.split(", ");
            for (time, expected) in times.zip(expected) {
                let (number, rest) = time.split_once(' ').unwrap();
                let unit = units.iter().find(|(unit, _)| rest.starts_with(&format!("{unit} at"))).unwrap();
                let found = number.parse::<f64>().unwrap() * unit.1;
                assert!(
                    expected.is_nan() || (0.6..1.6).contains(&(found / expected)),
                    "{time}, {expected} s, in {told}"
                );
            }
        }
    }
}

#[test]
fn each_verdict_has_its_next_step() {
    let times = Times::new();
    let text = FILE.replace("percent = { qwen = 5 }", "percent = { qwen = 50 }");
    let mut guard = Guard::new(facts(&text), 1, times.s(0));
    let next = |guard: &Guard| guard.report(0.5).next;
    assert_eq!(next(&guard), "about 3357 more requests until qwen would be withdrawn if 2.5 % of them failed");
    guard.trial(&trial(Side::Candidate, 1), Ended::Cut, times.s(0));
    assert_eq!(next(&guard), "qwen is withdrawn at an evidence of 100");
    let mut alerting = guard.clone();
    alerting.reload(facts(&format!("{text}action = \"alert\"\n")), times.s(0));
    assert_eq!(next(&alerting), "qwen is reported at an evidence of 100");
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
