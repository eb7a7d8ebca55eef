//! The report: against an independent reference, in any order, on hostile lines, as a command, and how often it errs.
//!
//! `tests/sdk/report_ref.py` is the reference, `tests/sdk/report_data.py` made the records in `tests/data/report`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use shiftgate::api::report::{CheckResult, Collector, Filter, GpuPrices, MAX_LINE, Report, Verdict, markdown, text};
use tempfile::TempDir;

const CASES: [&str; 6] = ["empty", "mixed", "near", "rows", "skipped", "turned"];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/report").join(name)
}

/// A folder with a file of rollouts that has a price of GPUs.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let backends = r#"
[backend.openai]
engine = "openai"
url = "http://127.0.0.1:9/v1"
api_key = "none"
[backend.qwen-gpu]
engine = "vllm"
url = "http://127.0.0.1:9/v1"
api_key = "none"
price = { gpu_hour = 2.50, gpus = 8 }
[rollout]
name = "test"
baseline = "openai"
percent = { qwen-gpu = 5 }
"#;
    fs::write(folder.path().join("rollout.toml"), backends).unwrap();
    folder
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
    command.env_remove("SHIFTGATE_CONFIG").env_remove("RUST_LOG").current_dir(folder).arg("report");
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn report_of(files: &[&Path], more: &[&str]) -> Value {
    let folder = folder();
    let (code, out, err) = run(command(folder.path()).args(files).arg("--json").args(more));
    assert_eq!((code, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

fn collect<'a>(lines: impl IntoIterator<Item = &'a str>) -> Report {
    let mut collector = Collector::new(Filter::default());
    for line in lines {
        collector.line(Some(line.as_bytes()));
    }
    collector.report(1, &GpuPrices::default())
}

/// Compares a report with the reference's. Sentences are not compared, but whether there is one where it is a warning.
#[track_caller]
fn assert_like(path: &str, found: &Value, expected: &Value) {
    let is_words = path.ends_with("/says");
    match (found, expected) {
        (_, Value::Bool(is_said)) if is_words => assert_eq!(!found.is_null(), *is_said, "{path}"),
        (Value::Object(found), Value::Object(expected)) => {
            let words = ["version", "says"];
            let more: Vec<&String> =
                found.keys().filter(|key| !expected.contains_key(*key) && !words.contains(&key.as_str())).collect();
            assert!(more.is_empty(), "{path}: the reference has no {more:?}");
            for (key, value) in expected {
                assert!(found.contains_key(key), "{path} lacks {key}");
                assert_like(&format!("{path}/{key}"), &found[key], value);
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{path}");
            for (position, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_like(&format!("{path}/{position}"), found, expected);
            }
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            let is_quantile = ["/p50", "/p95", "/p99"].iter().any(|end| path.ends_with(end));
            let room = if is_quantile { other * 0.001 } else { 1.5e-6_f64.max(other.abs() * 1e-9) };
            assert!((one - other).abs() <= room, "{path}: {one}, the reference says {other}");
        }
        (found, expected) => assert_eq!(found, expected, "{path}"),
    }
}

#[test]
fn the_reference_finds_the_same() {
    for case in CASES {
        let expected = fs::read_to_string(data(&format!("{case}.json"))).unwrap();
        let found = report_of(&[&data(&format!("{case}.jsonl"))], &[]);
        assert_like(case, &found, &serde_json::from_str(&expected).unwrap());
    }
}

/// A larger draw, by the reference itself; left out where there is no Python.
#[test]
fn the_reference_finds_the_same_in_3000_pairs() {
    let python = |arguments: &[&str]| Command::new("python3").arg("-B").args(arguments).output().ok();
    let script = |name: &str| format!("{}/tests/sdk/{name}", env!("CARGO_MANIFEST_DIR"));
    let Some(drawn) = python(&[&script("report_data.py"), "--pairs", "3000", "--seed", "7", "--keys", "900"]) else {
        return;
    };
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drawn.jsonl");
    fs::write(&file, drawn.stdout).unwrap();
    let expected = python(&[&script("report_ref.py"), file.to_str().unwrap()]).unwrap();
    assert!(expected.status.success(), "{}", String::from_utf8_lossy(&expected.stderr));
    let mut found = report_of(&[&file], &[]);
    // The reference reads no file of rollouts.
    for money in found["money"].as_array_mut().unwrap() {
        money["gpus_usd_per_month"] = Value::Null;
        money["break_even"] = Value::Null;
    }
    assert_like("drawn", &found, &serde_json::from_slice(&expected.stdout).unwrap());
}

#[test]
fn the_readme_has_the_table_of_users_and_days() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    let Ok(run) = python.arg("-B").current_dir(root).args(["tests/sdk/decision_table.py", "README.md"]).output() else {
        return;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_keys(value: &Value, expected: &str) {
    assert_eq!(keys(value), expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn fields_have_their_names_and_order() {
    let report = report_of(&[&data("mixed.jsonl")], &[]);
    assert_keys(&report, "v version from to files instances lines other routes rows totals money ends");
    assert_keys(&report["lines"], "pairs counts skipped");
    assert_keys(&report["lines"]["skipped"], "torn foreign newer too_long");
    assert_keys(&report["other"], "rows pairs");
    let route = &report["routes"][0];
    let names = "route candidate baseline epoch rows verdict why needs_pairs says hours admitted shadow served";
    assert_keys(route, names);
    let names = "sent opted_out ineligible residency untranslatable unwell in_flight bytes budget";
    assert_keys(&route["shadow"], names);
    assert_keys(&route["served"]["openai"], "chosen attempted served failed usd priced");
    let row = &report["rows"][0];
    assert_keys(
        row,
        "route model candidate served_by sampling epoch baseline current verdict why needs_pairs from to pairs keys \
         key_hours thinned percents outcomes modes finishes unscored checks kinds flips ttft_ms total_ms length tokens \
         cost worst notes",
    );
    let check = &row["checks"][0];
    assert_keys(check, "check n both baseline_only candidate_only share difference limit result");
    assert_keys(&check["share"], "baseline candidate");
    assert_keys(&check["difference"], "n mean low high");
    let checks: Vec<&str> =
        row["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["failed", "refused", "empty", "cut", "json_broken", "schema_broken", "script"]);
    let kind = &row["kinds"][1];
    assert_keys(kind, "kind n agreement floor loss difference limit result");
    assert_keys(&kind["floor"], "n agreement");
    assert_keys(&row["flips"], "finish exact tool_names tools script fence");
    assert_keys(&row["flips"]["finish"], "n count floor");
    assert_keys(&row["ttft_ms"], "n baseline candidate ratio cold warm mixed unknown");
    assert_keys(&row["ttft_ms"]["ratio"], "n median low high");
    assert_keys(&row["ttft_ms"]["unknown"], "n ratio");
    assert_keys(&row["total_ms"], "n baseline candidate ratio");
    assert_keys(&row["total_ms"]["baseline"], "p50 p95 p99");
    assert_keys(&row["length"], "n ratio");
    assert_keys(&row["tokens"], "n baseline candidate");
    assert_keys(&row["tokens"]["baseline"], "input output");
    assert_keys(&row["cost"], "n coverage baseline candidate");
    assert_keys(&row["cost"]["baseline"], "per_1000 good per_1000_good");
    assert_keys(&row["worst"][0], "id trace_id at kind agreement outcome");
    assert_keys(&row["notes"][0], "note says");
    assert_keys(&report["totals"][0], "candidate what value pooled reversed rows says");
    assert_keys(&report["totals"][0]["rows"][0], "route row value weight");
    assert_keys(
        &report["money"][0],
        "candidate requests_per_day baseline_usd_per_1000 candidate_usd_per_1000 baseline_usd_per_month \
         all_baseline_usd_per_month gpus_usd_per_month break_even",
    );
    assert_keys(&report["money"][0]["break_even"], "requests_per_day percent");
    assert_keys(&report["ends"][0], "backend model ends days");
}

/// A good pair of its own user; `change` makes it another one.
fn pair(number: u64, change: impl FnOnce(&mut Value)) -> String {
    let leg = |backend: &str| {
        json!({
            "backend": backend, "outcome": "ok", "mode": "json", "finish": "stop", "ttft_ms": 100.0, "total_ms": 900.0,
            "refused": false, "json_valid": true, "schema_valid": true, "input_tokens": 100, "cached_input_tokens": 0,
            "output_tokens": 50, "cost_usd": 0.001
        })
    };
    let scores = json!({
        "kind": "json", "agreement": 1.0, "finish_equal": true, "exact": true, "script_equal": true,
        "length_ratio": 1.0, "null": {}
    });
    let second = number % 3600;
    let mut pair = json!({
        "v": 1, "kind": "pair", "id": format!("{number:016x}"), "instance": "0a1b2c",
        "at": format!("2026-11-20T08:{:02}:{:02}.000Z", second / 60, second % 60), "epoch": "5f1c09aa31d2e870",
        "route": "default", "model": "gpt-4o-mini", "percent": 5.0, "served_by": "baseline",
        "key": format!("{number:016x}"), "trace_id": format!("{number:032x}"),
        "request": {"format": "json_schema", "temperature": 0}, "baseline": leg("openai"), "candidate": leg("qwen"),
        "scores": scores, "floor": scores
    });
    change(&mut pair);
    pair.to_string()
}

fn pairs(n: u64, change: impl Fn(u64, &mut Value)) -> Vec<String> {
    (0..n).map(|number| pair(number, |pair| change(number, pair))).collect()
}

fn judged(lines: &[String]) -> Report {
    collect(lines.iter().map(String::as_str))
}

#[test]
fn ready_says_what_no_interval_counts() {
    // One user for whom everything is refused, and tool calls where the baseline answers with text.
    let mut lines = pairs(1_200, |number, pair| {
        if number >= 600 {
            pair["key"] = json!("00000000000000ff");
            pair["candidate"]["refused"] = json!(number < 700);
        }
    });
    let tools = (2_000..2_100).map(|number| {
        pair(number, |pair| {
            pair["baseline"]["mode"] = json!("text");
            pair["candidate"]["mode"] = json!("tools");
            pair["scores"] = json!({"kind": "tools", "agreement": 0.0});
            pair["floor"] = json!({"kind": "text", "agreement": 1.0});
        })
    });
    lines.extend(tools);
    let genuine = (3_000..3_200).map(|number| {
        pair(number, |pair| {
            pair["baseline"]["mode"] = json!("tools");
            pair["candidate"]["mode"] = json!("tools");
            pair["scores"] = json!({"kind": "tools", "agreement": 1.0});
            pair["floor"] = json!({"kind": "tools", "agreement": 1.0});
        })
    });
    lines.extend(genuine);
    let says = judged(&lines).routes[0].says.clone();
    let expected = "; but no interval counts this: qwen calls tools in 100 of 1500 answers where openai does not; refused \
                    is qwen's fault alone in 100 of 1500 pairs, of few users or hours";
    assert!(says.starts_with("ready: 1500 pairs exclude") && says.ends_with(expected), "{says}");
    // What comes from both sides alike is no caveat.
    let says = judged(&pairs(1_200, |number, pair| {
        let side = if number % 2 == 0 { "baseline" } else { "candidate" };
        if number < 60 {
            pair[side]["mode"] = json!("tools");
        }
    }));
    let says = &says.routes[0].says;
    assert!(says.ends_with("any check"), "{says}");
}

#[test]
fn the_same_backend_twice_is_ready_with_600_users_and_not_with_100() {
    let report = judged(&pairs(600, |_, _| {}));
    let route = &report.routes[0];
    assert_eq!((route.verdict, route.why.len(), route.needs_pairs), (Verdict::Ready, 0, None));
    assert!(route.says.starts_with("ready: "), "{}", route.says);
    assert_eq!(report.rows[0].kinds[0].agreement, Some(1.0));
    let report = judged(&pairs(100, |_, _| {}));
    let route = &report.routes[0];
    assert_eq!((route.verdict, &route.why[..], route.needs_pairs), (Verdict::NotEnoughData, &["pairs"][..], Some(100)));
    assert!(route.says.starts_with("not enough data: "), "{}", route.says);
    let report = judged(&pairs(300, |number, pair| pair["key"] = json!(format!("{:016x}", number % 20))));
    assert_eq!((&report.routes[0].why[..], report.routes[0].needs_pairs), (&["keys"][..], Some(150)));
    let report = judged(&pairs(300, |_, _| {}));
    let route = &report.routes[0];
    assert_eq!(route.verdict, Verdict::NotEnoughData);
    assert_eq!(&route.why[..], ["failed", "refused", "empty", "cut", "json_broken", "schema_broken", "script"]);
    assert_eq!(route.needs_pairs, Some(200), "492 are enough: 192, rounded up to two digits");
    let report = judged(&pairs(400, |_, pair| pair["floor"] = Value::Null));
    assert!(!report.routes[0].why.contains(&"agreement:json"), "the loss decides without a floor");
    let noisy = judged(&pairs(600, |number, pair| {
        pair["floor"] = Value::Null;
        pair["scores"]["agreement"] = json!(if number % 5 == 0 { 0.4 } else { 1.0 });
    }));
    let route = &noisy.routes[0];
    assert_eq!((route.verdict, &route.why[..]), (Verdict::NotEnoughData, &["agreement:json"][..]));
    assert_eq!(route.needs_pairs, None);
    assert!(route.says.contains("set noise_percent"), "{}", route.says);
}

#[test]
fn each_fault_is_found_with_its_planted_count() {
    type Plant = fn(&mut Value);
    let plants: [(&str, Plant); 8] = [
        ("failed", |pair| {
            pair["candidate"]["outcome"] = json!("timeout");
            pair["scores"] = json!({"kind": null, "agreement": null, "null": {"agreement": "outcome"}});
        }),
        ("refused", |pair| pair["candidate"]["refused"] = json!(true)),
        ("empty", |pair| pair["candidate"]["mode"] = json!("empty")),
        ("cut", |pair| pair["candidate"]["finish"] = json!("length")),
        ("json_broken", |pair| {
            pair["candidate"]["json_valid"] = json!(false);
            pair["candidate"]["schema_valid"] = Value::Null;
        }),
        ("schema_broken", |pair| pair["candidate"]["schema_valid"] = json!(false)),
        ("script", |pair| pair["scores"]["script_equal"] = json!(false)),
        ("agreement:json", |pair| pair["scores"]["agreement"] = json!(0.0)),
    ];
    for (name, plant) in plants {
        let report = judged(&pairs(600, |number, pair| {
            if number % 6 == 0 {
                plant(pair);
            }
        }));
        let (route, row) = (&report.routes[0], &report.rows[0]);
        assert_eq!((route.verdict, &route.why[..]), (Verdict::NotReady, &[name][..]), "{name}");
        assert!(route.says.starts_with("not ready because "), "{}", route.says);
        for check in &row.checks {
            assert_eq!(check.candidate_only, if check.check == name { 100 } else { 0 }, "{name} {}", check.check);
            let result = if check.check == name { CheckResult::Worse } else { CheckResult::Ok };
            assert_eq!(check.result, result, "{name} {}", check.check);
        }
        // The fault of both sides is not held against the candidate.
        if let Some(other) = name.strip_prefix("agreement:") {
            assert_eq!(row.kinds.iter().find(|kind| kind.kind == other).unwrap().result, CheckResult::Worse);
        } else if name != "script" {
            let report = judged(&pairs(600, |number, pair| {
                if number % 6 == 0 {
                    plant(pair);
                    let faulty = pair["candidate"].clone();
                    pair["baseline"] = faulty;
                    pair["baseline"]["backend"] = json!("openai");
                }
            }));
            assert_eq!(report.routes[0].verdict, Verdict::Ready, "{name}: {}", report.routes[0].says);
        }
    }
}

#[test]
fn what_does_not_count_against_a_candidate() {
    let refused = judged(&pairs(600, |_, pair| {
        pair["baseline"]["outcome"] = json!("status_4xx");
        pair["candidate"]["outcome"] = json!("status_4xx");
    }));
    assert_eq!((refused.rows[0].checks[0].n, refused.rows[0].checks[0].both), (600, 0));
    for outcome in ["cancelled", "rate_limited"] {
        let lines = pairs(600, |number, pair| {
            if number < 100 {
                pair["candidate"]["outcome"] = json!(outcome);
            }
        });
        let report = judged(&lines);
        assert_eq!((report.rows[0].checks[0].n, report.rows[0].worst.len()), (500, 0), "{outcome}");
    }
    // Served by the candidate, failures never become pairs.
    let served = judged(&pairs(600, |_, pair| pair["served_by"] = json!("candidate")));
    assert_eq!(served.rows[0].checks[0].result, CheckResult::NotJudged);
    // A rare kind can stop and not delay.
    let rare = judged(&pairs(600, |number, pair| {
        if number < 20 {
            pair["scores"]["kind"] = json!("tools");
            pair["floor"] = Value::Null;
        }
    }));
    assert_eq!(rare.routes[0].verdict, Verdict::Ready, "{}", rare.routes[0].says);
    assert_eq!(
        rare.rows[0].kinds.iter().map(|kind| kind.result).collect::<Vec<_>>(),
        [CheckResult::Ok, CheckResult::NotJudged]
    );
    // A small row delays nothing; one that is worse stops.
    let mixed = |bad: bool| {
        judged(&pairs(620, |number, pair| {
            if number < 20 {
                pair["model"] = json!("other");
            } else if number < 620 && bad && number % 3 == 0 {
                pair["candidate"]["refused"] = json!(true);
            }
        }))
    };
    assert_eq!((mixed(false).routes[0].verdict, mixed(true).routes[0].verdict), (Verdict::Ready, Verdict::NotReady));
}

#[test]
fn nothing_that_was_compared_is_not_ready() {
    let void = |reason: &'static str| json!({"kind": null, "agreement": null, "null": {"agreement": reason}});
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("cancelled", |pair| pair["candidate"]["outcome"] = json!("cancelled")),
        ("rate_limited", |pair| pair["baseline"]["outcome"] = json!("rate_limited")),
        ("status_4xx", |pair| {
            pair["baseline"]["outcome"] = json!("status_4xx");
            pair["candidate"]["outcome"] = json!("status_4xx");
        }),
        ("compare_full", |_| {}),
    ];
    for (reason, change) in changes {
        let report = judged(&pairs(600, |_, pair| {
            change(pair);
            pair["scores"] = void(reason);
            pair["floor"] = Value::Null;
        }));
        let route = &report.routes[0];
        assert_eq!((route.verdict, &route.why[..], route.needs_pairs), (Verdict::NotEnoughData, &["pairs"][..], None));
        assert_eq!(route.says, "not enough data: none of 600 pairs of answers could be compared", "{reason}");
    }
}

#[test]
fn a_sentence_speaks_of_the_rows_that_decide() {
    // A row below the minimum is worse than the one that stops, and says nothing.
    let report = judged(&pairs(660, |number, pair| {
        if number < 60 {
            pair["model"] = json!("tiny");
        }
        if number < 60 || number % 5 == 0 {
            pair["candidate"]["refused"] = json!(true);
        }
    }));
    let says = &report.routes[0].says;
    assert!(says.contains("20.0 % of requests are refused by qwen that openai answers"), "{says}");
    assert!(says.ends_with("for gpt-4o-mini (greedy, served by the baseline)"), "{says}");
    // A row without a twentieth of the pairs is not what is missing.
    let report = judged(&pairs(155, |number, pair| {
        if number < 5 {
            pair["model"] = json!("tiny");
        }
    }));
    let says = &report.routes[0].says;
    assert!(says.starts_with("not enough data: 150 pairs where at least 200 are needed; about 52 more"), "{says}");
    // Rows that are too small to delay `ready` are not what it rests on.
    let report = judged(&pairs(630, |number, pair| {
        if number < 30 {
            pair["model"] = json!("tiny");
        }
    }));
    let says = &report.routes[0].says;
    assert!(says.starts_with("ready: 600 of 630 pairs exclude that qwen is worse than openai"), "{says}");
    assert!(says.ends_with("; the others are in rows too small to decide"), "{says}");
    // Where all rows are small, all decide.
    let mut lines = pairs(21 * 500, |number, pair| pair["model"] = json!(format!("m{}", number % 21)));
    let ready = judged(&lines);
    assert_eq!((ready.rows.len(), ready.routes[0].verdict), (21, Verdict::Ready));
    let mut kept = 0..;
    lines.retain(|line| !line.contains(r#""m3""#) || kept.next() < Some(100));
    let report = judged(&lines);
    let route = &report.routes[0];
    assert_eq!((route.verdict, &route.why[..]), (Verdict::NotEnoughData, &["pairs"][..]));
    assert!(route.says.starts_with("not enough data: 100 pairs where"), "{}", route.says);
}

#[test]
fn only_the_last_epoch_decides() {
    let mut lines = pairs(600, |_, _| {});
    lines.extend(pairs(300, |_, pair| {
        pair["epoch"] = json!("0000000000000000");
        pair["at"] = json!("2026-11-19T08:00:00Z");
        pair["candidate"]["outcome"] = json!("reset");
    }));
    let report = judged(&lines);
    let current: Vec<bool> = report.rows.iter().map(|row| row.current).collect();
    assert_eq!((current, report.rows[0].verdict), (vec![false, true], Verdict::NotReady));
    let text = text(&report);
    assert!(text.find("Row 1:") < text.find("Row 0:"), "rows that decide come first");
    assert_eq!((report.routes[0].verdict, &report.routes[0].rows[..]), (Verdict::Ready, &[1][..]));
}

#[test]
fn more_rows_than_256_are_counted_and_those_with_most_pairs_stay() {
    let lines = pairs(2000, |number, pair| pair["model"] = json!(format!("m{:03}", number % 300 % (1 + number / 6))));
    let report = judged(&lines);
    assert_eq!((report.rows.len(), report.other.rows), (256, 44));
    let kept: u64 = report.rows.iter().map(|row| row.pairs).sum();
    assert_eq!(kept + report.other.pairs, 2000);
    let fewest = report.rows.iter().map(|row| row.pairs).min().unwrap();
    assert!(report.other.pairs <= 44 * fewest);
    // Beyond the rows that are summed, the order still does not matter.
    let mut lines = pairs(3000, |number, pair| pair["model"] = json!(format!("m{:04}", number * 7 % 1300)));
    let expected = serde_json::to_string(&judged(&lines)).unwrap();
    lines.reverse();
    assert_eq!(serde_json::to_string(&judged(&lines)).unwrap(), expected);
    lines.shuffle(&mut StdRng::seed_from_u64(5));
    assert_eq!(serde_json::to_string(&judged(&lines)).unwrap(), expected);
    assert_eq!(judged(&lines).other.rows, 1300 - 256);
}

#[test]
fn the_order_of_lines_and_files_does_not_matter() {
    let folder = folder();
    let mut lines: Vec<String> = ["mixed", "rows", "turned", "skipped"]
        .iter()
        .flat_map(|case| {
            fs::read_to_string(data(&format!("{case}.jsonl"))).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let mut random = StdRng::seed_from_u64(11);
    let mut outputs = Vec::new();
    for round in 0..4 {
        let names: Vec<String> = (0..10).map(|file| format!("{round}-{file}.jsonl")).collect();
        for (part, name) in lines.chunks(lines.len().div_ceil(10)).zip(&names) {
            fs::write(folder.path().join(name), part.join("\n")).unwrap();
        }
        let mut shuffled = names;
        shuffled.shuffle(&mut random);
        for more in [&["--json"][..], &["--markdown"], &[]] {
            let (code, out, err) = run(command(folder.path()).args(&shuffled).args(more));
            assert_eq!((code, err.as_str()), (0, ""));
            outputs.push(out);
        }
        lines.shuffle(&mut random);
    }
    for round in outputs.chunks(3) {
        assert_eq!(round, &outputs[..3]);
    }
}

#[test]
fn thinning_keeps_the_smallest_whatever_the_order() {
    let line = |number: u64| {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let outcome = if number.is_multiple_of(7) { "reset" } else { "ok" };
        let model = if number.is_multiple_of(10) { "small" } else { "large" };
        format!(
            r#"{{"v":1,"kind":"pair","id":"{id:016x}","instance":"0a1b2c","at":"2026-11-20T08:00:00Z","epoch":"e","route":"r",
            "model":"{model}","served_by":"baseline","baseline":{{"backend":"openai","outcome":"ok"}},
            "candidate":{{"backend":"qwen","outcome":"{outcome}"}},"scores":{{}}}}"#
        )
    };
    let lines: Vec<String> = (0..150_000).map(line).collect();
    let forth = judged(&lines);
    let back = collect(lines.iter().rev().map(String::as_str));
    assert_eq!(serde_json::to_string(&forth).unwrap(), serde_json::to_string(&back).unwrap());
    let kept: Vec<(u64, u64, bool)> = forth.rows.iter().map(|row| (row.pairs, row.key_hours, row.thinned)).collect();
    assert_eq!(kept, [(135_000, 131_072 - 15_000, true), (15_000, 15_000, false)]);
}

#[test]
fn lines_that_are_too_long_change_no_figure() {
    let folder = folder();
    let line = pair(1, |_| {});
    let padded = |length: usize| pair(2, |pair| pair["content"] = json!("x".repeat(length)));
    let fits = padded(MAX_LINE - padded(0).len());
    assert_eq!(fits.len(), MAX_LINE);
    fs::write(folder.path().join("a"), format!("{line}\n{fits}\n{}\n{line}", padded(MAX_LINE))).unwrap();
    let (code, out, _) = run(command(folder.path()).args(["a", "--json"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["lines"]["pairs"], &report["lines"]["skipped"]["too_long"]), (0, &json!(3), &json!(1)));
}

#[test]
fn skipped_lines_are_counted_by_reason_and_change_nothing_else() {
    let folder = folder();
    let good = fs::read_to_string(data("rows.jsonl")).unwrap();
    let mut mixed = Vec::new();
    for (number, line) in good.lines().enumerate() {
        mixed.extend([line.as_bytes(), b"\n"].concat());
        let odd: &[&[u8]] = match number % 40 {
            0 => &[&line.as_bytes()[..line.len() / 2], b"{\"v\":1,\xff"],
            1 => &[b"not a record", b"[2]", b"\xef\xbb\xbf{}"],
            2 => &[&line.replacen("\"v\":1", "\"v\":2", 1).into_bytes()],
            3 if number == 3 => &[&vec![b'{'; MAX_LINE + 1], &[b' '; MAX_LINE + 1]],
            _ => &[],
        };
        mixed.extend(odd.iter().flat_map(|line| [line, &b"\r\n"[..]].concat()));
    }
    fs::write(folder.path().join("good"), &good).unwrap();
    fs::write(folder.path().join("mixed"), mixed).unwrap();
    let of = |name: &str| -> Value {
        let (code, out, err) = run(command(folder.path()).args([name, "--json"]));
        assert_eq!((code, err.as_str()), (0, ""));
        serde_json::from_str(&out).unwrap()
    };
    let (mut found, expected) = (of("mixed"), of("good"));
    let skipped = json!({"torn": 14, "foreign": 21, "newer": 7, "too_long": 2});
    assert_eq!(std::mem::replace(&mut found["lines"]["skipped"], expected["lines"]["skipped"].clone()), skipped);
    assert_eq!(found, expected);
}

#[test]
fn files_are_read_once_compressed_and_from_stdin() {
    let folder = folder();
    let path = folder.path();
    let half = |from: u64| (from..from + 150).map(|number| pair(number, |_| {}) + "\n").collect::<String>();
    fs::write(path.join("a.jsonl"), half(0)).unwrap();
    fs::hard_link(path.join("a.jsonl"), path.join("b.jsonl")).unwrap();
    std::os::unix::fs::symlink("a.jsonl", path.join("c.jsonl")).unwrap();
    // Two members, as a log shipper appends them.
    let mut packed = Vec::new();
    for part in [half(150), half(300)] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(part.as_bytes()).unwrap();
        packed.extend(gzip.finish().unwrap());
    }
    fs::write(path.join("d.jsonl.gz"), &packed).unwrap();
    let (code, out, _) =
        run(command(path).args(["a.jsonl", "b.jsonl", "./c.jsonl", "a.jsonl", "d.jsonl.gz", "--json"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["files"], &report["lines"]["pairs"]), (0, &json!(2), &json!(450)));
    let mut child =
        command(path).args(["-", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&packed).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["files"], &report["lines"]["pairs"]), (&json!(1), &json!(300)));
    // A file that cannot be read is named, and nothing is printed.
    fs::write(path.join("cut.gz"), &packed[..packed.len() - 20]).unwrap();
    for bad in ["missing.jsonl", "cut.gz", "."] {
        let (code, out, err) = run(command(path).args(["a.jsonl", bad]));
        assert_eq!((code, out.as_str(), err.contains(bad)), (1, "", true), "{bad}: {err}");
    }
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let folder = folder();
    let path = folder.path();
    fs::write(path.join("ready"), pairs(600, |_, _| {}).join("\n")).unwrap();
    fs::write(path.join("few"), pairs(100, |_, _| {}).join("\n")).unwrap();
    fs::write(path.join("none"), "").unwrap();
    let code = |arguments: &[&str]| run(command(path).args(arguments)).0;
    assert_eq!([code(&["ready"]), code(&["few"]), code(&["none"])], [0, 0, 0]);
    let require = |file| code(&[file, "--require", "ready"]);
    assert_eq!([require("ready"), require("few"), require("none")], [0, 1, 1]);
    for wrong in [
        &[][..],
        &["few", "--json", "--markdown"],
        &["few", "--since", "yesterday"],
        &["few", "--require", "perfect"],
        &["few", "--nothing"],
    ] {
        assert_eq!(code(wrong), 2, "{wrong:?}");
    }
    fs::write(path.join("rollout.toml"), "[backend").unwrap();
    let (code, out, err) = run(command(path).args(["few", "--json"]));
    assert_eq!((code, out.is_empty(), err.starts_with("warning: ")), (0, false, true), "{err}");
    fs::remove_file(path.join("rollout.toml")).unwrap();
    assert_eq!(run(command(path).args(["few", "--json"])).2, "");
}

#[test]
fn the_page_does_not_take_the_place_of_what_is_read() {
    let folder = folder();
    let (path, lines) = (folder.path(), pairs(60, |_, _| {}).join("\n"));
    for name in ["records.jsonl", "records.jsonl.1"] {
        fs::write(path.join(name), &lines).unwrap();
    }
    std::os::unix::fs::symlink("records.jsonl", path.join("link")).unwrap();
    let files = ["records.jsonl", "records.jsonl.1"];
    fs::write(path.join("foreign"), "7").unwrap();
    for (page, read) in [
        ("records.jsonl", &files[1..]),
        ("records.jsonl.1", &files[..]),
        ("link", &files[..]),
        ("foreign", &["foreign"][..]),
    ] {
        let (code, out, err) = run(command(path).args(read).args(["--html", page]));
        assert_eq!((code, out.as_str(), err.starts_with(page)), (2, "", true), "{page}: {err}");
    }
    let stdin = || fs::File::open(path.join("records.jsonl")).unwrap();
    assert_eq!(run(command(path).args(["-", "--html", "records.jsonl"]).stdin(stdin())).0, 2);
    assert!(files.iter().all(|name| fs::read_to_string(path.join(name)).unwrap() == lines));
    assert_eq!(run(command(path).args(["-", "--html", "page"]).stdin(stdin())).0, 0);
}

#[test]
fn rows_that_are_only_counted_are_not_ready() {
    let folder = folder();
    let path = folder.path();
    // The row of the failing route has the fewest pairs, and no place among 256 rows.
    let lines = pairs(600 + 255 * 3 + 2, |number, pair| match number {
        0..600 => {}
        600..1365 => pair["model"] = json!(format!("m{}", number / 3)),
        _ => {
            pair["route"] = json!("failing");
            pair["candidate"]["outcome"] = json!("reset");
        }
    });
    fs::write(path.join("a"), lines.join("\n")).unwrap();
    let (code, out, err) = run(command(path).args(["a", "--json", "--require", "ready"]));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["routes"].as_array().unwrap().len(), &report["routes"][0]["verdict"]), (1, &json!("ready")));
    assert_eq!((code, err.starts_with("ready is not shown: 1 rows of 2 pairs")), (1, true), "{err}");
    assert_eq!(run(command(path).args(["a", "--json", "--require", "ready", "--route", "default"])).0, 0);
    assert_eq!(run(command(path).args(["a", "--json"])).0, 0);
}

#[test]
fn counts_of_any_size_make_a_report() {
    let largest =
        json!({"chosen": 8e15, "attempted": 8e15, "served": 8e15, "failed": 8e15, "usd": 8e6, "priced": 8e15});
    let copies = json!({"sent": 8e15, "unwell": 8e15, "in_flight": 8e15, "bytes": 8e15, "budget": 8e15});
    let counts = json!({"v": 1, "kind": "counts", "at": "2026-11-20T08:00:00Z", "instance": "0a1b2c", "route": "default",
                        "backends": {"openai": largest, "qwen": largest}, "shadow": {"qwen": copies}});
    let mut lines = vec![counts.to_string(); 2500];
    lines.extend(pairs(10, |_, _| {}));
    let report = judged(&lines);
    assert_eq!((report.routes[0].shadow.sent, report.routes[0].admitted), (u64::MAX, Some(1.0)));
    assert_eq!((report.totals[0].what, report.totals[0].value), ("served_failed", 0.0));
    assert!(text(&report).contains("Share admitted: 100.00 %"));
}

#[test]
fn a_report_that_is_cut_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = command(&data(".")).args(["mixed.jsonl", "--json"]).stdout(full).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.starts_with("stdout cannot be written: No space left on device"), "{told}");
}

#[test]
fn a_choice_of_lines_is_the_report_on_those_lines() {
    let file = data("rows.jsonl");
    let all = fs::read_to_string(&file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let expected = |keep: &dyn Fn(&Value) -> bool| {
        let is_kept = |line: &&str| keep(&serde_json::from_str(line).unwrap());
        let kept: Vec<&str> = all.lines().filter(is_kept).collect();
        assert!(!kept.is_empty() && kept.len() < all.lines().count());
        let path = folder.path().join("kept");
        fs::write(&path, kept.join("\n")).unwrap();
        report_of(&[&path], &[])
    };
    let at = |line: &Value| line["at"].as_str().unwrap().to_owned();
    let since = "2026-11-20T09:30:00.000Z";
    assert_eq!(report_of(&[&file], &["--since", since]), expected(&|line| at(line).as_str() >= since));
    assert_eq!(report_of(&[&file], &["--until", since]), expected(&|line| at(line).as_str() < since));
    assert_eq!(report_of(&[&file], &["--route", "chat"]), expected(&|line| line["route"] == "chat"));
    let of_model = expected(&|line| line["kind"] == "counts" || line["model"] == "gpt-4o");
    assert_eq!(report_of(&[&file], &["--model", "gpt-4o"]), of_model);
}

#[test]
fn a_total_that_turns_round_is_named_in_words() {
    let report = report_of(&[&data("turned.jsonl")], &[]);
    let total = &report["totals"][0];
    assert_eq!((&total["what"], &total["reversed"]), (&json!("served_failed"), &json!(true)));
    let expected =
        "qwen-gpu fails less on batch and on chat and more in total, because it serves most of batch: trust the rows";
    assert_eq!(total["says"], expected);
    let text = run(command(folder().path()).arg(data("turned.jsonl"))).1.replace('\n', " ");
    assert!(text.contains(expected), "the text warns on top");
}

#[test]
fn names_that_applications_write_move_no_cursor_and_leave_no_cell() {
    let hostile = "m\u{1b}[2J\n|<b>`x`[l](http://x) @you\u{202e}";
    let lines = pairs(210, |_, pair| pair["model"] = json!(hostile));
    let report = judged(&lines);
    assert_eq!(report.rows[0].model, hostile);
    let text = text(&report);
    assert!(text.chars().all(|character| character == '\n' || !(character.is_control() || character == '\u{202e}')));
    assert!(text.contains("m\\u{1b}[2J\\n|<b>"), "{text}");
    let markdown = markdown(&report);
    assert!(
        !markdown.contains("<b>")
            && !markdown.contains("|<")
            && !markdown.contains('\u{1b}')
            && !markdown.contains('@')
    );
}

#[test]
fn the_text_has_every_part_in_its_order() {
    let (code, out, _) = run(command(folder().path()).arg(data("mixed.jsonl")));
    assert_eq!(code, 0);
    let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = [
        "Verdict",
        "Route default, qwen-gpu: not enough data",
        "Share admitted: 90.00 %",
        "Outcomes of all pairs",
        "Modes of pairs",
        "Faults by side",
        "Agreement of both answers",
        "Times in milliseconds",
        "Ratios, candidate over baseline",
        "Tokens by each server's own count",
        "Cost in USD",
        "not judged: similarity",
        "Bill",
        "its GPUs cost 14600.00 USD a month",
        "gpt-4o-mini at openai ends in 55 days",
        "Worst pairs",
    ];
    let mut from = 0;
    for part in parts {
        let at = flat.get(from..).unwrap().find(part);
        assert!(at.is_some(), "{part} is missing or out of order in\n{out}");
        from += at.unwrap() + part.len();
    }
}

/// Looks eight times at a growing stream of lines; returns the verdicts. `src/report/simulated.rs` has the many seeds.
fn looks(lines: &[String]) -> Vec<Verdict> {
    let mut collector = Collector::new(Filter::default());
    let mut verdicts = Vec::new();
    for part in lines.chunks(lines.len() / 8) {
        part.iter().for_each(|line| collector.line(Some(line.as_bytes())));
        verdicts.push(collector.clone().report(1, &GpuPrices::default()).routes[0].verdict);
    }
    verdicts
}

#[test]
fn a_bad_candidate_is_not_ready_at_any_look_and_a_good_one_is_at_the_last() {
    let random = |seed| std::cell::RefCell::new(StdRng::seed_from_u64(seed));
    for seed in 0..2 {
        let random = random(seed);
        let failing = pairs(1_000, |_, pair| {
            for (side, share) in [("baseline", 0.01), ("candidate", 0.03)] {
                if random.borrow_mut().random_bool(share) {
                    pair[side]["outcome"] = json!("status_5xx");
                }
            }
        });
        assert!(!looks(&failing).contains(&Verdict::Ready), "seed {seed}");
        let differing = pairs(1_000, |_, pair| {
            let agreement = |bad| if random.borrow_mut().random_bool(bad) { 0.0 } else { 1.0 };
            pair["floor"]["agreement"] = json!(agreement(0.05));
            pair["scores"]["agreement"] = json!(agreement(0.15));
        });
        assert!(!looks(&differing).contains(&Verdict::Ready), "seed {seed}");
    }
    let good = looks(&pairs(1_000, |_, _| {}));
    assert_eq!((good[0], good[7]), (Verdict::NotEnoughData, Verdict::Ready));
}
