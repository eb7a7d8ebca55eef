//! The page of `report --html`: its parts, hostile names, order, replacing, Ctrl-C, and the progress on a terminal.
//!
//! `examples/report/check.py` opens it in a browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shiftgate::api::report::{Collector, Filter, GpuPrices, html};
use tempfile::TempDir;

const CHARTS: [&str; 5] = ["latency", "agreement", "outcomes", "modes", "cost"];
/// Times after which a test gives up; nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/report").join(name)
}

fn lines(name: &str) -> Vec<String> {
    fs::read_to_string(data(name)).unwrap().lines().map(str::to_owned).collect()
}

fn page(lines: &[String]) -> String {
    let mut collector = Collector::new(Filter::default());
    for line in lines {
        collector.line(Some(line.as_bytes()));
    }
    let (report, curves) = collector.report_and_curves(1, &GpuPrices::default());
    html(&report, &curves)
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
    command.env_remove("SHIFTGATE_CONFIG").current_dir(folder).arg("report");
    command
}

fn found<'p>(page: &'p str, pattern: &str) -> Vec<&'p str> {
    Regex::new(pattern).unwrap().captures_iter(page).map(|found| found.get(1).unwrap().as_str()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A pair on a day, of a route; `n` tells pairs apart.
fn pair(n: u64, day: i64, route: &str, agreement: f64) -> String {
    let at = jiff_date(day);
    let leg = |backend: &str| json!({"backend": backend, "outcome": "ok", "mode": "json", "finish": "stop", "total_ms": 900.0 + n as f64});
    let scores = |agreement: f64| json!({"kind": "json", "agreement": agreement, "null": {}});
    json!({
        "v": 1, "kind": "pair", "id": format!("{n:016x}"), "instance": "a", "at": at, "epoch": "e", "route": route,
        "model": "m", "percent": 5.0, "served_by": "baseline", "key": format!("{n:016x}"), "trace_id": "t",
        "request": {"format": null, "temperature": 0}, "baseline": leg("openai"), "candidate": leg("qwen"),
        "scores": scores(agreement), "floor": scores(1.0)
    })
    .to_string()
}

/// Noon of a day since 2026-01-01; months are taken to have 28 days, which are all there.
fn jiff_date(day: i64) -> String {
    let (month, day) = (day / 28, day % 28 + 1);
    format!("{}-{:02}-{day:02}T12:00:00.000Z", 2026 + month / 12, month % 12 + 1)
}

#[test]
fn it_has_verdicts_on_top_and_every_chart_of_each_row_current_ones_first() {
    let page = page(&lines("rows.jsonl"));
    let mut collector = Collector::new(Filter::default());
    lines("rows.jsonl").iter().for_each(|line| collector.line(Some(line.as_bytes())));
    let report = collector.report(1, &GpuPrices::default());
    let verdicts = found(&page, r#"data-verdict="([a-z_]+)" data-route="#);
    assert_eq!(verdicts.len(), report.routes.len());
    let first_chart = page.find("data-chart").unwrap();
    for route in &report.routes {
        let place = page.find(&format!("data-route=\"{}\"", route.route)).unwrap();
        assert!(place < first_chart && page.contains(&route.says), "{}", route.says);
    }
    let outcomes = found(&page, r#"data-chart="outcomes" data-row="([0-9]+)""#);
    let rows: Vec<usize> = outcomes.iter().map(|row| row.parse().unwrap()).collect();
    let are_current: Vec<bool> = rows.iter().map(|row| report.rows[*row].current).collect();
    assert_eq!(rows.len(), report.rows.len());
    assert!(are_current.contains(&false) && are_current.is_sorted_by(|one, next| one >= next), "{are_current:?}");
    let page = self::page(&lines("mixed.jsonl"));
    for chart in CHARTS {
        assert_eq!(found(&page, &format!(r#"data-chart="{chart}" data-row="([0-9]+)""#)), ["0", "1"], "{chart}");
    }
    let curves = found(&page, r#"<path class="line (baseline|candidate)" d="M[0-9.]+ [0-9.]+L"#);
    assert!(curves.len() > 8, "{curves:?}");
    assert!(!page.contains("NaN") && !page.contains("inf "));
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    for case in ["empty", "mixed", "near", "rows", "skipped", "turned"] {
        let page = page(&lines(&format!("{case}.jsonl")));
        assert!(page.starts_with("<!DOCTYPE html>"), "{case}");
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""), "{case}");
        assert!(page.contains("<meta charset=\"utf-8\">") && page.contains("<meta name=\"viewport\""), "{case}");
        let out = found(&page, r#"(?i)(<script|<link|<img|<iframe|\ssrc\s*=|@import|url\(|href="[^#])"#);
        assert!(out.is_empty(), "{case}: {out:?}");
    }
}

#[test]
fn the_page_does_not_depend_on_the_order_of_lines() {
    for case in ["mixed", "rows", "turned"] {
        let mut lines = lines(&format!("{case}.jsonl"));
        let expected = page(&lines);
        lines.shuffle(&mut StdRng::seed_from_u64(7));
        assert_eq!(page(&lines), expected, "{case}");
    }
}

/// 100 rows of 400 days are more than all rows may keep, and one row of 450 is more than a row may.
#[test]
fn days_are_bounded_in_whatever_order_they_come() {
    let mut one: Vec<String> = (0..450).map(|day| pair(day as u64, day, "r", 0.5)).collect();
    let expected = page(&one);
    assert!(expected.contains("Of the days the latest 400 are shown."));
    let label = |day: i64| format!(">{}<", jiff_date(day).split('T').next().unwrap());
    assert!(expected.contains(&label(50)) && !expected.contains(&label(49)));
    one.shuffle(&mut StdRng::seed_from_u64(1));
    assert_eq!(page(&one), expected);
    let of = |(route, day): (u64, i64)| pair(route * 1000 + day as u64, day, &format!("r{route:03}"), 0.5);
    let mut many: Vec<String> = (0..100).flat_map(|route| (0..420).map(move |day| (route, day))).map(of).collect();
    let expected = page(&many);
    assert!(expected.contains("Of the days the latest 327 are shown."));
    many.shuffle(&mut StdRng::seed_from_u64(2));
    assert_eq!(page(&many), expected);
}

#[test]
fn agreement_by_day_is_the_mean_of_the_day() {
    let agreements = [(0, 0.5), (0, 0.9), (1, 0.9), (3, 0.6)];
    let lines: Vec<String> = (0..).zip(agreements).map(|(n, (day, agreement))| pair(n, day, "r", agreement)).collect();
    let page = page(&lines);
    let days = page.split("By day: json").nth(2).unwrap().split("</svg>").next().unwrap();
    let (top, bottom) = (8.0, 114.0);
    // The axis ends at the tenth below 0.6.
    let place = |agreement: f64| format!("{:.1}", bottom - (agreement - 0.6) / 0.4 * (bottom - top));
    let candidate = found(days, r#"class="line candidate" d="([^"]+)""#);
    assert_eq!(candidate.len(), 2, "{days}");
    let heights = |path: &str| -> Vec<String> {
        path.split(['M', 'L'])
            .filter(|one| !one.is_empty())
            .map(|one| one.split(' ').nth(1).unwrap().to_owned())
            .collect()
    };
    assert_eq!(heights(candidate[0]), [place(0.7), place(0.7), place(0.9), place(0.9)]);
    assert_eq!(heights(candidate[1]), [place(0.6), place(0.6)]);
}

/// A pair whose candidate fails.
fn failing(n: u64) -> String {
    let mut pair: Value = serde_json::from_str(&pair(n, 320, "r", 1.0)).unwrap();
    pair["candidate"] = json!({"backend": "qwen", "outcome": "timeout"});
    pair["scores"] = json!({"kind": null, "agreement": null, "null": {"agreement": "outcome"}});
    pair.to_string()
}

const HOSTILE: [&str; 7] = [
    "<script>hit()</script>",
    "\"onload=\"hit()",
    "'><img src=x onerror=hit()>",
    "{{ 7 * 7 }}{% include \"x\" %}",
    "a\u{202e}b\u{0}c\u{1b}[31m",
    "--></style></svg></title><h1>",
    "&lt;b&gt;",
];

#[test]
fn hostile_names_are_text() {
    let long = "x".repeat(10_240);
    let quoted = Regex::new(r#"="[^"]*""#).unwrap();
    let raw = Regex::new(r#"data-(route|candidate)="[^"]*""#).unwrap();
    for hostile in HOSTILE.iter().copied().chain([long.as_str()]) {
        let renamed = |line: &String| {
            let mut line: Value = serde_json::from_str(line).ok()?;
            for field in ["route", "model", "id", "trace_id"] {
                if line.get(field).is_some() {
                    line[field] = json!(hostile);
                }
            }
            for side in ["baseline", "candidate"] {
                line.get_mut(side)?["backend"] = json!(format!("{hostile}{side}"));
                line.get_mut(side)?["finish"] = json!(hostile);
            }
            Some(line.to_string())
        };
        // A candidate that fails is named in the verdict.
        let failed: Vec<String> = (0..300).map(failing).collect();
        let lines: Vec<String> = lines("mixed.jsonl").iter().chain(&failed).filter_map(renamed).collect();
        assert!(lines.len() > 500);
        let page = page(&lines);
        assert!(page.contains("not ready because") && page.contains("of requests fail at "), "{hostile}");
        let tags = found(&page, r"<([a-zA-Z!/][^>\s]*)");
        let strange: Vec<&&str> = tags.iter().filter(|tag| ["script", "img", "/script", "b"].contains(*tag)).collect();
        assert!(strange.is_empty() && page.matches("<h1>").count() == 1, "{hostile}: {strange:?}");
        assert_eq!(page.matches("</style>").count(), 1, "{hostile}");
        // Every quote that came from a name is escaped, so that no attribute begins in it.
        let unquoted = quoted.replace_all(&page, "");
        assert!(found(&unquoted, r"(<[a-zA-Z]+[^>]*\son[a-z]+)").is_empty(), "{hostile}");
        // Where it is shown, nothing turns the text, and no word is longer than a line or two.
        let shown = raw.replace_all(&page, "");
        assert!(!shown.contains(['\u{202e}', '\u{0}', '\u{1b}']), "{hostile}");
        assert!(!shown.contains(&"x".repeat(130)));
        assert!(hostile != HOSTILE[3] || shown.contains("Row 0: {{ 7 * 7 }}{% include "));
    }
}

#[test]
fn the_command_replaces_the_page_and_prints_the_verdicts_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.html"), "yesterday").unwrap();
    let run = |arguments: &[&str]| {
        let out = command(folder.path()).arg(data("near.jsonl")).args(arguments).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, out, err) = run(&["--html", "page.html"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("Route default, qwen-gpu: not enough data") && out.ends_with("The page is in page.html.\n")
    );
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert_eq!(page, self::page(&lines("near.jsonl")));
    assert_eq!(names(folder.path()), ["page.html"]);
    assert_eq!(run(&["--html", "page.html", "--require", "ready"]).0, 1);
    for refused in [["--html", "page.html", "--json"], ["--html", "page.html", "--markdown"]] {
        assert_eq!(run(&refused).0, 2);
    }
    let (code, out, err) = run(&["--html", "absent/page.html"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("absent/page.html cannot be written"), "{err}");
    let (code, out, _) = run(&["absent.jsonl", "--html", "page.html"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(fs::read_to_string(folder.path().join("page.html")).unwrap(), page);
}

/// Starts the command on a pipe that stays open; returns it once it has taken some lines.
fn waiting(folder: &Path, arguments: &[&str]) -> Child {
    let mut child = command(folder)
        .arg("-")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A pipe holds less: when all is written, the command is reading, and has handled signals before.
    let bytes: Vec<u8> = lines("near.jsonl").join("\n").into_bytes();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&bytes).unwrap();
    child.stdin = Some(stdin);
    child
}

/// Returns how the command ended, and what it printed.
fn ended(mut child: Child) -> (ExitStatus, String, String) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "the command goes on");
        std::thread::yield_now();
    }
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap(), out, err)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn ctrl_c_while_reading_ends_with_130_and_leaves_yesterdays_page() {
    for (arguments, by, code) in [
        (&["--html", "page.html"][..], Signal::INT, 130),
        (&["--html", "page.html"], Signal::TERM, 143),
        (&["--json"], Signal::INT, 130),
        (&["--markdown"], Signal::INT, 130),
        (&[], Signal::INT, 130),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("page.html"), "yesterday").unwrap();
        let child = waiting(folder.path(), arguments);
        signal(&child, by);
        let (status, out, err) = ended(child);
        assert_eq!((status.code(), out.as_str(), err.as_str()), (Some(code), "", ""), "{arguments:?}");
        assert_eq!(fs::read_to_string(folder.path().join("page.html")).unwrap(), "yesterday");
        assert_eq!(names(folder.path()), ["page.html"]);
    }
}

/// Signals at any time, from the start of the process to its end.
#[test]
fn ctrl_c_at_any_time_leaves_a_whole_page_and_no_other_file() {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    let file = data("near.jsonl");
    let whole = {
        let began = Instant::now();
        assert!(command(folder.path()).arg(&file).args(["--html", "page.html"]).output().unwrap().status.success());
        (fs::read_to_string(&path).unwrap(), began.elapsed())
    };
    let mut draw = StdRng::seed_from_u64(3);
    let mut given_up = 0;
    for _ in 0..40 {
        fs::write(&path, "yesterday").unwrap();
        let child = command(folder.path())
            .arg(&file)
            .args(["--html", "page.html"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Not a wait for an effect: the time of the signal is what varies.
        std::thread::sleep(whole.1.mul_f64(draw.random_range(0.5..1.1)));
        signal(&child, Signal::INT);
        let (status, _, err) = ended(child);
        // A process that has not begun dies of the signal itself, of which a shell says 130 too.
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        let page = fs::read_to_string(&path).unwrap();
        assert!(code == Some(0) || code == Some(130), "{status} {err}");
        assert!(page == whole.0 || (page == "yesterday" && code == Some(130)));
        assert_eq!(names(folder.path()), ["page.html"]);
        given_up += u32::from(page == "yesterday");
    }
    assert!(given_up > 0);
}

/// Returns both ends of a terminal.
fn terminal() -> (File, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    (File::from(ours), theirs)
}

#[test]
fn a_terminal_shows_the_progress_and_stdout_the_report_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = terminal();
    let mut child = command(folder.path())
        .args(["-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(theirs))
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let line = format!("{}\n", lines("near.jsonl")[0]);
    stdin.write_all(line.repeat(1500).as_bytes()).unwrap();
    let mut shown = Vec::new();
    let mut ours = BufReader::new(ours);
    while !String::from_utf8_lossy(&shown).contains("1,000 lines") {
        assert!(ours.read_until(b's', &mut shown).unwrap() > 0, "{}", String::from_utf8_lossy(&shown));
    }
    drop(stdin);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["lines"]["pairs"], 1500);
}

#[test]
fn a_terminal_shows_the_bytes_of_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.jsonl");
    fs::write(&file, format!("{}\n", lines("near.jsonl").join("\n")).repeat(20)).unwrap();
    let (ours, theirs) = terminal();
    let mut child = command(folder.path())
        .args([&file, &data("mixed.jsonl")])
        .stdout(Stdio::null())
        .stderr(Stdio::from(theirs))
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    // The end of a terminal that nobody holds is an error.
    drop(BufReader::new(ours).read_to_end(&mut shown));
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(Regex::new(r" of 6\.[0-9]+ MiB").unwrap().is_match(&shown), "{shown}");
}
