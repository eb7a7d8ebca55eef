//! The built binary, as a user runs it: exit codes, what is printed, signals, the log.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use shiftgate::api::sim::Behaviour;

use crate::process::*;
use crate::support::*;

fn run(file: &Path, arguments: &[&str]) -> Output {
    binary().arg("--config").arg(file).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn it_serves_logs_each_request_and_ends_on_sigterm() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, file(&openai, &qwen, 100.0).replace("request_log = false", "request_log = true")).unwrap();
    let mut process = Process::start(&path);
    let body = chat("a very secret prompt", true);
    let answer = raw(process.listen, &post("/v1/chat/completions", &body, "x-session-id: secret-session\r\n")).await;
    assert_eq!(answer.status, 200);
    let line = process.line("request");
    for (key, value) in [
        ("route", "default"),
        ("backend", "qwen"),
        ("reason", "split"),
        ("method", "POST"),
        ("path", "/v1/chat/completions"),
        ("end", "complete"),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["status"], &line["generation"], &line["attempts"]), (&200.into(), &1.into(), &1.into()));
    assert_eq!(line["trace_id"], answer.header("x-shiftgate-trace-id").unwrap());
    assert!(line["ttft_ms"].is_f64() && line["total_ms"].is_f64() && line["overhead_us"].is_u64(), "{line}");
    assert_eq!(line.get("cached_input_tokens"), Some(&serde_json::Value::Null), "vLLM does not say: {line}");
    assert!(line["input_tokens"].is_u64() && line["output_tokens"].is_u64(), "{line}");
    assert!(line.as_object().unwrap().contains_key("cost_usd") && line["cost_usd"].is_null(), "{line}");
    for secret in ["canary", "secret", "Bearer"] {
        assert!(!line.to_string().contains(secret), "{line}");
    }
    let mut status = run(&path, &["status", "--json", "--admin", &process.admin]);
    assert_eq!(status.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(json["backends"][1]["served"], 1);
    status = run(&path, &["status", "--admin", &process.admin]);
    assert!(text(&status.stdout).contains("qwen asked 100.00 got 100.00"), "{}", text(&status.stdout));
    process.signal("-TERM");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    let gone = run(&path, &["status", "--admin", &process.admin]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("Is shiftgate running"), "{}", text(&gone.stderr));
}

#[tokio::test]
async fn a_second_signal_cuts_and_says_so_by_its_exit_code() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(behaviour(shiftgate::api::sim::Fault::HangAfter(4)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, file(&openai, &qwen, 0.0)).unwrap();
    let mut process = Process::start(&path);
    let (listen, request) = (process.listen, post("/v1/chat/completions", &chat("x", true), ""));
    let client = tokio::spawn(async move { raw(listen, &request).await });
    until(openai.in_flight(), |count| *count == 1).await;
    process.signal("-TERM");
    process.line("draining");
    process.signal("-TERM");
    assert_eq!(process.child.wait().unwrap().code(), Some(1));
    assert!(!client.await.unwrap().whole);
}

#[tokio::test]
async fn a_log_that_nobody_reads_blocks_neither_requests_nor_the_end() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, file(&openai, &qwen, 0.0).replace("request_log = false", "request_log = true")).unwrap();
    let mut process = Process::start(&path);
    // A pipe buffers 64 KiB, a few hundred lines.
    for _ in 0..600 {
        assert_eq!(raw(process.listen, &post("/v1/chat/completions", &chat("x", false), "")).await.status, 200);
    }
    process.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || process.child.wait().map(|status| status.code()).unwrap());
    assert_eq!(
        tokio::time::timeout(PATIENCE, ended).await.expect("the end does not wait for a reader").unwrap(),
        Some(0)
    );
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, file(&openai, &qwen, 0.0)).unwrap();
    let mut process = Process::start(&path);
    std::fs::write(&path, file(&openai, &qwen, 100.0)).unwrap();
    process.signal("-HUP");
    assert_eq!(process.line("rollout file reloaded")["generation"], 2);
}

#[test]
fn a_bad_file_or_bad_usage_is_2_and_a_missing_port_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    for (content, part) in [("", "is empty"), ("[rollout\n", "rollout.toml:1:"), ("x = 1\n", "has no key x")] {
        std::fs::write(&path, content).unwrap();
        for command in ["run", "check", "demo"] {
            let output = run(&path, &[command]);
            assert_eq!(output.status.code(), Some(2), "{command} of {content:?}");
            assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
        }
    }
    assert_eq!(run(&path, &["nonsense"]).status.code(), Some(2));
    assert_eq!(run(&folder.path().join("absent.toml"), &["check"]).status.code(), Some(2));
    assert_eq!(run(&path, &["--help"]).status.code(), Some(0));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shipped = include_str!("../../rollout.toml");
    std::fs::write(&path, shipped.replace("127.0.0.1:8080", &taken.local_addr().unwrap().to_string())).unwrap();
    let output = run(&path, &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("already in use"), "{}", text(&output.stderr));
}

/// The sidecar serves the last valid file, and its admin port says why.
#[tokio::test]
async fn status_asks_also_when_the_file_is_refused_or_gone() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let before = file(&openai, &qwen, 100.0);
    std::fs::write(&path, &before).unwrap();
    let process = Process::start(&path);
    let good = before.replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{}\"", process.admin));
    let shown = |text: &str| {
        std::fs::write(&path, text).unwrap();
        run(&path, &["status"])
    };
    let output = shown(&good);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    for (bad, problem) in [
        (format!("{good}broken\n"), "rollout.toml:"),
        (format!("broken\n{good}"), "rollout.toml:1:"),
        (good.replace("qwen = 100.0", "qwen = 600.0"), "600"),
        (good.replace("[backend.qwen]", "[backend.other]"), "qwen"),
    ] {
        let output = shown(&bad);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(text(&output.stdout).contains("qwen asked 100.00"), "{}", text(&output.stdout));
        assert!(
            said.contains(problem) && said.contains(&format!("asking {}, the file's admin", process.admin)),
            "{said}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let output = run(&path, &["status"]);
    let said = text(&output.stderr);
    assert!(said.contains("does not exist; asking 127.0.0.1:9900, the default"), "{said}");
    assert_ne!(output.status.code(), Some(2), "{said}");
    let output = run(&path, &["status", "--admin", &process.admin]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "the file does not matter");
    // Nobody answers at the file's address.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = shown(&good.replace(&process.admin, &free.to_string()));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&free.to_string()) && said.contains("needs a restart"), "{said}");
}

#[test]
fn shift_and_explain_speak_of_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let shipped = include_str!("../../rollout.toml");
    std::fs::write(&path, shipped).unwrap();
    let output = run(&path, &["shift", "qwen-235b", "100"]);
    assert_eq!(text(&output.stdout), "default: qwen-235b 5.00 % -> 100.00 %\n", "{}", text(&output.stderr));
    let edited = std::fs::read_to_string(&path).unwrap();
    assert_eq!(edited, shipped.replace("qwen-235b = 5.0 ", "qwen-235b = 100.0 "));
    assert_eq!(run(&path, &["shift", "qwen-235b", "101"]).status.code(), Some(2));
    assert_eq!(run(&path, &["shift", "qwen-72b", "1"]).status.code(), Some(2), "the sum would be 101");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);

    let mut child = binary()
        .args(["--config", path.to_str().unwrap(), "explain", "--json", "--header", "x-session-id: me", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(chat("hi", false).as_bytes()).unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let told: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&told["route"], &told["backend"], &told["reason"]),
        (&"default".into(), &"qwen-235b".into(), &"split".into())
    );
    assert_eq!(told["key"], serde_json::json!({"source": "header:x-session-id"}));
    let bucket = told["bucket"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&bucket));
    assert_eq!(told["request"]["model"], "qwen-235b-a22b");
    assert_eq!(told["ledger"][0]["field"], "model");
    assert!(!printed.contains("\"me\""), "the key is never printed");

    let request = folder.path().join("request.json");
    std::fs::write(&request, r#"{"model":"gpt-4o","messages":[],"logit_bias":{"1":100}}"#).unwrap();
    let output = run(&path, &["explain", "--json", request.to_str().unwrap()]);
    let told: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(told["reason"], "pinned:logit_bias");
    assert_eq!((&told["ledger"][0]["field"], &told["ledger"][0]["action"]), (&"logit_bias".into(), &"pinned".into()));
}

/// The shipped file on free ports, with this text in place of another.
fn shipped(path: &Path, from: &str, to: &str) {
    let text = include_str!("../../rollout.toml");
    let text = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9900", "127.0.0.1:0");
    assert!(text.contains(from));
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn the_demo_finds_its_difference() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    // As many pairs in seconds as the shipped file has in a minute.
    shipped(&path, "[shadow]\npercent = 10.0", "[shadow]\nmax_in_flight = 1000\npercent = 100.0");
    let mut demo = binary();
    demo.arg("--config").arg(&path).args(["demo", "--seconds", "60"]).stdout(Stdio::piped());
    let mut demo = demo.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
    let found = lines.find(|line| line.as_ref().unwrap().contains(" verdict=not_ready "));
    drop(demo.kill());
    drop(demo.wait());
    let found = found.expect("the demo ends without a verdict").unwrap();
    assert!(found.contains(" verdict_on=qwen-235b ") && found.contains(" says=\"not ready because "), "{found}");
}

#[test]
fn the_demo_splits_and_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    shipped(&path, "qwen-235b = 5.0", "qwen-235b = 50.0");
    let output = run(&path, &["demo", "--seconds", "2", "--rate", "100"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}{}", text(&output.stderr));
    assert!(printed.contains("backend=qwen-235b asked=50.00 got="), "{printed}");
    assert!(printed.contains("copies_to=qwen-235b pairs="), "{printed}");
    let copies = printed.lines().rfind(|line| line.contains("copies_to=qwen-235b")).unwrap();
    assert!(
        !copies.contains(" pairs=0 ") && copies.contains(" agreement=") && !copies.contains("cost_usd=-"),
        "{copies}"
    );
    // The last answers count too, and a busy machine is late with them.
    let seconds = printed.lines().last().unwrap().strip_prefix("summary: ").and_then(|line| line.split_once(" s, "));
    assert!(seconds.is_some_and(|(seconds, _)| seconds.parse::<u32>().unwrap() >= 2), "{printed}");
    assert!(printed.contains(" 0 failed"), "{printed}");
}
