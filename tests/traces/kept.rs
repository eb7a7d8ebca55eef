//! Sampling: the application's flag, the ratio, and requests that are kept because they ended badly.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shiftgate::api::sim::{Behaviour, Fault, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::receiver::Receiver;
use crate::shape::*;
use crate::span::*;
use crate::support::*;

const NONE: &str = "sample = 0.0";

/// A sidecar that samples nothing, and its two backends.
struct Case {
    receiver: Receiver,
    running: Running,
    openai: Sim,
    qwen: Sim,
    /// Nanoseconds since 1970 at which the case began.
    began: u64,
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

impl Case {
    async fn new(behaviour: Behaviour, more: &str, change: impl FnOnce(String) -> String) -> Self {
        let began = now();
        let receiver = Receiver::start().await;
        let (openai, qwen) = pair(behaviour).await;
        let text = change(traced(&openai, &qwen, &receiver.grpc(), more));
        let running = launch_traced(&text, &[]).await;
        Self { receiver, running, openai, qwen, began }
    }

    /// Sends one request; returns status and trace id.
    async fn ask(&self, stream: bool, more: &str) -> (u16, String) {
        let answer = ask(&self.running, &chat("x", stream), more).await;
        let id = answer.header("x-shiftgate-trace-id").expect("every answer has one").to_owned();
        (answer.status, id)
    }

    /// Returns the spans of a kept trace, SERVER first, after checking that their times lie within the case.
    async fn kept(&self, id: &str, count: usize) -> Vec<Span> {
        let spans = self.receiver.trace(id, count).await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        let server = &spans[0];
        assert!(server.kind == SERVER && server.parent.is_empty() && server.flags & 0x301 == 0x101, "{server:#?}");
        for span in &spans {
            assert!(self.began <= span.start && span.start <= span.end && span.end <= now(), "{span:#?}");
        }
        for client in &spans[1..] {
            assert_eq!((client.kind, &client.parent), (CLIENT, &server.span_id));
            assert!(server.start <= client.start && client.end <= server.end, "{spans:#?}");
        }
        spans
    }
}

fn no_failover(text: String) -> String {
    text.replace("enabled = true\nretry_budget = 1.0", "enabled = false")
}

#[tokio::test]
async fn a_good_answer_that_is_not_sampled_has_no_span() {
    let case = Case::new(Behaviour::default(), NONE, |text| text).await;
    for stream in [false, true] {
        assert_eq!(case.ask(stream, "").await.0, 200);
    }
    case.qwen.set(failing());
    let (status, bad) = case.ask(false, "").await;
    assert_eq!(status, 200);
    let spans = case.kept(&bad, 3).await;
    assert_eq!(spans[0].get("shiftgate.reason"), "failover:status");
    assert_eq!((spans[0].status, spans[1].status, spans[2].status), (0, ERROR, 0));
    finish(case.running).await;
    assert_eq!(case.receiver.spans().len(), 3, "the good ones left nothing");
    // The flag is sent before the request's end is known, so it says "not sampled".
    assert!(case.qwen.received().iter().all(|got| { got.headers["traceparent"].to_str().unwrap().ends_with("-00") }));
}

#[tokio::test]
async fn an_error_is_kept() {
    let case = Case::new(behaviour(Fault::ResetBeforeHead), NONE, no_failover).await;
    let (status, id) = case.ask(false, "").await;
    assert_eq!(status, 502);
    let spans = case.kept(&id, 2).await;
    for span in &spans {
        assert_eq!((span.status, span.get("error.type")), (ERROR, &json!("upstream_reset")), "{span:#?}");
    }
    assert_eq!(spans[0].get("http.response.status_code"), 502);
    assert_eq!(spans[1].get("http.response.status_code"), &Value::Null);
}

#[tokio::test]
async fn an_answer_from_400_up_is_kept() {
    let case = Case::new(Behaviour::default(), NONE, |text| text.replace("100.0 }", "0.0 }")).await;
    for status in [400, 401, 429] {
        case.openai.set(Behaviour { status: Some((status, None)), ..Behaviour::default() });
        let (told, id) = case.ask(false, "").await;
        assert_eq!(told, status);
        let spans = case.kept(&id, 2).await;
        assert_eq!((spans[0].status, spans[1].status), (0, ERROR), "{status}");
    }
}

#[tokio::test]
async fn an_application_that_leaves_amid_its_upload_is_kept() {
    let case = Case::new(Behaviour::default(), NONE, |text| text).await;
    let whole = post("/v1/chat/completions", &chat("x", false), "");
    let chunked = b"POST /v1/files HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for (part, spans) in [(&whole[..whole.len() - 1], 1), (&chunked[..], 2)] {
        let mut stream = TcpStream::connect(case.running.address()).await.unwrap();
        stream.write_all(part).await.unwrap();
        until_held(&case.running).await;
        drop(stream);
        let of = |all: &[Span]| all.iter().filter(|span| span.kind == SERVER).count();
        let before = if spans == 1 { 0 } else { 1 };
        let all = case.receiver.wait_for("the trace", |all| of(all) > before).await;
        let server = all.iter().rfind(|span| span.kind == SERVER).unwrap();
        assert_eq!((server.status, server.get("error.type")), (ERROR, &json!("client_gone")), "{server:#?}");
        assert_eq!(server.event("client_gone").at, server.end);
        if spans == 2 {
            let client = all.iter().rfind(|span| span.kind == CLIENT).unwrap();
            assert_eq!(client.get("shiftgate.cancelled_by"), "client", "{client:#?}");
        }
    }
    assert_eq!(case.running.app.stats.in_flight.get(), 0);
}

/// Waits until one request is in flight.
async fn until_held(running: &Running) {
    eventually(|| running.app.stats.in_flight.get() == 1).await;
}

#[tokio::test]
async fn a_200_that_broke_off_is_kept_as_an_error() {
    let case = Case::new(behaviour(Fault::CutAfterBytes(900)), NONE, |text| text).await;
    let (status, id) = case.ask(true, "").await;
    assert_eq!(status, 200);
    let spans = case.kept(&id, 2).await;
    assert_eq!((spans[0].status, spans[0].get("http.response.status_code")), (ERROR, &json!(200)));
    assert_eq!(spans[0].get("error.type"), "upstream_reset");
    spans[1].event("first_chunk");
}

#[tokio::test]
async fn a_client_that_leaves_is_kept() {
    let case = Case::new(behaviour(Fault::HangAfter(3)), NONE, |text| text).await;
    let mut stream = TcpStream::connect(case.running.address()).await.unwrap();
    stream.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    let mut got = Vec::new();
    while !got.windows(6).any(|some| some == b"data: ") {
        assert!(stream.read_buf(&mut got).await.unwrap() > 0);
    }
    drop(stream);
    let id = parse(&got).header("x-shiftgate-trace-id").unwrap().to_owned();
    let spans = case.kept(&id, 2).await;
    assert_eq!((spans[0].status, spans[0].get("error.type")), (ERROR, &json!("client_gone")));
    assert_eq!(spans[0].event("client_gone").at, spans[0].end);
    assert_eq!(spans[1].get("shiftgate.cancelled_by"), "client");
    assert_eq!(spans[0].get("http.response.status_code"), 200);
}

#[tokio::test]
async fn a_slow_answer_is_kept() {
    let slow = Duration::from_millis(120);
    let more = "sample = 0.0\nkeep = { slower_than = \"100ms\" }";
    let case = Case::new(Behaviour { ttft: slow, ..Behaviour::default() }, more, |text| text).await;
    let (status, id) = case.ask(true, "").await;
    assert_eq!(status, 200);
    for span in case.kept(&id, 2).await {
        assert_eq!((span.status, span.get("error.type")), (0, &Value::Null));
        assert!(span.end - span.start >= 120_000_000, "{span:#?}");
    }
}

#[tokio::test]
async fn kept_traces_are_bounded_per_second() {
    const ASKED: u64 = 30;
    for allowed in [0, 2] {
        let more = format!("{NONE}\nkeep = {{ per_second = {allowed} }}");
        let case = Case::new(failing(), &more, |text| text).await;
        let began = Instant::now();
        for _ in 0..ASKED {
            assert_eq!(case.ask(false, "").await.0, 200);
        }
        let seconds = began.elapsed().as_secs() + 2;
        let stats = finish(case.running).await;
        let kept = case.receiver.spans().len() as u64 / 3;
        assert!(kept <= allowed * seconds, "{kept} within {seconds} s");
        assert!(kept >= allowed.min(1), "the first second has its allowance too");
        assert_eq!(3 * kept + stats.telemetry.dropped_rate.get(), 3 * ASKED);
    }
}

#[tokio::test]
async fn an_application_that_does_not_sample_is_never_overruled() {
    let case = Case::new(Behaviour::default(), "sample = 1.0", |text| text).await;
    let (status, id) = case.ask(false, &traceparent(TRACE, false)).await;
    assert_eq!((status, id.as_str()), (200, TRACE));
    let as_it_came = format!("00-{TRACE}-{APP}-00");
    assert_eq!(case.qwen.received()[0].headers["traceparent"], as_it_came.as_str());
    case.qwen.set(failing());
    assert_eq!(case.ask(true, &traceparent(TRACE, false)).await, (200, TRACE.to_owned()));
    assert_eq!(case.qwen.received()[1].headers["traceparent"], as_it_came.as_str());
    assert!(!case.openai.received()[0].headers.contains_key("traceparent"), "OpenAI is told of no trace");
    finish(case.running).await;
    assert_eq!(case.receiver.spans(), []);
}

#[tokio::test]
async fn an_application_that_samples_is_followed_whatever_the_ratio() {
    let case = Case::new(Behaviour::default(), NONE, |text| text).await;
    case.ask(false, &traceparent(TRACE, true)).await;
    let spans = case.receiver.trace(TRACE, 2).await;
    assert_eq!((spans[0].parent.as_str(), spans[0].flags & 0x301), (APP, 0x301));
    assert_eq!((&spans[1].parent, spans[1].flags & 0x301), (&spans[0].span_id, 0x101));
}

#[tokio::test]
async fn the_environment_may_follow_nobody() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = traced(&openai, &qwen, &receiver.grpc(), NONE);
    let running = launch_traced(&text, &[("OTEL_TRACES_SAMPLER", "always_on".to_owned())]).await;
    ask(&running, &chat("x", false), &traceparent(TRACE, false)).await;
    let spans = receiver.trace(TRACE, 2).await;
    assert_eq!(spans[0].parent, APP);
    let told = format!("00-{TRACE}-{}-01", spans[1].span_id);
    assert_eq!(qwen.received()[0].headers["traceparent"], told.as_str());
}
