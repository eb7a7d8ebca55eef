//! Attribution: times, tokens and decisions are counted for the right backend.

use std::time::Duration;

use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::exposition::Page;
use crate::metrics::{page, page_when, priced};
use crate::support::*;

#[tokio::test]
async fn waiting_for_a_backend_is_no_overhead_when_the_application_leaves() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    openai.set(behaviour(Fault::HangBeforeHead));
    for percent in [0.0, 100.0] {
        let running = launch(&file(&openai, &qwen, percent), false).await;
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        stream.write_all(&post("/v1/chat/completions", &chat("x", false), "")).await.unwrap();
        let asked = if percent == 0.0 { &openai } else { &qwen };
        until(asked.in_flight(), |count| *count == 1).await;
        // The client waits this long before it leaves.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(stream);
        until(asked.in_flight(), |count| *count == 0).await;
        let total = [("phase", "total")];
        let page =
            page_when(&running, |page| page.one("shiftgate_overhead_duration_seconds_count", &total) == 1.0).await;
        // The other histogram includes the wait.
        let overhead = page.one("shiftgate_overhead_duration_seconds_sum", &total);
        let whole: f64 = page.all("http_server_request_duration_seconds_sum", &[]).iter().sum();
        assert!(whole >= 0.3 && overhead < whole - 0.3, "{overhead} of {whole}");
    }
}

#[tokio::test]
async fn a_backends_times_are_its_own() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0)
        .replace("enabled = false", "enabled = true\nretry_budget = 1.0")
        .replace("total = \"20s\"", "ttft = \"400ms\", total = \"400ms\"");
    let running = launch(&text, false).await;
    let answer = ask(&running, &chat("x", true), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:timeout")));
    page_when(&running, |page| page.one("shiftgate_requests_ended_total", &[("end", "complete")]) == 1.0).await;
    let status = running.status().await;
    for time in ["ttft_ms", "total_ms"] {
        let p50 = status["backends"][0][time]["p50"].as_f64().unwrap();
        assert!(p50 < 400.0, "{time} {p50}: the candidate's time is not the baseline's");
    }
}

#[tokio::test]
async fn tokens_of_every_operation_are_counted() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let tokens = |page: &Page| page.one("shiftgate_tokens_input_total", &[("backend", "openai")]);
    let mut before = 0.0;
    for (path, body) in [
        ("/v1/chat/completions", chat("x", false)),
        ("/v1/completions", r#"{"model":"gpt-3.5-turbo-instruct","prompt":"x y z"}"#.to_owned()),
        ("/v1/embeddings", r#"{"model":"text-embedding-3-small","input":"x y z"}"#.to_owned()),
    ] {
        let answer = raw(running.address(), &post(path, &body, "")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let told = answer.json()["usage"]["prompt_tokens"].as_f64().unwrap();
        let page = page_when(&running, |page| tokens(page) > before).await;
        assert_eq!(tokens(&page), before + told, "{path}");
        before += told;
    }
}

#[tokio::test]
async fn a_price_that_changes_leaves_breaker_and_counters_alone() {
    let (openai, qwen) = pair(behaviour(Fault::ResetBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0)
        .replace("enabled = false", "enabled = true\nretry_budget = 1.0")
        .replace("family =", "breaker = { failures = 1 }\nfamily =");
    let running = launch(&text.replace("[server]", "[server]\nallow_override = true"), true).await;
    ask(&running, &chat("x", false), "").await;
    // An override that the breaker moves is not counted as the split's choice.
    let answer = ask(&running, &chat("x", false), "x-shiftgate-backend: qwen\r\n").await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("breaker"));
    let chosen = running.app.stats.route("default").chosen();
    assert_eq!(chosen.values().sum::<u64>(), 1, "{chosen:?}");
    let current = std::fs::read_to_string(&running.file).unwrap();
    for (generation, text) in [(2, priced(&current)), (3, current.replace("qwen-served", "qwen-other"))] {
        std::fs::write(&running.file, text).unwrap();
        page_when(&running, |page| page.one("shiftgate_config_generation", &[]) == f64::from(generation)).await;
        let page = page(&running).await;
        // A new model resets the breaker's state but keeps its count of openings.
        let state = if generation == 2 { 2.0 } else { 0.0 };
        assert_eq!(page.one("shiftgate_breaker_state", &[("backend", "qwen")]), state);
        assert_eq!(page.one("shiftgate_breaker_opened_total", &[("backend", "qwen")]), 1.0);
    }
}
