//! The complete trace of one request that failed over, by gRPC and by HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::json;
use shiftgate::api::app::Options;
use shiftgate::api::sim::{Behaviour, Sim};
use shiftgate::api::stats::Stats;

use crate::check::{Asked, failed_over_stream};
use crate::receiver::Receiver;
use crate::span::unhex;
use crate::support::*;

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const APP: &str = "00f067aa0ba902b7";

/// Returns a file with failover on and exports to `url`; `more` goes into `[telemetry]`.
pub(crate) fn traced(openai: &Sim, qwen: &Sim, url: &str, more: &str) -> String {
    let text = file(openai, qwen, 100.0).replace("enabled = false", "enabled = true\nretry_budget = 1.0");
    let text = text.replace("family = \"qwen3\"", "family = \"qwen3\"\nbreaker = { enabled = false }");
    format!("{text}[telemetry]\notlp = \"{url}\"\n{more}\n")
}

/// Starts a sidecar that exports every 20 ms; `more` are other environment variables.
pub(crate) async fn launch_traced(text: &str, more: &[(&'static str, String)]) -> Running {
    let mut all = vec![("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned())];
    all.extend_from_slice(more);
    let env = move |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    launch_in(env, text, Options { traces: true, ..Options::default() }).await
}

/// Waits until it `holds`; panics after [`PATIENCE`].
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it never holds");
}

/// Drains the sidecar; afterwards every span is exported or counted as lost.
pub(crate) async fn finish(running: Running) -> Arc<Stats> {
    let stats = Arc::clone(&running.app.stats);
    running.app.drain(Duration::from_millis(1), std::future::pending()).await;
    stats
}

pub(crate) fn traceparent(trace: &str, sampled: bool) -> String {
    format!("traceparent: 00-{trace}-{APP}-0{}\r\n", u8::from(sampled))
}

fn told(sim: &Sim) -> Option<String> {
    let got = sim.received();
    let [got] = &got[..] else { panic!("{got:#?}") };
    got.headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned())
}

/// Requests the stream that fails over; the candidate's own span is sent to `post_at` by HTTP.
pub(crate) async fn fail_over(running: &Running, openai: &Sim, qwen: &Sim, trace: &str, post_at: SocketAddr) -> Asked {
    let body = json!({"model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9,
        "temperature": 0.5, "seed": 7, "n": 1, "messages": [{"role": "user", "content": "x"}]});
    let answer = ask(running, &body.to_string(), &traceparent(trace, true)).await;
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    assert_eq!(answer.header("x-shiftgate-reason"), Some("failover:status"));
    assert_eq!(answer.header("x-shiftgate-trace-id"), Some(trace));
    let asked = Asked {
        trace_id: trace.to_owned(),
        parent: APP.to_owned(),
        traceparents: [told(openai), told(qwen)],
        ports: [openai.address().port(), qwen.address().port()],
    };
    let theirs = asked.traceparents[1].as_ref().expect("vLLM is told of the trace");
    let posted = raw(post_at, &vllm_span(theirs)).await;
    assert_eq!(posted.status, 200, "{}", posted.text());
    asked
}

/// Returns a POST with the span that a vLLM server exports for this caller.
fn vllm_span(traceparent: &str) -> Vec<u8> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let span = Span {
        trace_id: unhex(parts[1]),
        span_id: unhex("00000000000000a1"),
        parent_span_id: unhex(parts[2]),
        name: "llm_request".to_owned(),
        kind: 2,
        start_time_unix_nano: now,
        end_time_unix_nano: now + 1000,
        ..Span::default()
    };
    let name = AnyValue { value: Some(any_value::Value::StringValue("vllm".to_owned())) };
    let named = KeyValue { key: "service.name".to_owned(), value: Some(name), ..KeyValue::default() };
    let body = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![named], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec();
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}

pub(crate) fn failing() -> Behaviour {
    Behaviour { status: Some((503, None)), ..Behaviour::default() }
}

async fn whole_trace(receiver: &Receiver, url: &str, env: &[(&'static str, String)]) {
    let (openai, qwen) = pair(failing()).await;
    let running = launch_traced(&traced(&openai, &qwen, url, ""), env).await;
    let asked = fail_over(&running, &openai, &qwen, TRACE, receiver.address).await;
    let spans = receiver.trace(TRACE, 4).await;
    failed_over_stream(&spans, &asked);
    // Flags: sampled, and the parent is known to be remote.
    assert!(spans.iter().filter(|span| span.service() == "shiftgate").all(|span| span.flags & 0x101 == 0x101));
    let telemetry = &finish(running).await.telemetry;
    assert_eq!((telemetry.exported.get(), telemetry.queued.get()), (3, 0));
}

#[tokio::test]
async fn a_failed_over_stream_is_one_trace_by_grpc() {
    let receiver = Receiver::start().await;
    whole_trace(&receiver, &receiver.grpc(), &[]).await;
}

#[tokio::test]
async fn a_failed_over_stream_is_one_trace_by_http() {
    let receiver = Receiver::start().await;
    whole_trace(&receiver, &receiver.http(), &[]).await;
}
