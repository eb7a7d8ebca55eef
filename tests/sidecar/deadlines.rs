//! Deadlines of applications' SDKs, which are theirs to keep, and crashes with requests in flight.

use std::time::Duration;

use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// A deadline of one second, as the Python SDK sends it.
const ONE_SECOND: &str = "x-stainless-timeout: 1\r\nx-stainless-read-timeout: 1.0\r\n";

fn with_failover(text: &str) -> String {
    text.replace("enabled = false", "enabled = true")
}

#[tokio::test]
async fn the_baseline_is_not_bound_by_the_clients_deadline() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(Behaviour { ttft: Duration::from_millis(1_500), ..Behaviour::default() });
    let running = launch(&with_failover(&file(&openai, &qwen, 0.0)), false).await;
    let answer = ask(&running, &chat("x", false), ONE_SECOND).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let status = running.status().await;
    assert_eq!(status["backends"][0]["errors"], 0);
}

#[tokio::test]
async fn a_candidate_is_left_soon_after_the_clients_deadline_without_an_answer_or_a_blame() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let running = launch(&with_failover(&file(&openai, &qwen, 100.0)), false).await;
    for is_stream in [false, true] {
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        stream.write_all(&post("/v1/chat/completions", &chat("x", is_stream), ONE_SECOND)).await.unwrap();
        let mut bytes = Vec::new();
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it hangs"));
        assert_eq!(String::from_utf8_lossy(&bytes), "", "the connection is closed without an answer");
    }
    until(qwen.in_flight(), |count| *count == 0).await;
    assert_eq!((openai.requests(), qwen.requests()), (0, 2));
    let status = running.status().await;
    let qwen = &status["backends"][1];
    assert_eq!((&qwen["errors"], &qwen["failovers"], &qwen["breaker"]), (&0.into(), &0.into(), &"closed".into()));
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_requests_ended_total{end=\"client_gone\"} 2"), "{page}");
}

#[tokio::test]
async fn a_stream_that_stalls_is_cut_after_the_clients_read_deadline() {
    let (openai, qwen) = pair(behaviour(Fault::HangAfter(4))).await;
    let running = launch(&with_failover(&file(&openai, &qwen, 100.0)), false).await;
    let answer = ask(&running, &chat("x", true), ONE_SECOND).await;
    assert!(!answer.whole && !answer.text().contains("error"), "{}", answer.text());
    let status = running.status().await;
    assert_eq!(status["backends"][1]["errors"], 0);
}

#[tokio::test]
async fn a_candidate_that_fails_after_the_clients_deadline_is_to_blame_and_nothing_fails_over() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let running = launch(&with_failover(&file(&openai, &qwen, 100.0)).replace(&qwen.url(), &url), false).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = script.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    });
    let answer = ask(&running, &chat("x", false), ONE_SECOND).await;
    server.await.unwrap();
    assert_eq!((answer.status, openai.requests()), (502, 0), "{}", answer.text());
    let status = running.status().await;
    assert_eq!(status["backends"][1]["errors"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_with_forty_requests_in_flight_loses_none() {
    const REQUESTS: usize = 40;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let running = launch(&with_failover(&file(&openai, &qwen, 100.0)).replace(&qwen.url(), &url), false).await;
    let address = running.address();
    let clients: Vec<_> = (0..REQUESTS)
        .map(|_| tokio::spawn(async move { raw(address, &post("/v1/chat/completions", &chat("x", false), "")).await }))
        .collect();
    let mut open = Vec::new();
    while open.len() < REQUESTS {
        let (mut stream, _) = script.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        open.push(stream);
    }
    drop(open);
    for client in clients {
        let answer = client.await.unwrap();
        let told = (answer.status, answer.header("x-shiftgate-reason"));
        assert_eq!(told, (200, Some("failover:reset")), "{}", answer.text());
    }
}
