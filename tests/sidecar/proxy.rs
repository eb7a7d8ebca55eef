//! The path of a request through the real listener: request at the backend, answer at the client, counters.

use std::time::Duration;

use crate::support::*;
use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

#[tokio::test]
async fn the_split_is_sticky_and_what_the_backends_count() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 30.0), false).await;
    let mut first = Vec::new();
    for round in 0..2 {
        for key in 0..300 {
            let answer = ask(&running, &chat("hi", false), &format!("x-session-id: s{key}\r\n")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let backend = answer.header("x-shiftgate-backend").unwrap().to_owned();
            assert_eq!(answer.header("x-shiftgate-reason"), Some("split"));
            if round == 0 {
                first.push(backend);
            } else {
                assert_eq!(first[key], backend, "key s{key} moved");
            }
        }
    }
    let on_qwen = first.iter().filter(|backend| *backend == "qwen").count() as u64;
    assert!((58..=122).contains(&on_qwen), "{on_qwen} of 300 at 30 % is beyond 4 sigma");
    assert_eq!(qwen.requests(), 2 * on_qwen);
    assert_eq!(openai.requests(), 600 - 2 * on_qwen);
    let status = running.status().await;
    assert_eq!(status["routes"][0]["requests"]["qwen"], 2 * on_qwen);
    assert_eq!(status["backends"][1]["served"], 2 * on_qwen);
    assert_eq!(status["backends"][1]["errors"], 0);
}

#[tokio::test]
async fn the_baseline_gets_the_bytes_and_head_as_they_came() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let body =
        "{ \"model\" : \"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\"}],\"temperature\":1e0 }\n";
    let more = "x-session-id: s\r\ncookie: c=1\r\nopenai-organization: org\r\nx-forwarded-for: 1.2.3.4\r\n\
                x-shiftgate-backend: qwen\r\nvia: 1.1 x\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                connection: x-hop\r\nx-hop: 1\r\naccept-encoding: gzip\r\n";
    let answer = ask(&running, body, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-shiftgate-trace-id"), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(answer.header("openai-version"), Some("2020-10-01"));
    let got = &openai.received()[0];
    assert_eq!(got.body, body.as_bytes());
    let header = |name: &str| got.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("authorization"), Some("Bearer sk-app-canary"));
    assert_eq!(header("cookie"), Some("c=1"));
    assert_eq!(header("openai-organization"), Some("org"));
    assert_eq!(header("accept-encoding"), Some("identity"));
    assert_eq!(header("host"), Some(openai.address().to_string().as_str()));
    for gone in ["x-forwarded-for", "x-shiftgate-backend", "via", "x-hop", "connection", "traceparent"] {
        assert_eq!(header(gone), None, "{gone}");
    }
    assert_eq!(got.headers.get_all("host").iter().count(), 1);
    assert_eq!(got.headers.get_all("content-length").iter().count(), 1);
}

#[tokio::test]
async fn a_candidate_gets_its_own_key_and_model_and_nothing_of_the_app() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    // The template has no thinking switch, so only the model's name changes.
    let text = file(&openai, &qwen, 100.0).replace("family = \"qwen3\"", "family = \"qwen2.5\"");
    let running = launch(&text, false).await;
    let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"model\"}], \"model\" : \"gpt-4o\" , \"top_p\":1e-2}";
    let more = "cookie: c=1\r\nopenai-organization: org\r\nx-session-id: s\r\nuser-agent: ua\r\n\
                traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx-request-id: app\r\n";
    let answer = ask(&running, body, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-shiftgate-backend"), Some("qwen"));
    let got = &qwen.received()[0];
    assert_eq!(got.body, body.replace("gpt-4o", "qwen-served").as_bytes());
    assert_eq!(answer.header("x-shiftgate-translated"), Some("rewritten=model"));
    let header = |name: &str| got.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("authorization").as_deref(), Some("Bearer qwen-key-canary"));
    assert_eq!(header("user-agent").as_deref(), Some("ua"));
    assert!(header("traceparent").is_some(), "vllm joins the trace");
    assert_ne!(header("x-request-id").as_deref(), Some("app"));
    let mut names: Vec<&str> = got.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "user-agent",
            "x-request-id",
            "x-session-id"
        ]
    );
    assert_eq!(openai.requests(), 0);
}

#[tokio::test]
async fn what_is_not_split_goes_to_the_baseline_and_is_counted_apart() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    let a = running.address();
    for (request, reason) in [
        (post("/v1/embeddings", r#"{"model":"e","input":"x"}"#, ""), "pinned:endpoint"),
        (post("/v1/responses", r#"{"model":"gpt-4o","input":"x"}"#, ""), "pinned:stateful"),
        (post("/v1/files?limit=2", "--raw--", ""), "pinned:endpoint"),
        (post("/v1/chat/completions", "{\"model\": ", ""), "pinned:unparsable"),
        (post("/v1/chat/completions", &chat("x", false), "x-stainless-retry-count: 1\r\n"), "pinned:retry"),
    ] {
        let answer = raw(a, &request).await;
        assert_eq!(answer.header("x-shiftgate-reason"), Some(reason), "{}", answer.text());
        assert_eq!(answer.header("x-shiftgate-backend"), Some("openai"));
    }
    assert_eq!(qwen.requests(), 0);
    assert!(openai.received().iter().any(|got| got.target == "/v1/files?limit=2" && got.body == "--raw--"));
    let status = running.status().await;
    let pinned = &status["routes"][0]["pinned"];
    assert_eq!(*pinned, serde_json::json!({"endpoint": 2, "retry": 1, "stateful": 1, "unparsable": 1}));
    assert!(status["routes"][0]["got"].is_null(), "the split has chosen nobody yet");
}

#[tokio::test]
async fn refusals_have_openais_shape() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let a = running.address();
    let long = format!("GET /v1/{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", "x".repeat(9000));
    let fat = format!("GET /v1/models HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-a: {}\r\n\r\n", "x".repeat(66_000));
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", 404),
        ("GET /v1/../metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", 400),
        ("CONNECT example.com:443 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", 405),
        (long.as_str(), 414),
        (fat.as_str(), 431),
    ] {
        let answer = raw(a, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("x-shiftgate-backend"), None);
        let error = &answer.json()["error"];
        assert!(error["message"].is_string() && error["type"] == "invalid_request_error", "{error}");
    }
    let options = raw(a, b"OPTIONS * HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert_eq!(options.status, 204);
    assert_eq!(openai.requests() + qwen.requests(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_with_it() {
    for (stream, fault) in [(true, Fault::NeverEnding), (true, Fault::HangAfter(4)), (false, Fault::HangBeforeHead)] {
        for percent in [0.0, 100.0] {
            let (openai, qwen) = pair(behaviour(fault)).await;
            openai.set(behaviour(fault));
            let serving = if percent > 0.0 { &qwen } else { &openai };
            let running = launch(&file(&openai, &qwen, percent), false).await;
            let mut client = TcpStream::connect(running.address()).await.unwrap();
            client.write_all(&post("/v1/chat/completions", &chat("x", stream), "")).await.unwrap();
            until(serving.in_flight(), |count| *count == 1).await;
            if stream {
                let mut some = [0; 64];
                assert!(client.read(&mut some).await.unwrap() > 0);
            }
            drop(client);
            until(serving.aborts(), |aborts| aborts.count == 1).await;
            until(serving.connections(), |count| *count == 0).await;
            let stats = running.app.stats.clone();
            tokio::time::timeout(PATIENCE, async {
                while stats.ended().get("client_gone") != Some(&1) || stats.in_flight.get() != 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .expect("the outcome is client_gone, and its place is free");
        }
    }
}

#[tokio::test]
async fn faults_of_a_candidate_never_look_like_an_answer() {
    for (fault, stream, status) in [
        (Fault::ResetBeforeHead, false, 502),
        (Fault::ResetBeforeHead, true, 502),
        (Fault::Garbage, false, 502),
        (Fault::Html, false, 502),
        (Fault::Html, true, 502),
        (Fault::ErrorEventFirst, true, 500),
        (Fault::CutAfterBytes(500), false, 502),
        (Fault::WrongLength, false, 502),
    ] {
        let (openai, qwen) = pair(behaviour(fault)).await;
        let running = launch(&file(&openai, &qwen, 100.0), false).await;
        let answer = ask(&running, &chat("x", stream), "").await;
        assert_eq!(answer.status, status, "{fault:?} streamed={stream}: {}", answer.text());
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(if status == 502 { "upstream: " } else { "Internal server error" }), "{message}");
        assert!(!message.contains("qwen"), "{message}");
        let candidate = &running.status().await["backends"][1];
        // An error that the candidate itself sent counts as served, and as an error.
        let served = i32::from(status == 500);
        assert_eq!((&candidate["errors"], &candidate["served"]), (&1.into(), &served.into()), "{fault:?}");
    }
    // After content a stream ends with one error event and without [DONE].
    for fault in [Fault::CutAfterBytes(1800), Fault::ErrorEventAfter(6)] {
        let (openai, qwen) = pair(behaviour(fault)).await;
        let running = launch(&file(&openai, &qwen, 100.0), false).await;
        let answer = ask(&running, &chat("x", true), "").await;
        let text = answer.text();
        assert_eq!((answer.status, answer.whole), (200, true), "{fault:?}");
        assert!(text.contains("\"content\"") || text.contains("\"reasoning\""), "{text}");
        assert_eq!(text.matches("\"error\":{").count(), 1, "{text}");
        assert!(!text.contains("[DONE]") && text.ends_with("}}\n\n"), "{text}");
        assert_eq!(running.status().await["backends"][1]["errors"], 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_the_baseline_does_is_passed_on_as_it_is() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    openai.set(Behaviour { status: Some((429, Some(7))), ..Behaviour::default() });
    let limited = ask(&running, &chat("x", false), "").await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("7")));
    assert_eq!(limited.json()["error"]["code"], "rate_limit_exceeded");
    openai.set(behaviour(Fault::CutAfterBytes(1200)));
    let cut = ask(&running, &chat("x", true), "").await;
    assert_eq!((cut.status, cut.whole), (200, false), "a cut stays a cut");
    assert!(!cut.text().contains("error"));
    openai.set(behaviour(Fault::ResetBeforeHead));
    let none = ask(&running, &chat("x", false), "").await;
    assert_eq!(none.status, 502);
    openai.set(behaviour(Fault::OneByteAtATime));
    let slow = ask(&running, &chat("x", true), "").await;
    assert!(slow.whole && slow.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn deadlines_of_a_candidate_are_504() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0);
    let running = launch(&text.replace("total = \"20s\"", "ttft = \"50ms\", total = \"100ms\""), false).await;
    for stream in [true, false] {
        let answer = ask(&running, &chat("x", stream), "").await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (504, Some("upstream_timeout")));
    }
    qwen.set(behaviour(Fault::HangAfter(6)));
    let running = launch(&text.replace("total = \"20s\"", "idle = \"50ms\", total = \"20s\""), false).await;
    let answer = ask(&running, &chat("x", true), "").await;
    assert!(answer.whole && answer.text().contains("\"error\":{"), "{}", answer.text());
    let stats = running.app.stats.clone();
    assert_eq!(stats.ended().get("timeout"), Some(&1));
}

#[tokio::test]
async fn bodies_over_the_cap_stream_to_the_baseline_unread() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0).replace("[server]", "[server]\nmax_body = \"64KiB\"");
    let running = launch(&text, false).await;
    let body = chat(&"long ".repeat(60_000), false);
    let answer = ask(&running, &body, "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("pinned:body_over_cap")));
    let mut chunked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer sk-app-canary\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        .to_vec();
    for part in body.as_bytes().chunks(10_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(running.address(), &chunked).await;
    assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("pinned:body_over_cap")));
    assert!(openai.received().iter().all(|got| got.body == body.as_bytes()));
    assert_eq!((openai.requests(), qwen.requests()), (2, 0));
    assert_eq!(running.app.stats.body_bytes.get(), 0);
}

#[tokio::test]
async fn a_reused_connection_that_died_costs_nobody_a_request() {
    for percent in [0.0, 100.0] {
        let (openai, qwen) = pair(behaviour(Fault::CloseAfterAnswer)).await;
        openai.set(behaviour(Fault::CloseAfterAnswer));
        let running = launch(&file(&openai, &qwen, percent), false).await;
        for number in 0..300 {
            let answer = ask(&running, &chat("x", false), "").await;
            assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn connections_are_reused() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    for stream in [false, true].into_iter().cycle().take(40) {
        assert!(ask(&running, &chat("x", stream), "").await.whole);
    }
    assert_eq!(qwen.opened(), 1);
}

#[tokio::test]
async fn websockets_tunnel_to_the_baseline() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    let mut client = TcpStream::connect(running.address()).await.unwrap();
    client
        .write_all(
            b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
              authorization: Bearer sk-app-canary\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
        )
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let answer = parse(&head);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(answer.header("x-shiftgate-backend"), Some("openai"));
    let (mut read, mut write) = client.split();
    let sent: Vec<u8> = (0..1_048_576_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut back = vec![0; sent.len()];
    let (written, got) = tokio::join!(write.write_all(&sent), read.read_exact(&mut back));
    written.unwrap();
    got.unwrap();
    assert!(sent == back, "what comes back is what was sent");
    drop(client);
    until(openai.connections(), |count| *count == 0).await;
    let refused = raw(running.address(), b"GET /v1/realtime HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert_ne!(refused.status, 101);
}

#[tokio::test]
async fn h2c_and_unix_sockets_are_served_alike() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    let stream = TcpStream::connect(running.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let body = http_body_util::Full::new(bytes::Bytes::from(chat("x", true)));
    let request = http::Request::post("http://h/v1/chat/completions").body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let whole = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(whole.ends_with(b"data: [DONE]\n\n"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("listen = \"unix:{}\"", path.display());
    let text = file(&openai, &qwen, 100.0).replace("listen = \"127.0.0.1:0\"", &listen);
    let running = launch(&text, false).await;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(&post("/v1/chat/completions", &chat("x", false), "")).await.unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(parse(&bytes).status, 200);
    assert_eq!(running.app.listen, format!("unix:{}", path.display()));
}

#[tokio::test]
async fn over_a_limit_it_is_503_at_once_and_the_others_go_on() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(behaviour(Fault::HangAfter(4)));
    let text = file(&openai, &qwen, 0.0).replace("[failover]", "[limits]\nin_flight = 1\n[failover]");
    let running = launch(&text, false).await;
    let mut first = TcpStream::connect(running.address()).await.unwrap();
    first.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    until(openai.in_flight(), |count| *count == 1).await;
    let second = ask(&running, &chat("x", false), "").await;
    assert_eq!(second.status, 503);
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(second.header("x-should-retry"), Some("true"));
    assert_eq!(second.header("x-shiftgate-reason"), Some("refused:overload"));
    assert_eq!(running.app.stats.refused().get("refused:overload"), Some(&1));
    assert_eq!(openai.requests(), 1);
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_refused_total{reason=\"refused:overload\"} 1"), "{page}");
    // Requests of a full candidate go to the baseline unless failover is off.
    for (enabled, status, reason, backend) in
        [(true, 200, "overload", Some("openai")), (false, 503, "refused:overload", None)]
    {
        let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
        let text = file(&openai, &qwen, 100.0)
            .replace("[backend.qwen]", "[backend.qwen]\nmax_in_flight = 1")
            .replace("enabled = false", &format!("enabled = {enabled}"));
        let running = launch(&text, false).await;
        let mut first = TcpStream::connect(running.address()).await.unwrap();
        first.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
        until(qwen.in_flight(), |count| *count == 1).await;
        let second = ask(&running, &chat("x", false), "").await;
        assert_eq!((second.status, second.header("x-shiftgate-reason")), (status, Some(reason)));
        assert_eq!(second.header("x-shiftgate-backend"), backend);
        if enabled {
            let got = &running.status().await["routes"][0]["requests"];
            assert_eq!(*got, serde_json::json!({"qwen": 2}), "the split chose the candidate");
        }
    }
}

#[tokio::test]
async fn a_drain_lets_running_answers_end_and_cuts_them_at_its_limit() {
    for (limit, cut) in [(Duration::from_secs(20), false), (Duration::from_millis(50), true)] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let fault = if cut { Fault::HangAfter(4) } else { Fault::None };
        openai.set(Behaviour { tokens_per_second: 20.0, fault, ..Behaviour::default() });
        let running = launch(&file(&openai, &qwen, 0.0), false).await;
        let (admin, address) = (running.app.admin, running.address());
        assert_eq!(get(admin, "/readyz").await.status, 200);
        let request = post("/v1/chat/completions", &chat("x", true), "");
        let client = tokio::spawn(async move { raw(address, &request).await });
        until(openai.in_flight(), |count| *count == 1).await;
        let stats = running.app.stats.clone();
        let draining = tokio::spawn(running.app.drain(limit, std::future::pending()));
        tokio::time::timeout(PATIENCE, async { while get(admin, "/readyz").await.status != 503 {} })
            .await
            .expect("readiness goes at once");
        assert_eq!(get(admin, "/healthz").await.status, 200);
        let answer = client.await.unwrap();
        assert_eq!(answer.whole, !cut);
        assert_eq!(answer.text().contains("[DONE]"), !cut);
        let ended = draining.await.unwrap();
        assert_eq!(ended == shiftgate::api::app::Ended::Cut, cut);
        let word = if cut { "drained" } else { "complete" };
        assert_eq!(stats.ended().get(word), Some(&1), "{:?}", stats.ended());
        assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    }
}

#[tokio::test]
async fn a_taken_port_is_said_and_nothing_is_stolen() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (openai, qwen) = pair(Behaviour::default()).await;
    let listen = shiftgate::api::config::Listen::Tcp(taken.local_addr().unwrap());
    let error = shiftgate::api::proxy::Listener::bind(&listen).await.unwrap_err();
    assert!(error.is_taken());
    let text = error.to_string();
    assert!(text.contains("already in use") && text.contains(&taken.local_addr().unwrap().to_string()), "{text}");
    drop((openai, qwen));
}

#[tokio::test]
async fn a_candidate_that_takes_the_apps_key_gets_neither_its_cookies_nor_openais_headers() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0);
    let line = text.lines().find(|line| line.starts_with("api_key = { file")).unwrap().to_owned();
    let running = launch(&text.replace(&line, "api_key = \"client\""), false).await;
    let more = "cookie: c=1\r\nopenai-organization: org\r\nx-own: kept\r\n";
    let answer = ask(&running, &chat("x", false), more).await;
    // The simulated server has another key: its 401 must not reach the application.
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some("upstream_misconfigured")));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let got = &qwen.received()[0].headers;
    assert_eq!(got["authorization"], "Bearer sk-app-canary");
    assert_eq!(got["x-own"], "kept");
    assert!(!got.contains_key("cookie") && !got.contains_key("openai-organization"));
}

#[tokio::test]
async fn a_baseline_of_another_engine_gets_its_own_model_name() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 0.0)
        .replace("baseline = \"openai\"", "baseline = \"qwen\"")
        .replace("percent = { qwen = 0.0 }", "percent = { openai = 0.0 }");
    let running = launch(&text, false).await;
    let answer = ask(&running, &chat("x", false), "").await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")), "{}", answer.text());
    assert!(String::from_utf8_lossy(&qwen.received()[0].body).contains("\"model\":\"qwen-served\""));
    assert_eq!(openai.requests(), 0);
}
