//! The application's trace state on the spans, and the kind of connection of attempts that get no head.

use std::time::Duration;

use serde_json::{Value, json};
use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::receiver::Receiver;
use crate::shape::*;
use crate::span::*;
use crate::support::*;

const OTHER: &str = "5bf92f3577b34da6a3ce929d0e0e4737";

#[tokio::test]
async fn every_span_of_a_trace_that_is_followed_carries_its_state() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(failing()).await;
    let running = launch_traced(&traced(&openai, &qwen, &receiver.grpc(), ""), &[]).await;
    let state = "tracestate: rojo=00f067aa0ba902b7, congo=t61\r\nTracestate: a@b=c\r\n";
    let headers = format!("{}{state}", traceparent(TRACE, true));
    assert_eq!(ask(&running, &chat("x", false), &headers).await.status, 200);
    let spans = receiver.trace(TRACE, 3).await;
    assert_eq!(spans.len(), 3, "the server's span and both attempts: {spans:#?}");
    for span in &spans {
        assert_eq!(span.trace_state, "rojo=00f067aa0ba902b7,congo=t61,a@b=c", "{span:#?}");
    }
    // It belongs to the trace of its traceparent, and to none that begins here.
    let answer = ask(&running, &chat("x", false), state).await;
    let spans = receiver.trace(answer.header("x-shiftgate-trace-id").unwrap(), 3).await;
    assert!(spans.iter().all(|span| span.trace_state.is_empty()), "{spans:#?}");
    let headers = format!("{}tracestate: not a state\r\n", traceparent(OTHER, true));
    assert_eq!(ask(&running, &chat("x", false), &headers).await.status, 200);
    let spans = receiver.trace(OTHER, 3).await;
    assert!(spans.iter().all(|span| span.trace_state.is_empty()), "{spans:#?}");
}

/// Returns the first attempt's span of a request that got no answer from the candidate.
async fn first_attempt(receiver: &Receiver, answer: &Answer) -> Span {
    let spans = receiver.trace(answer.header("x-shiftgate-trace-id").unwrap(), 3).await;
    let first = spans.iter().find(|span| *span.get("shiftgate.attempt") == 1);
    first.unwrap_or_else(|| panic!("{spans:#?}")).clone()
}

#[tokio::test]
async fn an_attempt_that_dies_before_a_head_tells_its_connection() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = traced(&openai, &qwen, &receiver.grpc(), "");
    let running = launch_traced(&text.replace("total = \"20s\"", "total = \"1s\""), &[]).await;
    let reused = |span: &Span| span.get("shiftgate.conn.reused").clone();
    for (fault, fault_type) in [(Fault::ResetBeforeHead, "upstream_reset"), (Fault::HangBeforeHead, "deadline")] {
        // A fault ends the connection, so that the next request opens one.
        qwen.set(behaviour(fault));
        let span = first_attempt(&receiver, &ask(&running, &chat("x", false), "").await).await;
        assert_eq!((reused(&span), span.get("error.type")), (json!(false), &json!(fault_type)), "{span:#?}");
    }
    qwen.set(Behaviour::default());
    assert_eq!(ask(&running, &chat("x", false), "").await.header("x-shiftgate-backend"), Some("qwen"));
    qwen.set(behaviour(Fault::HangBeforeHead));
    let span = first_attempt(&receiver, &ask(&running, &chat("x", false), "").await).await;
    assert_eq!((reused(&span), span.get("error.type")), (json!(true), &json!("deadline")), "{span:#?}");

    let nobody = traced(&openai, &qwen, &receiver.grpc(), "").replace(&qwen.url(), "http://127.0.0.1:9/v1");
    let running = launch_traced(&nobody, &[]).await;
    let span = first_attempt(&receiver, &ask(&running, &chat("x", false), "").await).await;
    assert_eq!((reused(&span), span.get("error.type")), (Value::Null, &json!("connect")), "no connection: {span:#?}");
}

#[tokio::test]
async fn an_attempt_that_its_client_leaves_tells_its_connection() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let text = traced(&openai, &qwen, &receiver.grpc(), "").replace(&qwen.url(), &url);
    let running = launch_traced(&text, &[]).await;
    let mut app = TcpStream::connect(running.address()).await.unwrap();
    let request = post("/v1/chat/completions", &chat("x", false), &traceparent(TRACE, true));
    app.write_all(&request).await.unwrap();
    let (mut backend, _) = script.accept().await.unwrap();
    assert!(read_request(&mut backend).await.is_some());
    drop(app);
    let spans = tokio::time::timeout(Duration::from_secs(20), receiver.trace(TRACE, 2)).await.unwrap();
    let attempt = spans.iter().find(|span| span.kind == CLIENT).unwrap();
    assert_eq!(
        (attempt.get("shiftgate.conn.reused"), attempt.get("shiftgate.cancelled_by")),
        (&json!(false), &json!("client")),
        "{attempt:#?}"
    );
}
