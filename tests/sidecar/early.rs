//! The early head: pings until a backend has content, then one answer from its first byte, or one error event.

use std::time::Duration;

use shiftgate::api::sim::Behaviour;
use tokio::net::TcpListener;

use crate::support::*;

const EARLY: &str = "[failover]\nenabled = true\nearly_head = \"100ms\"";

fn early(text: &str) -> String {
    text.replace("[failover]\nenabled = false", EARLY)
}

fn slow(ttft: u64) -> Behaviour {
    Behaviour { ttft: Duration::from_millis(ttft), ..Behaviour::default() }
}

/// Asserts an early head, and returns the body after the pings.
#[track_caller]
fn after_pings(answer: &Answer) -> String {
    let ours: Vec<&str> =
        answer.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("x-shiftgate-")).collect();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(ours, ["x-shiftgate-reason", "x-shiftgate-generation", "x-shiftgate-trace-id"]);
    assert_eq!(answer.header("x-shiftgate-reason"), Some("early"));
    let text = answer.text();
    let rest = text.trim_start_matches(": ping\n\n");
    assert!(rest.len() < text.len(), "no ping: {text}");
    rest.to_owned()
}

/// Number of early heads of the candidate.
async fn early_heads(running: &Running) -> Option<String> {
    let page = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_early_heads_total{backend=\"qwen\"} ";
    page.lines().find_map(|found| found.strip_prefix(line).map(str::to_owned))
}

#[tokio::test]
async fn a_candidate_that_answers_late_is_passed_on_from_its_first_byte() {
    let (openai, qwen) = pair(slow(450)).await;
    let running = launch(&early(&file(&openai, &qwen, 100.0)), false).await;
    let answer = ask(&running, &chat("x", true), "x-stainless-read-timeout: 1\r\n").await;
    let rest = after_pings(&answer);
    assert!(answer.text().matches(": ping\n\n").count() >= 2, "{}", answer.text());
    assert!(rest.starts_with("data: {\"id\":") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(rest.contains("\"role\":\"assistant\"") && rest.contains("gpt-4o") && !rest.contains("qwen"), "{rest}");
    assert_eq!((openai.requests(), early_heads(&running).await.as_deref()), (0, Some("1")));
    assert_eq!(running.status().await["backends"][1]["served"], 1);
}

#[tokio::test]
async fn a_quick_stream_and_an_unstreamed_answer_have_their_own_heads() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&early(&file(&openai, &qwen, 100.0)), false).await;
    assert_eq!(ask(&running, &chat("x", true), "").await.header("x-shiftgate-reason"), Some("split"));
    qwen.set(slow(300));
    let answer = ask(&running, &chat("x", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")));
    openai.set(slow(300));
    let on_baseline = launch(&early(&file(&openai, &qwen, 0.0)), false).await;
    let answer = ask(&on_baseline, &chat("x", true), "").await;
    assert_eq!(answer.header("x-shiftgate-backend"), Some("openai"));
    assert_eq!(early_heads(&running).await.as_deref(), Some("0"));
}

/// A candidate that reads a request, and closes its connection after a while.
async fn leaves_late(script: TcpListener) {
    while let Ok((mut stream, _)) = script.accept().await {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A sidecar whose candidate leaves late, before a baseline with this behaviour.
async fn before(baseline: Behaviour) -> Running {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(baseline);
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    tokio::spawn(leaves_late(script));
    let running = launch(&early(&file(&openai, &qwen, 100.0)).replace(&qwen.url(), &url), false).await;
    // The simulators serve as long as they are kept.
    tokio::spawn(async move {
        let _held = (openai, qwen);
        std::future::pending::<()>().await;
    });
    running
}

#[tokio::test]
async fn after_a_failure_the_baselines_stream_comes_from_its_first_byte() {
    let running = before(slow(250)).await;
    let answer = ask(&running, &chat("x", true), "").await;
    let rest = after_pings(&answer);
    assert!(rest.starts_with("data: {\"id\":") && rest.ends_with("data: [DONE]\n\n") && answer.whole, "{rest}");
    let status = running.status().await;
    assert_eq!((&status["backends"][0]["served"], &status["backends"][1]["failovers"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_baseline_that_refuses_is_one_error_event_without_done() {
    let running = before(Behaviour { status: Some((429, Some(3))), ..Behaviour::default() }).await;
    let answer = ask(&running, &chat("x", true), "").await;
    let rest = after_pings(&answer);
    assert!(rest.starts_with("data: {\"error\":{\"message\":") && !rest.contains("[DONE]"), "{rest}");
    assert_eq!((rest.matches("data: ").count(), answer.whole), (1, true), "{rest}");
    let event: serde_json::Value = serde_json::from_str(rest.trim_start_matches("data: ").trim_end()).unwrap();
    assert_eq!(event["error"].as_object().unwrap().keys().collect::<Vec<_>>(), ["message", "type", "param", "code"]);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_pings_ends_the_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (openai, qwen) = pair(slow(20_000)).await;
    let running = launch(&early(&file(&openai, &qwen, 100.0)), false).await;
    let mut stream = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    let mut got = vec![0; 4096];
    assert!(stream.read(&mut got).await.unwrap() > 0);
    drop(stream);
    until(qwen.in_flight(), |count| *count == 0).await;
    assert_eq!(openai.requests(), 0);
}
