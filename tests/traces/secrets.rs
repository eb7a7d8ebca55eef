//! Credentials and content stay out of logs and telemetry, however a request ends: one run of the built binary.

use crate::process::*;
use crate::receiver::Receiver;
use crate::support::*;
use shiftgate::api::sim::{Behaviour, Fault, Received};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Strings that only the application and its own provider may see.
const OF_THE_APP: [&str; 6] =
    ["sk-app-canary", "cookie-canary", "org-canary", "x-api-canary", "session-canary", "baggage-canary"];
const OF_THE_CANDIDATE: &str = "qwen-key-canary";
const CONTENT: [&str; 2] = ["prompt-canary", "user-canary"];

fn sent(all: &[Received]) -> String {
    all.iter().map(|got| format!("{} {} {:?}\n", got.method, got.target, got.headers)).collect()
}

/// Sends requests that are refused, and a tunnel; returns the texts of the refusals.
async fn broken_and_tunnelled(listen: std::net::SocketAddr, more: &str) -> String {
    let mut told = String::new();
    for broken in
        ["GET /v1/../x HTTP/1.1", "GET /v1/models HTTP/1.1\r\nhost: h", "POST /v1/files HTTP/1.1\r\nexpect: x"]
    {
        let answer = raw(listen, format!("{broken}\r\nhost: h\r\n{more}connection: close\r\n\r\n").as_bytes()).await;
        told.push_str(&answer.text());
    }
    let mut tunnel = TcpStream::connect(listen).await.unwrap();
    let upgrade = format!(
        "GET /v1/realtime HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         authorization: Bearer sk-app-canary\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    tunnel.write_all(upgrade.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    tunnel.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    drop(tunnel);
    told
}

#[tokio::test]
async fn no_credential_crosses_and_none_is_told() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let collector = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    let traces = format!("[telemetry]\notlp = \"{}\"\n", collector.grpc());
    let text = format!("{}{traces}", file(&openai, &qwen, 100.0))
        .replace("request_log = false", "request_log = true\nallow_override = true")
        .replace("enabled = false", "enabled = true\nretry_budget = 1.0")
        .replace("timeout = { total = \"20s\" }", "timeout = { ttft = \"60ms\", total = \"80ms\" }");
    std::fs::write(&path, &text).unwrap();
    let vars = [("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=collector-canary"), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let mut process = Process::of(binary().arg("--config").arg(&path).envs(vars));
    let more = "cookie: c=cookie-canary\r\nopenai-organization: org-canary\r\nx-api-key: x-api-canary\r\n\
                x-session-id: session-canary\r\nbaggage: b=baggage-canary\r\n";
    let body = |stream: bool| {
        serde_json::json!({"model": "gpt-4o", "stream": stream, "user": "user-canary",
            "messages": [{"role": "user", "content": "prompt-canary"}]})
        .to_string()
    };
    let mut told = String::new();
    for fault in [
        Fault::None,
        Fault::CloseAfterAnswer,
        Fault::ResetBeforeHead,
        Fault::CutAfterBytes(900),
        Fault::Garbage,
        Fault::Html,
        Fault::ErrorEventFirst,
        Fault::ErrorEventAfter(6),
        Fault::HangBeforeHead,
        Fault::WrongLength,
    ] {
        qwen.set(behaviour(fault));
        for stream in [false, true] {
            for extra in ["", "x-shiftgate-backend: qwen\r\n", "x-shiftgate-backend: openai\r\n"] {
                let request = post("/v1/chat/completions", &body(stream), &format!("{more}{extra}"));
                let answer = raw(process.listen, &request).await;
                told.push_str(&format!("{:?}", answer.headers));
                if answer.status != 200 {
                    told.push_str(&answer.text());
                }
            }
        }
    }
    for status in [401, 403, 404, 429, 500] {
        qwen.set(Behaviour { status: Some((status, None)), ..Behaviour::default() });
        raw(process.listen, &post("/v1/chat/completions", &body(false), more)).await;
    }
    told.push_str(&broken_and_tunnelled(process.listen, more).await);
    let admin = process.admin.parse().unwrap();
    for page in ["/status", "/metrics", "/readyz"] {
        told.push_str(&get(admin, page).await.text());
    }
    let exemplars =
        "GET /metrics HTTP/1.1\r\nhost: h\r\naccept: application/openmetrics-text\r\nconnection: close\r\n\r\n";
    let page = raw(admin, exemplars.as_bytes()).await.text();
    assert!(page.contains("trace_id=") && page.contains("# EOF"), "{page}");
    told.push_str(&page);
    // A literal key is not allowed there.
    std::fs::write(&path, text.replace("api_key = \"client\"", "api_key = \"sk-app-canary-no\"")).unwrap();
    let mut log = String::new();
    while !log.contains("rollout file refused") {
        log.push_str(&process.lines.next().unwrap().unwrap());
    }
    process.signal("-TERM");
    let rest = tokio::task::spawn_blocking(move || process.lines.by_ref().map_while(Result::ok).collect::<String>());
    log.push_str(&rest.await.unwrap());
    let (to_qwen, to_openai) = (sent(&qwen.received()), sent(&openai.received()));
    assert!(to_qwen.contains(OF_THE_CANDIDATE) && to_openai.contains("sk-app-canary"), "the test sees what is sent");
    assert!(log.matches("\"end\":").count() > 20 && told.contains("failover:"), "and what is told");
    assert!(collector.spans().len() > 60 && collector.holds("/v1/chat/completions"), "and what is traced");
    assert_eq!(collector.header("x-tenant"), "collector-canary");
    for canary in OF_THE_APP {
        assert!(!to_qwen.contains(canary), "{canary} reached the candidate: {to_qwen}");
        assert!(!log.contains(canary) && !told.contains(canary) && !collector.holds(canary), "{canary} was told");
    }
    assert!(!to_openai.contains(OF_THE_CANDIDATE), "{to_openai}");
    for canary in CONTENT.into_iter().chain([OF_THE_CANDIDATE, "collector-canary"]) {
        assert!(!log.contains(canary) && !told.contains(canary) && !collector.holds(canary), "{canary} was told");
    }
}
