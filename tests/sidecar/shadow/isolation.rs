//! What a shadow may not touch: the served answer, and every number of the served path.

use serde_json::Value;
use shiftgate::api::sim::{Behaviour, Fault, Sim};

use super::*;

const REQUESTS: u64 = 12;

/// The candidate's section with a breaker and with failover, as it is in production.
fn guarded(text: &str) -> String {
    text.replace("[failover]\nenabled = false", "[failover]\nenabled = true")
        .replace("family = \"qwen3\"", "family = \"qwen3\"\nbreaker = { failures = 2 }\nmax_in_flight = 3")
}

/// The numbers of `/status` that exist without shadows; times and connections differ from run to run.
fn numbers(status: &Value) -> Value {
    let mut status = status.clone();
    for name in ["shadow", "uptime_s", "loaded_at", "hash", "listen", "admin"] {
        status.as_object_mut().unwrap().remove(name);
    }
    for backend in status["backends"].as_array_mut().unwrap() {
        for name in ["ttft_ms", "total_ms", "connections", "url"] {
            backend.as_object_mut().unwrap().remove(name);
        }
    }
    status
}

/// Sends requests at 0 %; returns bodies and the numbers of `/status`.
async fn run(running: &Running) -> (Vec<Vec<u8>>, Value) {
    let mut bodies = Vec::new();
    for n in 0..REQUESTS {
        let answer = ask(running, &chat(&format!("question {n}"), n % 2 == 0), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-backend"), answer.whole), (200, Some("openai"), true));
        bodies.push(answer.body);
    }
    (bodies, numbers(&until_status(running, |status| status["in_flight"] == 0).await))
}

/// Runs with a candidate that behaves like this, with and without shadows, and compares what is served.
async fn compare(behaviour: Behaviour, more: &str, result: &str) {
    let (openai, qwen) = pair(behaviour).await;
    compare_with(&openai, &qwen, more, result).await;
}

async fn compare_with(openai: &Sim, qwen: &Sim, more: &str, result: &str) {
    let plain = launch(&guarded(&file(openai, qwen, 0.0)), false).await;
    let copied = launch(&guarded(&shadowed(openai, qwen, 0.0, "qwen", more)), false).await;
    let (expected, without) = run(&plain).await;
    let (got, with) = run(&copied).await;
    assert_eq!(expected.len(), got.len());
    assert_eq!(with, without);
    let status = until_pairs(&copied, if result.is_empty() { 0 } else { 1 }).await;
    if !result.is_empty() {
        let pairs = counted(&copies(&status)["pairs"]);
        assert!(pairs.iter().any(|(name, _)| name == result), "{pairs:?}");
    }
    assert_eq!(numbers(&status), without, "after the pairs have ended");
}

#[tokio::test]
async fn a_candidate_that_fails_its_copies_keeps_its_breaker_closed() {
    compare(Behaviour { status: Some((500, None)), ..Behaviour::default() }, "", "failed").await;
}

#[tokio::test]
async fn a_429_to_a_copy_starts_no_cool_down() {
    let (openai, qwen) = pair(Behaviour { status: Some((429, Some(30))), ..Behaviour::default() }).await;
    compare_with(&openai, &qwen, "", "failed").await;
}

#[tokio::test]
async fn a_copy_that_is_reset_does_not_matter() {
    compare(behaviour(Fault::ResetBeforeHead), "", "failed").await;
}

#[tokio::test]
async fn copies_that_hang_take_no_place_at_the_candidate() {
    compare(behaviour(Fault::HangBeforeHead), "timeout = \"300ms\"", "timeout").await;
}

#[tokio::test]
async fn a_copy_that_comes_byte_by_byte_does_not_matter() {
    compare(behaviour(Fault::OneByteAtATime), "", "compared").await;
}

#[tokio::test]
async fn a_very_long_answer_is_cut_at_its_cap() {
    compare(Behaviour { tokens: (60_000, 60_000), ..Behaviour::default() }, "", "over_cap").await;
}

#[tokio::test]
async fn a_candidate_that_is_down_does_not_matter() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    // Bound and not listening, so that no other test gets the port.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/v1", closed.local_addr().unwrap());
    let text = guarded(&shadowed(&openai, &qwen, 0.0, "qwen", "")).replace(&qwen.url(), &url);
    let running = launch(&text, false).await;
    let (bodies, _) = run(&running).await;
    assert_eq!(bodies.len() as u64, REQUESTS);
    let status = until_pairs(&running, REQUESTS).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [("failed".to_owned(), REQUESTS)]);
    assert_eq!((&status["backends"][1]["errors"], &status["backends"][1]["breaker"]), (&0.into(), &"closed".into()));
}

#[tokio::test]
async fn copies_do_not_count_in_limits_of_the_process_or_of_the_candidate() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("[rollout]\n", "[limits]\nin_flight = 1\n[rollout]\n");
    let text = text.replace("family = \"qwen3\"", "family = \"qwen3\"\nmax_in_flight = 1");
    let running = launch(&text, false).await;
    for n in 0..4 {
        assert_eq!(ask(&running, &chat(&format!("{n}"), false), "").await.status, 200);
    }
    let status = until_status(&running, |status| status["shadow"]["in_flight"] == 4).await;
    assert_eq!((&status["in_flight"], &status["backends"][1]["in_flight"]), (&0.into(), &0.into()));
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_body_bytes 0\n"), "the limit of held bytes");
    let served = "shiftgate_overhead_duration_seconds_count{phase=\"total\"} 4\n";
    assert!(page.contains(served), "the overhead is of served requests only");
}

#[tokio::test]
async fn copies_leave_the_retry_budget_alone() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "timeout = \"100ms\"");
    let running = launch(&guarded(&text), false).await;
    run(&running).await;
    until_pairs(&running, REQUESTS).await;
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_failover_refused_total 0\n"));
    assert!(!page.contains("shiftgate_upstream_retries_total{backend=\"qwen\",reason=\"timeout\"} 1"));
}
