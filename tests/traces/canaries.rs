//! A collector receives no credential and no content, however a request ends.

use std::sync::Arc;

use shiftgate::api::sim::Behaviour;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

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
