//! A backend's own wording (`system`): who receives it, what `explain` and `check` say, and an edit of its file.

use std::path::Path;
use std::process::Command;

use crate::reload::eventually;
use crate::support::*;
use serde_json::{Value, json};
use shiftgate::api::app::Options;
use shiftgate::api::sim::{Behaviour, Fault, Sim};

/// Returns the file of such a pair, with wording for the candidate.
fn worded(openai: &Sim, qwen: &Sim, percent: f64, own: &Path) -> String {
    let system = format!("system = {{ append = {:?} }}\n", own.display().to_string());
    format!("{}{system}", file(openai, qwen, percent))
}

fn messages(sim: &Sim) -> Value {
    let body: Value = serde_json::from_slice(&sim.received().last().unwrap().body).unwrap();
    body["messages"].clone()
}

fn prompt(system: &str) -> Value {
    json!([{"role": "system", "content": system}, {"role": "user", "content": "hi"}])
}

#[tokio::test]
async fn the_candidate_receives_it_and_the_baseline_does_not() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.md");
    std::fs::write(&own, "Be brief.\n").unwrap();
    let text = worded(&openai, &qwen, 100.0, &own).replace("[server]", "[server]\nallow_override = true");
    let running = launch(&text, false).await;
    let body = json!({"model": "gpt-4o", "messages": [{"role": "developer", "content": "You are a bot."},
        {"role": "user", "content": "hi"}]});
    let answer = ask(&running, &body.to_string(), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")), "{}", answer.text());
    assert_eq!(messages(&qwen), prompt("You are a bot.\n\nBe brief."));
    let answer = ask(&running, &chat("hi", true), "").await;
    assert_eq!((answer.status, messages(&qwen)), (200, prompt("Be brief.")));
    let answer = ask(&running, &body.to_string(), "x-shiftgate-backend: openai\r\n").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("openai")));
    assert_eq!(openai.received().last().unwrap().body, body.to_string());
    let page = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_translate_total{backend=\"qwen\",field=\"system\",action=\"rewritten\"} 2";
    assert!(page.contains(line), "{page}");
}

#[tokio::test]
async fn a_failed_candidates_wording_stays_behind_at_failover() {
    let (openai, qwen) = pair(behaviour(Fault::Html)).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.md");
    std::fs::write(&own, "Be brief.").unwrap();
    let text = worded(&openai, &qwen, 100.0, &own).replace("enabled = false", "enabled = true");
    let running = launch(&text, false).await;
    let answer = ask(&running, &chat("hi", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("openai")), "{}", answer.text());
    assert_eq!(messages(&qwen), prompt("Be brief."));
    assert_eq!(openai.received().last().unwrap().body, chat("hi", false));
}

#[tokio::test]
async fn an_edit_of_its_file_holds_from_the_next_request_on_the_same_connection() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.md");
    std::fs::write(&own, "First.").unwrap();
    let running = launch(&worded(&openai, &qwen, 100.0, &own), true).await;
    let generation = || running.app.store.current().snapshot.generation;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!(messages(&qwen), prompt("First."));

    std::fs::write(&own, "Second.").unwrap();
    eventually(|| generation() == 2).await;
    let answer = ask(&running, &chat("hi", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-generation")), (200, Some("2")));
    assert_eq!(messages(&qwen), prompt("Second."));
    assert_eq!((qwen.requests(), qwen.opened()), (2, 1), "the pool is kept");

    // A file that cannot be used leaves the last text in force, and its correction is noticed.
    std::fs::write(&own, "\n").unwrap();
    eventually(|| running.app.store.reload_error().is_some_and(|error| error.message.contains("is empty"))).await;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!((messages(&qwen), generation()), (prompt("Second."), 2));
    std::fs::write(&own, "Third.").unwrap();
    eventually(|| generation() == 3).await;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!((messages(&qwen), qwen.opened()), (prompt("Third."), 1));
}

#[tokio::test]
async fn an_edit_of_its_file_leaves_the_breaker_as_it_is() {
    let (openai, qwen) = pair(behaviour(Fault::Html)).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.md");
    std::fs::write(&own, "First.").unwrap();
    let text = worded(&openai, &qwen, 100.0, &own).replace("enabled = false", "enabled = true");
    let running = launch(&format!("{text}breaker = {{ failures = 1, open = \"10m\" }}\n"), true).await;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!(running.status().await["backends"][1]["breaker"], "open");
    std::fs::write(&own, "Second.").unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    assert_eq!(running.status().await["backends"][1]["breaker"], "open");
    let answer = ask(&running, &chat("hi", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("breaker")));
    assert_eq!(qwen.requests(), 1);
}

#[tokio::test]
async fn a_file_that_was_missing_at_a_reload_is_waited_for() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.md");
    let running = launch_as(&file(&openai, &qwen, 100.0), Options { watch: true, ..Options::default() }).await;
    std::fs::write(&running.file, worded(&openai, &qwen, 100.0, &own)).unwrap();
    eventually(|| running.app.store.reload_error().is_some_and(|error| error.message.contains("own.md"))).await;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!(messages(&qwen), json!([{"role": "user", "content": "hi"}]));
    std::fs::write(&own, "Be brief.").unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    assert_eq!(ask(&running, &chat("hi", false), "").await.status, 200);
    assert_eq!(messages(&qwen), prompt("Be brief."));
}

#[tokio::test]
async fn explain_and_check_show_it() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.md"), "Be brief.").unwrap();
    let text = worded(&openai, &qwen, 100.0, Path::new("own.md"));
    std::fs::write(folder.path().join("rollout.toml"), text).unwrap();
    std::fs::write(folder.path().join("request.json"), chat("hi", false)).unwrap();
    let shiftgate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
        command.env_remove("SHIFTGATE_CONFIG").env_remove("RUST_LOG").current_dir(folder.path()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let explained: Value = serde_json::from_str(&shiftgate(&["explain", "request.json", "--json"])).unwrap();
    assert_eq!(explained["request"]["messages"], prompt("Be brief."));
    let step = json!({"field": "system", "action": "rewritten", "detail": "append own.md"});
    assert!(explained["ledger"].as_array().unwrap().contains(&step), "{explained}");
    let of_baseline = shiftgate(&["explain", "request.json", "--json", "--backend", "openai"]);
    let of_baseline: Value = serde_json::from_str(&of_baseline).unwrap();
    assert_eq!((of_baseline["request"].to_string(), &of_baseline["ledger"]), (chat("hi", false), &json!([])));
    let told = shiftgate(&["check"]);
    assert!(told.contains("own.md (9 bytes) is added after the application's"), "{told}");
    std::fs::remove_file(folder.path().join("own.md")).unwrap();
    let without: Value = serde_json::from_str(&shiftgate(&["explain", "request.json", "--json"])).unwrap();
    let step = without["ledger"].as_array().unwrap().iter().find(|step| step["field"] == "system").unwrap();
    assert_eq!(step["action"], "missing", "{step}");
    assert!(step["detail"].as_str().unwrap().ends_with("own.md: the file is missing, so that the wording is left out"));
}
