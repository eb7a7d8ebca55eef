//! A collector receives no credential and no content, however a request ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use shiftgate::api::sim::Behaviour;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::pairs::copied;
use crate::process::binary;
use crate::receiver::Receiver;
use crate::shape::*;
use crate::support::*;

/// Keys, prompt, answer, tools, headers, query, and a backend's error text.
const CANARIES: [&str; 16] = [
    "sk-app-canary",
    "qwen-key-canary",
    "prompt-canary",
    "system-canary",
    "answer-canary",
    "thought-canary",
    "tool-canary",
    "argument-canary",
    "user-canary",
    "metadata-canary",
    "cookie-canary",
    "org-canary",
    "session-canary",
    "baggage-canary",
    "query-canary",
    "failure-canary",
];

fn answers() -> [String; 6] {
    let whole = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"answer-canary","reasoning_content":"thought-canary","tool_calls":[{"id":"call_1","type":"function","function":{"name":"tool-canary","arguments":"{\"a\":\"argument-canary\"}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let of = |status: &str, kind: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nset-cookie: c=cookie-canary\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let chunk = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"answer-canary"},"finish_reason":null}]}"#;
    let failure =
        r#"{"error":{"message":"failure-canary","type":"failure-canary","code":"failure-canary","param":null}}"#;
    [
        of("200 OK", "application/json", whole),
        of("200 OK", "text/event-stream", &format!("{chunk}\n\ndata: [DONE]\n\n")),
        of("200 OK", "text/event-stream", &format!("{chunk}\n\ndata: {failure}\n\n")),
        of("500 failure-canary", "application/json", failure),
        of("400 failure-canary", "application/json", failure),
        "failure-canary\r\n\r\n".to_owned(),
    ]
}

#[tokio::test]
async fn nothing_that_is_secret_reaches_a_collector() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let answer = Arc::new(std::sync::Mutex::new(String::new()));
    let given = Arc::clone(&answer);
    let backend = tokio::spawn(async move {
        while let Ok((mut stream, _)) = script.accept().await {
            let Some(_) = read_request(&mut stream).await else { continue };
            let answer = given.lock().unwrap().clone();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let body = |stream: bool| {
        serde_json::json!({"model": "gpt-4o", "stream": stream, "user": "user-canary",
            "metadata": {"a": "metadata-canary"},
            "tools": [{"type": "function", "function": {"name": "tool-canary", "parameters": {"type": "object"}}}],
            "messages": [{"role": "system", "content": "system-canary"}, {"role": "user", "content": "prompt-canary"}]})
        .to_string()
    };
    let more = "cookie: c=cookie-canary\r\nopenai-organization: org-canary\r\nx-session-id: session-canary\r\n\
                baggage: b=baggage-canary\r\ntracestate: a=baggage-canary\r\nuser-agent: session-canary\r\n";
    let mut asked = 0;
    for failover in [true, false] {
        let text = traced(&openai, &qwen, &receiver.http(), "").replace(&qwen.url(), &url);
        let text = if failover { text } else { text.replace("enabled = true", "enabled = false") };
        let running = launch_traced(&text, &[]).await;
        for one in answers() {
            answer.lock().unwrap().clone_from(&one);
            for stream in [false, true] {
                let path = "/v1/chat/completions?key=query-canary";
                drop(raw(running.address(), &post(path, &body(stream), more)).await);
                asked += 1;
            }
        }
        finish(running).await;
    }
    backend.abort();
    let spans = receiver.spans();
    assert_eq!(spans.iter().filter(|span| span.kind == crate::span::SERVER).count(), asked);
    assert!(spans.iter().filter(|span| span.get("error.type").is_string()).count() > asked / 2);
    // The search itself works: a known string is found.
    assert!(receiver.holds("/v1/chat/completions") && receiver.holds("tool_calls"));
    for canary in CANARIES {
        assert!(!receiver.holds(canary), "{canary} reached the collector");
    }
}

/// A scripted backend that gives the answer of the moment to every request.
async fn script(answer: &Arc<std::sync::Mutex<String>>) -> String {
    let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let answer = Arc::clone(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = script.accept().await {
            if read_request(&mut stream).await.is_some() {
                let answer = answer.lock().unwrap().clone();
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    url
}

/// The binary with its log in a file.
struct Logged {
    child: std::process::Child,
    log: std::path::PathBuf,
}

impl Drop for Logged {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Logged {
    fn start(file: &Path) -> Self {
        let log = file.with_extension("log");
        let out = std::fs::File::create(&log).unwrap();
        let mut command = binary();
        command.env("RUST_LOG", "shiftgate=trace").env("OTEL_BSP_SCHEDULE_DELAY", "20").arg("--config").arg(file);
        let child = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Self { child, log }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for both addresses.
    async fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let of = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().parse().unwrap();
        let listening = async {
            loop {
                let text = self.text();
                let mut lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
                if let Some(line) = lines.find(|line| line["message"] == "listening") {
                    return (of(&line, "listen"), of(&line, "admin"));
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("it does not listen")
    }
}

const REFUSAL: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"refusal-canary"},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

/// Asks a process that copies every request, also to the baseline; one of its backends gives each of the answers. Returns
/// everything that it wrote or shows.
async fn copied_by_the_binary(
    receiver: &Receiver,
    answers: &[String],
    is_baselines: bool,
) -> [(&'static str, String); 4] {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let (replaced, answer) = (if is_baselines { openai.url() } else { qwen.url() }, Arc::default());
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = (folder.path().join("rollout.toml"), folder.path().join("records.jsonl"));
    let sections = format!("[records]\npath = \"{}\"\ncontent = false\n[rollout]\n", records.display());
    let text = copied(&openai, &qwen, &receiver.http(), "sample = 1.0")
        .replace(&replaced, &script(&answer).await)
        .replace("request_log = false", "request_log = true\ndrain = \"1s\"")
        .replace("[rollout]\n", &sections);
    std::fs::write(&path, text).unwrap();
    let mut process = Logged::start(&path);
    let (listen, admin) = process.addresses().await;
    let tools = serde_json::json!([{"type": "function", "function": {"name": "tool-canary", "parameters": {
        "type": "object", "properties": {"argument-canary": {"type": "string"}}, "required": ["argument-canary"]}}}]);
    let more = "cookie: c=cookie-canary\r\nopenai-organization: org-canary\r\nx-session-id: session-canary\r\n\
                idempotency-key: session-canary\r\nuser-agent: session-canary\r\n";
    let mut asked = 0;
    for one in answers {
        answer.lock().unwrap().clone_from(one);
        for stream in [false, true] {
            let body = serde_json::json!({"model": "gpt-4o", "stream": stream, "user": "user-canary", "tools": tools,
                "tool_choice": "required", "metadata": {"a": "metadata-canary"},
                "messages": [{"role": "system", "content": "system-canary"}, {"role": "user", "content": "prompt-canary"}]});
            let path = "/v1/chat/completions?key=query-canary";
            drop(raw(listen, &post(path, &body.to_string(), more)).await);
            asked += 1;
            let written = async {
                while std::fs::read_to_string(&records).unwrap_or_default().lines().count() < asked {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            };
            tokio::time::timeout(PATIENCE, written).await.expect("the pair is written");
        }
    }
    let (status, page) = (get(admin, "/status").await.text(), get(admin, "/metrics").await.text());
    let pid = process.child.id().to_string();
    assert!(std::process::Command::new("kill").arg("-TERM").arg(pid).status().unwrap().success());
    process.child.wait().unwrap();
    let records = std::fs::read_to_string(&records).unwrap();
    [("status", status), ("metrics", page), ("records", records), ("log", process.text())]
}

#[tokio::test]
async fn copies_leave_no_content_on_disk_in_the_log_or_at_a_collector() {
    let receiver = Receiver::start().await;
    let refusal = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{REFUSAL}",
        REFUSAL.len()
    );
    let answers: Vec<String> = answers().into_iter().chain([refusal]).collect();
    for is_baselines in [false, true] {
        for (place, text) in copied_by_the_binary(&receiver, &answers, is_baselines).await {
            assert!(text.len() > 1000, "{place}: {text}");
            for canary in CANARIES.iter().chain(&["refusal-canary"]) {
                let found = text.lines().find(|line| line.contains(canary));
                assert!(found.is_none(), "{canary} in the {place}: {found:?}");
            }
        }
    }
    let spans = receiver.spans();
    for leg in ["served", "shadow", "noise"] {
        let count = spans.iter().filter(|span| span.get("shiftgate.leg") == leg).count();
        assert!(count >= 2 * answers.len(), "{count} {leg} legs are in traces");
    }
    assert!(receiver.holds("shiftgate.compare"), "some were compared");
    for canary in CANARIES.iter().chain(&["refusal-canary"]) {
        assert!(!receiver.holds(canary), "{canary} reached the collector");
    }
}
