//! Export settings from the environment: endpoint, protocol, resource; and spans of the process itself.

use std::time::Duration;

use serde_json::{Value, json};
use shiftgate::api::app::Options;
use shiftgate::api::otlp::Bridge;
use shiftgate::api::sim::Behaviour;
use tracing_subscriber::layer::SubscriberExt;

use crate::process::*;
use crate::receiver::{Mood, Receiver};
use crate::shape::*;
use crate::span::{ERROR, Span};
use crate::support::*;

/// Returns the trace of one request with these lines in `[telemetry]` and this environment.
async fn told(receiver: &Receiver, url: &str, env: &[(&'static str, String)]) -> Vec<Span> {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&traced(&openai, &qwen, url, ""), env).await;
    let answer = ask(&running, &chat("x", false), "").await;
    receiver.trace(answer.header("x-shiftgate-trace-id").unwrap(), 2).await
}

#[tokio::test]
async fn the_environment_names_the_protocol_and_the_place() {
    let nobody = "http://127.0.0.1:1";
    let var = |name, value: &str| (name, value.to_owned());
    for (by_http, in_file, env) in [
        (true, None, vec![var("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]),
        (false, None, vec![var("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
        (true, Some(nobody), vec![var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "URL/v1/traces")]),
        (false, Some(nobody), vec![var("OTEL_EXPORTER_OTLP_ENDPOINT", "URL")]),
        (
            true,
            Some(nobody),
            vec![
                var("OTEL_EXPORTER_OTLP_ENDPOINT", "URL/"),
                var("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ],
        ),
    ] {
        let receiver = Receiver::start().await;
        let env: Vec<_> = env.into_iter().map(|(name, value)| (name, value.replace("URL", &receiver.grpc()))).collect();
        told(&receiver, &in_file.map_or_else(|| receiver.grpc(), str::to_owned), &env).await;
        let kind = if by_http { "application/x-protobuf" } else { "application/grpc" };
        assert_eq!(receiver.header("content-type"), kind, "{env:?}");
    }
}

#[tokio::test]
async fn what_a_collector_wants_to_see_is_sent_packed_or_not() {
    for by_http in [false, true] {
        for gzip in ["none", "gzip"] {
            let receiver = Receiver::start().await;
            let url = if by_http { receiver.http() } else { receiver.grpc() };
            let env = [
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector,x-tenant=one".to_owned()),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", gzip.to_owned()),
            ];
            told(&receiver, &url, &env).await;
            assert_eq!(receiver.header("authorization"), "Bearer collector");
            assert_eq!(receiver.header("x-tenant"), "one");
            let name = if by_http { "content-encoding" } else { "grpc-encoding" };
            assert_eq!(receiver.header(name), if gzip == "gzip" { "gzip" } else { "" }, "by HTTP: {by_http}");
            assert_eq!(receiver.holds("/v1/chat/completions"), gzip == "none");
        }
    }
}

#[tokio::test]
async fn the_environment_describes_the_process() {
    let receiver = Receiver::start().await;
    let env = [
        ("OTEL_SERVICE_NAME", "mine".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a%20b,service.name=lost".to_owned()),
        ("K8S_POD_NAME", "pod-1".to_owned()),
    ];
    let spans = told(&receiver, &receiver.grpc(), &env).await;
    for span in spans {
        assert_eq!(span.service(), "mine");
        assert_eq!(span.resource["deployment.environment.name"], "a b");
        assert_eq!(span.resource["k8s.pod.name"], "pod-1");
    }
}

#[tokio::test]
async fn the_environment_may_turn_traces_off() {
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let receiver = Receiver::start().await;
        let (openai, qwen) = pair(Behaviour::default()).await;
        let text = traced(&openai, &qwen, &receiver.grpc(), "");
        let running = launch_traced(&text, &[(off.0, off.1.to_owned())]).await;
        let answer = ask(&running, &chat("x", false), &traceparent(TRACE, true)).await;
        assert_eq!(answer.status, 200);
        // Nothing is recorded here, so the application's span stays the parent.
        assert_eq!(qwen.received()[0].headers["traceparent"], format!("00-{TRACE}-{APP}-01").as_str());
        finish(running).await;
        assert_eq!(*receiver.calls().borrow(), 0, "{off:?}");
    }
}

#[tokio::test]
async fn what_waits_is_out_at_the_end() {
    for mood in [Mood::Takes, Mood::Slow(Duration::from_millis(200)), Mood::UnavailableOnce] {
        let receiver = Receiver::start_as(mood).await;
        let (openai, qwen) = pair(Behaviour::default()).await;
        // The export interval is so long that only the shutdown can have flushed the span.
        let late = [("OTEL_BSP_SCHEDULE_DELAY", "3600000".to_owned())];
        let env = move |name: &str| late.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let text = traced(&openai, &qwen, &receiver.grpc(), "");
        let running = launch_in(env, &text, Options { traces: true, ..Options::default() }).await;
        for _ in 0..3 {
            assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
        }
        assert_eq!(*receiver.calls().borrow(), 0);
        finish(running).await;
        assert_eq!(receiver.spans().len(), 6);
    }
}

#[tokio::test]
async fn the_ratio_is_the_files_of_now() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = traced(&openai, &qwen, &receiver.grpc(), "sample = 0.0");
    let env = |name: &str| (name == "OTEL_BSP_SCHEDULE_DELAY").then(|| "20".to_owned());
    let running = launch_in(env, &text, Options { traces: true, watch: true, ..Options::default() }).await;
    let first = ask(&running, &chat("x", false), "").await;
    std::fs::write(&running.file, text.replace("sample = 0.0", "sample = 1.0")).unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    let second = ask(&running, &chat("x", false), "").await;
    let spans = receiver.trace(second.header("x-shiftgate-trace-id").unwrap(), 2).await;
    assert_eq!(spans[0].get("shiftgate.generation"), 2);
    let first = first.header("x-shiftgate-trace-id").unwrap();
    assert!(receiver.spans().iter().all(|span| span.trace_id != first));
}

#[tokio::test]
async fn reloads_and_the_drain_are_traces_of_their_own() {
    for by_http in [false, true] {
        let receiver = Receiver::start().await;
        let url = if by_http { receiver.http() } else { receiver.grpc() };
        let (openai, qwen) = pair(Behaviour::default()).await;
        let bridge = Bridge::default();
        let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(bridge.layer()));
        let options = Options { traces: true, bridge, ..Options::default() };
        let running = launch_in(|_| None, &traced(&openai, &qwen, &url, ""), options).await;
        for text in [format!("{}# again", std::fs::read_to_string(&running.file).unwrap()), "broken".to_owned()] {
            drop(running.app.store.reload(Ok(text.into_bytes())));
        }
        finish(running).await;
        drop(listening);
        let spans = receiver.spans();
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["shiftgate.reload", "shiftgate.reload", "shiftgate.drain"]);
        for span in &spans {
            assert_eq!((span.service(), span.scope.as_str(), span.parent.as_str()), ("shiftgate", "shiftgate", ""));
            assert!(span.start <= span.end, "{span:#?}");
        }
        let results: Vec<_> = spans.iter().map(|span| span.get("shiftgate.result")).collect();
        assert_eq!(results, [&json!("ok"), &json!("failed"), &Value::Null]);
        assert_eq!(spans.iter().map(|span| span.status).collect::<Vec<_>>(), [0, ERROR, 0]);
        assert_eq!((spans[0].get("shiftgate.generation"), spans[2].get("shiftgate.in_flight")), (&json!(2), &json!(0)));
    }
}

#[tokio::test]
async fn reloads_are_sampled_by_the_files_ratio_of_now() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let text = traced(&openai, &qwen, &receiver.grpc(), "sample = 0.0");
    std::fs::write(&path, &text).unwrap();
    let mut process = Process::of(binary().arg("--config").arg(&path).env("OTEL_BSP_SCHEDULE_DELAY", "20"));
    // Each request is sampled by the ratio before it; the last one waits until the ratio is in force.
    for (generation, ratio) in [(2, "1.0"), (3, "0.9999999")] {
        std::fs::write(&path, text.replace("sample = 0.0", &format!("sample = {ratio}"))).unwrap();
        assert_eq!(process.line("rollout file reloaded")["generation"], generation);
    }
    receiver.wait_for("a reload", |spans| !spans.is_empty()).await;
    process.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || process.child.wait().unwrap());
    assert!(ended.await.unwrap().success());
    let spans = receiver.spans();
    // Reading a file twice for one change makes no second generation.
    let generations: Vec<_> =
        spans.iter().map(|span| span.get("shiftgate.generation")).filter(|one| !one.is_null()).collect();
    assert_eq!(generations, [&json!(3)], "{spans:#?}");
    assert_eq!(spans.last().unwrap().name, "shiftgate.drain");
}

#[tokio::test]
async fn a_withdrawal_is_a_trace_of_its_own_with_the_numbers() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    // The baseline has no share, so that the floor alone decides. The threads that write the log lines of requests make
    // the span too.
    let text = traced(&openai, &qwen, &receiver.grpc(), "").replace("request_log = false", "request_log = true");
    std::fs::write(&path, format!("{text}\n[guard]\nalpha = 0.5\n")).unwrap();
    let process = Process::of(binary().arg("--config").arg(&path).env("OTEL_BSP_SCHEDULE_DELAY", "20"));
    let ask = async || {
        let answer = raw(process.listen, &post("/v1/chat/completions", &chat("x", false), "")).await;
        answer.header("x-shiftgate-reason").unwrap().to_owned()
    };
    for n in 0.. {
        assert!(n < 50, "the guard did not act");
        let status = (n % 2 == 1 && n > 20).then_some((500, None));
        qwen.set(Behaviour { status, ..Behaviour::default() });
        if ask().await == "rolled_back" {
            break;
        }
    }
    let named = |span: &Span| span.name == "shiftgate.rolled_back";
    let spans = receiver.wait_for("the span", |spans| spans.iter().any(named)).await;
    let span = spans.iter().find(|span| named(span)).unwrap();
    for (name, expected) in [
        ("shiftgate.backend", json!("qwen")),
        ("shiftgate.guard.event", json!("held")),
        ("shiftgate.guard.cause", json!("errors")),
        ("shiftgate.guard.threshold", json!(2.0)),
        ("shiftgate.guard.baseline.trials", json!(0)),
        ("shiftgate.guard.baseline.counted", json!(0)),
    ] {
        assert_eq!(span.get(name), &expected, "{name} of {span:#?}");
    }
    let number = |name: &str| span.get(&format!("shiftgate.guard.{name}")).as_f64().unwrap();
    assert!(number("evidence") >= 2.0 && number("candidate.trials") > 20.0, "{span:#?}");
    assert!(number("candidate.counted") >= 1.0, "{span:#?}");
    assert!(span.get("shiftgate.guard.why").as_str().unwrap().contains("requests of qwen failed"), "{span:#?}");
    assert_eq!((span.service(), span.scope.as_str(), span.parent.as_str()), ("shiftgate", "shiftgate", ""));
}

#[tokio::test]
async fn a_reload_that_cannot_be_told_holds_up_no_request() {
    for by_http in [false, true] {
        let receiver = Receiver::start_as(Mood::HangsOnce).await;
        let url = if by_http { receiver.http() } else { receiver.grpc() };
        let (openai, qwen) = pair(Behaviour::default()).await;
        let bridge = Bridge::default();
        let listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(bridge.layer()));
        let options = Options { traces: true, bridge, ..Options::default() };
        // The first export hangs for as long as this test may take.
        let vars = [("OTEL_BSP_SCHEDULE_DELAY", "20"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")];
        let env = move |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let running = launch_in(env, &traced(&openai, &qwen, &url, ""), options).await;
        drop(running.app.store.reload(Ok(b"broken".to_vec())));
        until(receiver.calls(), |calls| *calls == 1).await;
        let answer = ask(&running, &chat("x", false), "").await;
        receiver.trace(answer.header("x-shiftgate-trace-id").unwrap(), 2).await;
        // One span of the reload and one of the drain.
        assert_eq!(finish(running).await.telemetry.dropped_shutdown.get(), 2);
        drop(listening);
    }
}
