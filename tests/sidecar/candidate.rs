//! Unusable answers of a candidate and the ends of its streams, byte for byte; the candidate is a script of the test.

use crate::support::*;
use shiftgate::api::sim::{Behaviour, Sim};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

pub(crate) const CONTENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
pub(crate) const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const ERROR: &str = "data: {\"error\":{\"message\":\"engine died\",\"code\":500}}\n\n";
/// `ERROR` as the application receives it.
const TOLD: &str = "data: {\"error\":{\"message\":\"engine died\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    /// Sends the last chunk.
    Ends,
    /// Closes the connection without the last chunk.
    Cuts,
    /// Sends nothing more and stays connected.
    Stalls,
}

/// Starts a sidecar whose candidate gives this answer to every request.
pub(crate) async fn says(answer: Vec<u8>, then: Then) -> (Running, Sim) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0)
        .replace(&qwen.url(), &format!("http://{}/v1", listener.local_addr().unwrap()))
        .replace("enabled = false", "enabled = true")
        .replace("timeout = { total = \"20s\" }", "timeout = { idle = \"60ms\" }");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                if read_request(&mut stream).await.is_none() {
                    return;
                }
                stream.write_all(&answer).await.unwrap();
                if then == Then::Stalls {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (launch(&text, false).await, openai)
}

pub(crate) fn whole(body: &str, more: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(crate) fn stream(events: &[&str], then: Then) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for event in events {
        bytes.extend(format!("{:x}\r\n{event}\r\n", event.len()).bytes());
    }
    if then == Then::Ends {
        bytes.extend(b"0\r\n\r\n");
    }
    bytes
}

#[tokio::test]
async fn a_200_that_is_no_answer_fails_over() {
    for body in [
        "{\"error\":{\"message\":\"boom\",\"code\":500}}",
        "null",
        "[]",
        "{}",
        "\"x\"",
        "{\"object\":\"error\",\"choices\":[]}",
    ] {
        let (running, _openai) = says(whole(body, ""), Then::Ends).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:bad_answer")), "{body}");
    }
    let long = ": comment\n\n".repeat(120_000);
    let silent = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    for (events, then, cause) in [
        (vec![DONE], Then::Ends, "bad_answer"),
        (vec![silent, DONE], Then::Ends, "bad_answer"),
        (vec!["event: error\ndata: {\"message\":\"m\"}\n\n", DONE], Then::Ends, "bad_answer"),
        (vec!["data: {\"object\":\"error\",\"message\":\"m\"}\n\n", DONE], Then::Ends, "error_event"),
        (vec![long.as_str()], Then::Stalls, "bad_answer"),
    ] {
        let (running, _openai) = says(stream(&events, then), then).await;
        let answer = ask(&running, &chat("x", true), "").await;
        let reason = format!("failover:{cause}");
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some(reason.as_str())));
        assert!(answer.whole && answer.text().ends_with(DONE));
    }
    // An empty completion is valid if it has a finish reason.
    let (running, openai) = says(stream(&[silent, STOP, DONE], Then::Ends), Then::Ends).await;
    let answer = ask(&running, &chat("x", true), "").await;
    assert_eq!((answer.header("x-shiftgate-backend"), openai.requests()), (Some("qwen"), 0));
}

#[tokio::test]
async fn a_stream_ends_once() {
    // Events, end of the connection, last event that the application gets, counts of errors and `[DONE]`, `end`.
    const BROKEN: &str = "\"error\":{\"message\":\"the answer broke off";
    for (events, then, last, errors, dones, end) in [
        (vec![CONTENT, STOP, DONE], Then::Ends, DONE, 0, 1, "complete"),
        (vec![CONTENT, STOP, DONE], Then::Cuts, DONE, 0, 1, "complete"),
        (vec![CONTENT, STOP, DONE], Then::Stalls, DONE, 0, 1, "complete"),
        (vec![CONTENT, STOP], Then::Cuts, BROKEN, 1, 0, "upstream_error"),
        (vec![CONTENT], Then::Ends, BROKEN, 1, 0, "upstream_error"),
        (vec![CONTENT], Then::Stalls, BROKEN, 1, 0, "timeout"),
        (vec![CONTENT, ERROR], Then::Ends, TOLD, 1, 0, "upstream_error"),
        (vec![CONTENT, ERROR], Then::Cuts, TOLD, 1, 0, "upstream_error"),
        (vec![CONTENT, ERROR], Then::Stalls, TOLD, 1, 0, "upstream_error"),
        (vec![CONTENT, ERROR, DONE], Then::Ends, TOLD, 1, 0, "upstream_error"),
        (vec![CONTENT, ERROR, CONTENT, ERROR, DONE], Then::Ends, TOLD, 1, 0, "upstream_error"),
    ] {
        let what = format!("{events:?}");
        // Each event in its own chunk, and, without an error, all in one.
        let joined = events.concat();
        let pieces = if errors == 0 { vec![events, vec![joined.as_str()]] } else { vec![events] };
        for events in pieces {
            let (running, _openai) = says(stream(&events, then), then).await;
            let answer = ask(&running, &chat("x", true), "").await;
            let text = answer.text();
            assert_eq!((answer.status, answer.whole), (200, true), "{what}");
            assert!(text.contains(last) && text.ends_with("\n\n"), "{what}: {text}");
            assert_eq!(
                (text.matches("\"error\":{").count(), text.matches("[DONE]").count()),
                (errors, dones),
                "{what}: {text}"
            );
            assert_eq!(running.app.stats.ended().get(end), Some(&1), "{what}: {:?}", running.app.stats.ended());
        }
    }
}

#[tokio::test]
async fn an_error_event_is_never_glued_to_a_broken_one() {
    let huge = format!("data: {}", "x".repeat(1_500_000));
    let (running, _openai) = says(stream(&[CONTENT, &huge], Then::Cuts), Then::Cuts).await;
    let text = ask(&running, &chat("x", true), "").await.text();
    assert!(!text.contains("xxx") && text.contains("\n\ndata: {\"error\":{") && text.ends_with("}}\n\n"), "{text}");
}

#[tokio::test]
async fn a_length_is_passed_only_where_it_holds() {
    let events = [CONTENT, STOP, DONE].concat();
    for (said, sent, end, error) in [
        (events.len(), events.as_str(), "complete", false),
        (events.len() + 1000, events.as_str(), "complete", false),
        (CONTENT.len(), CONTENT, "upstream_error", true),
        (CONTENT.len() + 1000, CONTENT, "upstream_error", true),
    ] {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {said}\r\n\r\n{sent}");
        let (running, _openai) = says(head.into_bytes(), Then::Cuts).await;
        let answer = ask(&running, &chat("x", true), "").await;
        assert!(answer.whole && answer.header("content-length").is_none());
        assert_eq!(answer.text().contains("\"error\":{"), error, "{}", answer.text());
        assert_eq!(running.app.stats.ended().get(end), Some(&1), "{:?}", running.app.stats.ended());
    }
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_a_bad_answer() {
    let switching = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec();
    let (running, _openai) = says(switching, Then::Cuts).await;
    let answer = ask(&running, &chat("x", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("openai")), "{}", answer.text());
}

#[tokio::test]
async fn retry_after_may_be_a_date_or_far_away() {
    for value in ["9999999", "Fri, 31 Dec 2100 23:59:59 GMT"] {
        let head = format!("HTTP/1.1 429 Too Many Requests\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
        let (running, _openai) = says(head.into_bytes(), Then::Cuts).await;
        ask(&running, &chat("x", false), "").await;
        let in_force = running.app.store.current();
        let health = &in_force.targets_off_path()[1].health;
        let after = |seconds| std::time::Instant::now() + std::time::Duration::from_secs(seconds);
        assert_eq!((health.report(after(50)).cooling, health.report(after(61)).cooling), (true, false), "{value}");
    }
}

#[tokio::test]
async fn a_head_that_breaks_http_never_passes() {
    for field in ["x-folded: a\r\n b", "x-spaced : a", "x-nul: a\0b", "x-cr: a\rb", "no colon"] {
        let head = format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 14\r\n\r\n{{\"choices\":[]}}");
        let (running, _openai) = says(head.into_bytes(), Then::Cuts).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!(
            (answer.status, answer.header("x-shiftgate-reason")),
            (200, Some("failover:bad_answer")),
            "{field:?}"
        );
    }
}
