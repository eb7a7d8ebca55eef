//! The verdict in `/status` and `status`: the report's, on the pairs since the start.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use shiftgate::api::sim::{Difference, Differences};

use super::*;
use crate::process::binary;

/// Requests under way at once. The pairs of them fit in the queue of comparisons.
const AT_ONCE: usize = 16;

/// Answers of which a share has one of these differences.
fn differing(share: f64, kinds: &[Difference]) -> Behaviour {
    let differences = Differences { seed: 1, share, kinds: kinds.to_vec(), by_call: false };
    Behaviour { tokens: (12, 24), differences, ..Behaviour::default() }
}

/// A sidecar at 0 % whose baseline's requests are all copied, with `before` in front of its file.
async fn launch_judged(candidate: Behaviour, before: &str) -> (Running, Sim, Sim) {
    let (openai, qwen) = pair(candidate).await;
    openai.set(differing(0.0, &[]));
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "max_in_flight = 1000");
    (launch(&format!("{before}{text}"), true).await, openai, qwen)
}

/// Sends so many requests, each of another user, and waits for their pairs.
async fn send(running: &Running, requests: usize) {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let before = sum(&copies(&running.status().await)["pairs"]);
    for done in (0..requests).step_by(AT_ONCE) {
        let asked = (0..AT_ONCE.min(requests - done)).map(|_| {
            let number = SENT.fetch_add(1, Ordering::Relaxed);
            let body = chat(&format!("Question {number}: what would you do?"), number.is_multiple_of(2));
            let request = post("/v1/chat/completions", &body, &format!("x-session-id: user-{number}\r\n"));
            let address = running.address();
            tokio::spawn(async move { raw(address, &request).await.status })
        });
        for status in asked.collect::<Vec<_>>() {
            assert_eq!(status.await.unwrap(), 200);
        }
        until_pairs(running, before + (done + AT_ONCE).min(requests) as u64).await;
    }
}

fn verdicts(status: &Value) -> &Vec<Value> {
    status["shadow"]["verdicts"].as_array().unwrap()
}

/// Waits until the verdict rests on so many pairs, and returns it.
async fn until_judged(running: &Running, pairs: u64) -> Value {
    let holds = |status: &Value| verdicts(status).iter().any(|one| one["pairs"] == pairs);
    verdicts(&until_status(running, holds).await)[0].clone()
}

fn run(arguments: &[&str]) -> String {
    let output = binary().args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The report's sentence on the first route of a file of records.
fn said_by_report(records: &Path) -> Value {
    let report: Value = serde_json::from_str(&run(&["report", "--json", records.to_str().unwrap()])).unwrap();
    let route = &report["routes"][0];
    serde_json::json!([route["verdict"], route["why"], route["needs_pairs"], route["says"]])
}

fn said(verdict: &Value) -> Value {
    serde_json::json!([verdict["verdict"], verdict["why"], verdict["needs_pairs"], verdict["says"]])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_difference_is_found_in_the_words_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let before = format!("[records]\npath = \"{}\"\n", path.display());
    let (running, _openai, _qwen) = launch_judged(differing(0.3, &[Difference::Truncation]), &before).await;
    assert_eq!(verdicts(&running.status().await).len(), 0);
    for (more, pairs) in [(50, 50), (200, 250)] {
        send(&running, more).await;
        let verdict = until_judged(&running, pairs).await;
        until_records(&path, pairs as usize).await;
        assert_eq!(said(&verdict), said_by_report(&path));
        assert_eq!((&verdict["route"], &verdict["candidate"]), (&"default".into(), &"qwen".into()));
        let says = verdict["says"].as_str().unwrap();
        if pairs < 200 {
            assert!(verdict["verdict"] == "not_enough_data" && says.starts_with("not enough data: 50 pairs"), "{says}");
        } else {
            assert!(verdict["verdict"] == "not_ready" && says.starts_with("not ready because "), "{says}");
            assert!(verdict["why"].as_array().unwrap().contains(&"cut".into()), "{verdict}");
        }
    }
    let status = running.status().await;
    let table = run(&["status", "--admin", &running.app.admin.to_string()]);
    let line = format!("verdict on qwen for default: {}\n", verdicts(&status)[0]["says"].as_str().unwrap());
    assert!(table.contains(&line), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_pairs_of_enough_users_are_ready_without_records() {
    let (running, _openai, _qwen) = launch_judged(differing(0.0, &[]), "").await;
    send(&running, 520).await;
    let verdict = until_judged(&running, 520).await;
    assert_eq!((&verdict["verdict"], &verdict["why"]), (&"ready".into(), &serde_json::json!([])), "{verdict}");
    assert!(verdict["says"].as_str().unwrap().starts_with("ready: 520 pairs"), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_epoch_begins_anew_and_a_backend_that_left_has_no_verdict() {
    let (running, _openai, qwen) = launch_judged(differing(0.0, &[]), "").await;
    send(&running, 3).await;
    until_judged(&running, 3).await;
    let text = std::fs::read_to_string(&running.file).unwrap();
    let save = |text: &str| std::fs::write(&running.file, text).unwrap();
    save(&text.replace("family = \"qwen3\"", "family = \"qwen2.5\""));
    until_status(&running, |status| status["generation"] == 2).await;
    send(&running, 2).await;
    until_judged(&running, 2).await;
    let renamed = text.replace("[backend.qwen]", "[backend.other]").replace("{ qwen = 0.0 }", "{ other = 0.0 }");
    save(&renamed.replace("to = \"qwen\"", "to = \"other\""));
    until_status(&running, |status| verdicts(status).is_empty()).await;
    assert!(qwen.requests() >= 5);
}

#[tokio::test]
async fn without_a_shadow_there_is_no_verdict() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 50.0), false).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    assert_eq!(running.status().await["shadow"], Value::Null);
}
