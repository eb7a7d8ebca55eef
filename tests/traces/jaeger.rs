//! A real Jaeger on free ports, asked through its query API.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::check::failed_over_stream;
use crate::pairs::{copied, pair_of_one_stream};
use crate::shape::*;
use crate::span::{Attributes, Event, Span};
use crate::support::*;

const SKIPPED: &str = "SKIPPED: no Jaeger; examples/jaeger/jaeger.sh build gets one\n";

/// A Jaeger process, killed on drop.
struct Jaeger {
    child: Child,
    query: SocketAddr,
    grpc: SocketAddr,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Returns `SHIFTGATE_JAEGER`, or the path where `examples/jaeger/jaeger.sh` installs it.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SHIFTGATE_JAEGER").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "SHIFTGATE_JAEGER is {}, and there is no program", named.display());
        return Some(named);
    }
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    Some(cache.join("shiftgate/jaeger")).filter(|path| path.is_file())
}

impl Jaeger {
    /// Starts Jaeger; prints a notice and returns `None` if it is not installed.
    async fn start() -> Option<Self> {
        let Some(program) = program() else {
            // Writes to stderr directly: the test harness hides the output of a passing test.
            std::io::stderr().write_all(SKIPPED.as_bytes()).unwrap();
            return None;
        };
        // If a port is taken before Jaeger binds it, Jaeger exits, and other ports are tried.
        for _ in 0..5 {
            if let Some(jaeger) = Self::start_once(&program).await {
                return Some(jaeger);
            }
        }
        panic!("{} does not start", program.display());
    }

    async fn start_once(program: &PathBuf) -> Option<Self> {
        let free: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<SocketAddr> = free.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let [query, query_grpc, grpc, http] = ports[..] else { unreachable!() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jaeger.json");
        std::fs::write(&path, config([query, query_grpc, grpc, http]).to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        drop(free);
        let child = Command::new(program)
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut jaeger = Self { child, query, grpc, http, _folder: folder };
        tokio::time::timeout(PATIENCE, jaeger.is_up()).await.expect("Jaeger does not answer").then_some(jaeger)
    }

    /// Waits until Jaeger answers; returns `false` if it exited.
    async fn is_up(&mut self) -> bool {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let mut is_up = true;
            for address in [self.query, self.grpc, self.http] {
                is_up &= tokio::net::TcpStream::connect(address).await.is_ok();
            }
            if is_up && get(self.query, "/api/v3/services").await.status == 200 {
                return true;
            }
            pause().await;
        }
    }

    /// Waits until the trace has `count` spans.
    async fn trace(&self, id: &str, count: usize) -> Vec<Span> {
        let asked = async {
            loop {
                let answer = get(self.query, &format!("/api/v3/traces/{id}")).await;
                let spans = if answer.status == 200 { of_answer(&answer.json()) } else { Vec::new() };
                if spans.len() >= count {
                    return spans;
                }
                pause().await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("Jaeger never has the trace")
    }
}

/// Interval of polling Jaeger, which does not announce when it is ready.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn config([query, query_grpc, grpc, http]: [SocketAddr; 4]) -> Value {
    json!({
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": {
                "receivers": ["otlp"], "processors": ["batch"], "exporters": ["jaeger_storage_exporter"]
            }},
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}}
        },
        "extensions": {
            "jaeger_query": {
                "storage": {"traces": "memory"}, "http": {"endpoint": query}, "grpc": {"endpoint": query_grpc}
            },
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 1000}}}}
        },
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": grpc}, "http": {"endpoint": http}}}},
        "processors": {"batch": {"timeout": "20ms"}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}}
    })
}

fn all<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    value[name].as_array().into_iter().flatten()
}

fn of_answer(answer: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in all(&answer["result"], "resourceSpans") {
        let resource = attributes(&of_resource["resource"]);
        for of_scope in all(of_resource, "scopeSpans") {
            let scope = of_scope["scope"]["name"].as_str().unwrap_or_default();
            spans.extend(all(of_scope, "spans").map(|span| of_json(span, &resource, scope)));
        }
    }
    spans
}

fn of_json(span: &Value, resource: &Attributes, scope: &str) -> Span {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let nanos = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let event = |event: &Value| Event {
        name: event["name"].as_str().unwrap().to_owned(),
        at: nanos(&event["timeUnixNano"]),
        attributes: attributes(event),
    };
    Span {
        resource: resource.clone(),
        scope: scope.to_owned(),
        name: text("name"),
        kind: span["kind"].as_i64().unwrap(),
        trace_id: text("traceId"),
        span_id: text("spanId"),
        parent: text("parentSpanId"),
        start: nanos(&span["startTimeUnixNano"]),
        end: nanos(&span["endTimeUnixNano"]),
        attributes: attributes(span),
        events: all(span, "events").map(event).collect(),
        status: span["status"]["code"].as_i64().unwrap_or(0),
        links: all(span, "links").count(),
        flags: span["flags"].as_u64().unwrap_or(0),
        trace_state: text("traceState"),
    }
}

/// Drops the attributes that Jaeger adds.
fn attributes(of: &Value) -> Attributes {
    let named = |pair: &Value| (pair["key"].as_str().unwrap().to_owned(), plain(&pair["value"]));
    all(of, "attributes").map(named).filter(|(name, _)| !name.starts_with("@jaeger@")).collect()
}

/// Reads an integer, which is a string in OTLP's JSON.
fn plain(value: &Value) -> Value {
    let (kind, value) = value.as_object().and_then(|value| value.iter().next()).unwrap();
    match kind.as_str() {
        "intValue" => json!(value.as_str().unwrap().parse::<i64>().unwrap()),
        // JSON writes an integral double without a point.
        "doubleValue" => json!(value.as_f64().unwrap()),
        "arrayValue" => all(value, "values").map(plain).collect(),
        _ => value.clone(),
    }
}

#[tokio::test]
async fn a_real_jaeger_shows_a_failed_over_stream_as_one_trace() {
    let Some(jaeger) = Jaeger::start().await else { return };
    for (trace, url) in [
        ("4bf92f3577b34da6a3ce929d0e0e4701", format!("http://{}", jaeger.grpc)),
        ("4bf92f3577b34da6a3ce929d0e0e4702", format!("http://{}/v1/traces", jaeger.http)),
    ] {
        let (openai, qwen) = pair(failing()).await;
        let running = launch_traced(&traced(&openai, &qwen, &url, ""), &[]).await;
        let asked = fail_over(&running, &openai, &qwen, trace, jaeger.http).await;
        failed_over_stream(&jaeger.trace(trace, 4).await, &asked);
        let services = get(jaeger.query, "/api/v3/services").await.json();
        let names: Vec<&str> = all(&services, "services").filter_map(Value::as_str).collect();
        assert!(["shiftgate", "vllm"].iter().all(|name| names.contains(name)), "{services}");
    }
}

#[tokio::test]
async fn a_real_jaeger_shows_both_answers_and_their_comparison() {
    let Some(jaeger) = Jaeger::start().await else { return };
    let (openai, qwen) = pair(shiftgate::api::sim::Behaviour::default()).await;
    let running = launch_traced(&copied(&openai, &qwen, &format!("http://{}", jaeger.grpc), "sample = 0.0"), &[]).await;
    let answer = ask(&running, &chat("x", true), "").await;
    pair_of_one_stream(&jaeger.trace(answer.header("x-shiftgate-trace-id").unwrap(), 5).await);
}
