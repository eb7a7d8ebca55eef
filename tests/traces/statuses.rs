//! Status and `error.type` of spans, by the HTTP and GenAI semantic conventions.

use serde_json::{Value, json};
use shiftgate::api::sim::{Behaviour, Fault, Sim};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::receiver::Receiver;
use crate::shape::*;
use crate::span::*;
use crate::support::*;

struct Case {
    receiver: Receiver,
    running: Running,
    openai: Sim,
    /// Kept alive: the server stops on drop.
    _qwen: Sim,
}

impl Case {
    async fn new(percent: f64, behaviour: Behaviour, change: impl FnOnce(String) -> String) -> Self {
        let receiver = Receiver::start().await;
        let (openai, qwen) = pair(behaviour).await;
        let text = traced(&openai, &qwen, &receiver.grpc(), "").replace("100.0 }", &format!("{percent:?} }}"));
        let running = launch_traced(&change(text), &[]).await;
        Self { receiver, running, openai, _qwen: qwen }
    }

    async fn spans(&self, answer: &Answer, count: usize) -> Vec<Span> {
        let id = answer.header("x-shiftgate-trace-id").expect("every answer has one");
        self.receiver.trace(id, count).await
    }
}

fn same(text: String) -> String {
    text
}

#[tokio::test]
async fn a_4xx_is_an_error_of_the_call_and_none_of_the_service() {
    let case = Case::new(0.0, Behaviour::default(), same).await;
    for (status, of_server) in [(400, 0), (401, 0), (404, 0), (429, 0), (500, ERROR), (503, ERROR)] {
        case.openai.set(Behaviour { status: Some((status, None)), ..Behaviour::default() });
        let answer = ask(&case.running, &chat("x", false), "").await;
        assert_eq!(answer.status, status);
        let spans = case.spans(&answer, 2).await;
        let [server, client] = &spans[..] else { panic!("{spans:#?}") };
        let told = json!(status.to_string());
        assert_eq!((server.status, client.status), (of_server, ERROR), "{status}");
        assert_eq!(server.get("error.type"), if of_server == ERROR { &told } else { &Value::Null }, "{status}");
        assert_eq!(client.get("error.type"), &told);
        assert!(spans.iter().all(|span| span.get("http.response.status_code") == status), "{spans:#?}");
    }
}

#[tokio::test]
async fn what_is_no_models_work_is_a_plain_call() {
    let case = Case::new(0.0, Behaviour::default(), same).await;
    let answer = get(case.running.address(), "/v1/files/file-1?purpose=x").await;
    let spans = case.spans(&answer, 2).await;
    assert_eq!((spans[0].name.as_str(), spans[1].name.as_str()), ("GET /v1/files/*", "GET"));
    assert_eq!(
        (spans[0].get("http.route"), spans[0].get("url.path")),
        (&json!("/v1/files/*"), &json!("/v1/files/file-1"))
    );
    assert!(spans.iter().all(|span| !span.attributes.keys().any(|name| name.starts_with("gen_ai."))), "{spans:#?}");
}

#[tokio::test]
async fn each_operation_has_its_name() {
    let case = Case::new(0.0, Behaviour::default(), same).await;
    for (path, body, operation) in [
        ("/v1/chat/completions", chat("x", false), "chat"),
        ("/v1/responses", json!({"model": "gpt-4o", "input": "x"}).to_string(), "chat"),
        ("/v1/completions", json!({"model": "gpt-4o", "prompt": "x"}).to_string(), "text_completion"),
        ("/v1/embeddings", json!({"model": "gpt-4o", "input": "x"}).to_string(), "embeddings"),
    ] {
        let answer = raw(case.running.address(), &post(path, &body, "")).await;
        let spans = case.spans(&answer, 2).await;
        assert_eq!(spans[0].name, format!("POST {path}"));
        assert_eq!(spans[1].name, format!("{operation} gpt-4o"), "{path}");
        assert_eq!(spans[1].get("gen_ai.operation.name"), operation);
        for of_streams in ["gen_ai.response.time_to_first_chunk", "gen_ai.request.stream"] {
            assert_eq!(spans[1].get(of_streams), &Value::Null, "not streamed");
        }
    }
}

#[tokio::test]
async fn who_ended_an_attempt_is_told() {
    let hang = behaviour(Fault::HangBeforeHead);
    let case = Case::new(100.0, hang, |text| text.replace("total = \"20s\"", "ttft = \"60ms\", total = \"10s\"")).await;
    let answer = ask(&case.running, &chat("x", true), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:timeout")));
    let spans = case.spans(&answer, 3).await;
    let [server, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (first.get("error.type"), first.get("shiftgate.cancelled_by")),
        (&json!("ttft_timeout"), &json!("deadline"))
    );
    assert!(first.end - first.start >= 60_000_000);
    assert_eq!((server.status, second.status, second.get("shiftgate.cancelled_by")), (0, 0, &Value::Null));
}

/// Starts a server that sends a thought with usage and then stalls.
async fn stalls_in_thought() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let thought = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"}}],\
                   \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = format!("{head}{:x}\r\n{thought}\r\n", thought.len());
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            read_request(&mut stream).await;
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_candidate_that_stalls_in_a_stripped_thought_is_idle() {
    let (url, serving) = stalls_in_thought().await;
    let case = Case::new(100.0, Behaviour::default(), |text| {
        let candidate = text.lines().filter(|line| line.starts_with("url = ")).nth(1).unwrap();
        text.replace(candidate, &format!("url = \"{url}\"")).replace("total = \"20s\"", "idle = \"60ms\"")
    })
    .await;
    let answer = ask(&case.running, &chat("x", true).replace("gpt-4o", "o3"), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:timeout")));
    let failed = &case.spans(&answer, 3).await[1];
    assert_eq!(
        (failed.get("error.type"), failed.get("shiftgate.cancelled_by")),
        (&json!("idle_timeout"), &json!("deadline"))
    );
    assert_eq!(
        (failed.get("gen_ai.usage.input_tokens"), failed.get("gen_ai.usage.output_tokens")),
        (&json!(7), &json!(2))
    );
    assert!(failed.get("gen_ai.response.time_to_first_chunk").is_f64(), "{failed:#?}");
    serving.abort();
}

#[tokio::test]
async fn a_breaker_that_opens_is_an_event() {
    let case = Case::new(100.0, behaviour(Fault::ResetBeforeHead), |text| {
        text.replace("breaker = { enabled = false }", "breaker = { failures = 2 }")
    })
    .await;
    for opens in [false, true] {
        let answer = ask(&case.running, &chat("x", false), "").await;
        let spans = case.spans(&answer, 3).await;
        let events: Vec<&str> = spans[0].events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(events, if opens { vec!["failover", "breaker_open"] } else { vec!["failover"] });
    }
    let answer = ask(&case.running, &chat("x", false), "").await;
    // The decision stays; the baseline answered.
    let server = &case.spans(&answer, 2).await[0];
    assert_eq!(
        (server.get("shiftgate.decision.backend"), server.get("shiftgate.backend")),
        (&json!("qwen"), &json!("openai"))
    );
    assert_eq!(
        (server.get("shiftgate.decision.reason"), server.get("shiftgate.reason")),
        (&json!("split"), &json!("breaker"))
    );
}

#[tokio::test]
async fn a_breaker_that_a_4xx_opens_is_an_event_too() {
    let refuses = Behaviour { status: Some((404, None)), ..Behaviour::default() };
    let case =
        Case::new(100.0, refuses, |text| text.replace("breaker = { enabled = false }", "breaker = { failures = 1 }"))
            .await;
    // The baseline accepts the request, so the 4xx was the candidate's fault: known only after the failover.
    let answer = ask(&case.running, &chat("x", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("openai")));
    let spans = case.spans(&answer, 3).await;
    let event = spans[0].event("breaker_open");
    assert_eq!((event.at, &event.attributes["shiftgate.backend"]), (spans[1].end, &json!("qwen")));
}

#[tokio::test]
async fn the_request_that_makes_the_guard_act_says_so() {
    let fails = Behaviour { status: Some((500, None)), ..Behaviour::default() };
    // The baseline has no share, so that the floor alone decides, and one failure is enough.
    let case = Case::new(100.0, fails, |text| format!("{text}\n[guard]\nalpha = 0.5\n")).await;
    let answer = ask(&case.running, &chat("x", false), "").await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("failover:status"));
    let spans = case.spans(&answer, 3).await;
    let event = spans[0].event("shiftgate.rolled_back");
    assert_eq!(event.attributes["shiftgate.backend"], json!("qwen"));
    let answer = ask(&case.running, &chat("x", false), "").await;
    let server = &case.spans(&answer, 2).await[0];
    assert_eq!(
        (server.get("shiftgate.decision.backend"), server.get("shiftgate.decision.reason")),
        (&json!("openai"), &json!("rolled_back"))
    );
    assert!(server.events.is_empty(), "{server:#?}");
}

#[tokio::test]
async fn numbers_that_are_none_are_left_out() {
    let case = Case::new(0.0, Behaviour::default(), same).await;
    let body = r#"{"model":"gpt-4o","temperature":1e999,"top_p":-1e999,"seed":1e3,"messages":[]}"#;
    let answer = ask(&case.running, body, "").await;
    let client = &case.spans(&answer, 2).await[1];
    for name in ["temperature", "top_p", "seed"] {
        assert_eq!(client.get(&format!("gen_ai.request.{name}")), &Value::Null, "{name}");
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_other() {
    let case = Case::new(0.0, Behaviour::default(), same).await;
    let request = format!("{} /v1/models HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", "BREW".repeat(8_000));
    let answer = raw(case.running.address(), request.as_bytes()).await;
    assert_eq!(answer.status, 405);
    let span = &case.spans(&answer, 1).await[0];
    assert_eq!((span.name.as_str(), span.get("http.request.method")), ("HTTP /v1/models/*", &json!("_OTHER")));
    assert!(!case.receiver.holds("BREWBREW"));
}

/// Starts a server that answers once per connection and closes it on the second request.
async fn forgetful() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let body = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[]}"#;
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            read_request(&mut stream).await;
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_replay_is_an_attempt_of_its_own() {
    let (url, serving) = forgetful().await;
    let case = Case::new(0.0, Behaviour::default(), |text| {
        let baseline = text.lines().find(|line| line.starts_with("url = ")).unwrap();
        text.replace(baseline, &format!("url = \"{url}\""))
    })
    .await;
    let first = ask(&case.running, &chat("x", false), "").await;
    let port = case.spans(&first, 2).await[1].get("server.port").clone();
    let second = ask(&case.running, &chat("x", false), "").await;
    assert_eq!((second.status, second.header("x-shiftgate-reason")), (200, first.header("x-shiftgate-reason")));
    let spans = case.spans(&second, 3).await;
    let [server, died, again] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((server.status, died.status, again.status), (0, ERROR, 0), "{spans:#?}");
    let events: Vec<&str> = server.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["replay"]);
    let event = server.event("replay");
    assert_eq!(
        (&event.attributes["shiftgate.from"], &event.attributes["shiftgate.to"]),
        (&json!("openai"), &json!("openai"))
    );
    assert!(event.at == again.start && died.end <= again.start, "{spans:#?}");
    assert_eq!((died.get("shiftgate.conn.reused"), died.get("error.type")), (&json!(true), &json!("upstream_reset")));
    let resent = "http.request.resend_count";
    assert_eq!((died.get(resent), again.get(resent)), (&Value::Null, &json!(1)));
    assert_eq!((died.get("shiftgate.attempt"), again.get("shiftgate.attempt")), (&json!(1), &json!(2)));
    assert!(died.get("server.port") == &port && again.get("server.port") == &port);
    serving.abort();
}

#[tokio::test]
async fn what_shiftgate_itself_answers_has_no_call() {
    let case = Case::new(100.0, Behaviour::default(), same).await;
    let answer = raw(case.running.address(), &post("/v1/chat/completions", "{", "")).await;
    let spans = match answer.header("x-shiftgate-trace-id") {
        Some(_) => case.spans(&answer, 1).await,
        None => panic!("{answer:?}"),
    };
    assert_eq!(spans[0].get("http.response.status_code"), answer.status);
}
