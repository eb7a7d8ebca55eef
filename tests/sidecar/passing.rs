//! End-to-end fields and bodies pass unchanged, hop-by-hop fields do not pass. The backend is a script of the test.

use crate::support::*;
use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers each request on keep-alive connections with the next of `answers`; returns the heads that it read.
fn play(script: TcpListener, answers: Vec<Vec<u8>>, closes: bool) -> tokio::sync::mpsc::Receiver<Vec<u8>> {
    let (tell, heads) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = script.accept().await {
            let mut got = Vec::new();
            while let Ok(read @ 1..) = stream.read_buf(&mut got).await {
                let _ = read;
                let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if got.len() < end + 4 + length.unwrap_or(0) {
                    continue;
                }
                tell.try_send(got[..end].to_vec()).unwrap();
                got.clear();
                let Some(answer) = answers.next() else { return };
                stream.write_all(&answer).await.unwrap();
                if closes {
                    break;
                }
            }
        }
    });
    heads
}

fn get_of(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: h\r\n{more}\r\n").into_bytes()
}

async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("no head").unwrap());
    }
    head
}

#[tokio::test]
async fn answers_without_a_body_do_not_shift_the_next() {
    let (running, script) = before_script(0.0).await;
    let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
    let bare = |status: &str| format!("HTTP/1.1 {status}\r\n\r\n").into_bytes();
    let head_only = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n".to_vec();
    let heads = play(
        script,
        vec![head_only, plain.clone(), bare("204 No Content"), plain.clone(), bare("304 Not Modified"), plain],
        false,
    );
    let mut client = TcpStream::connect(running.address()).await.unwrap();
    for (method, status, length) in [
        ("HEAD", 200, Some("5000")),
        ("GET", 200, Some("2")),
        ("GET", 204, None),
        ("GET", 200, Some("2")),
        ("GET", 304, None),
        ("GET", 200, Some("2")),
    ] {
        client.write_all(format!("{method} /v1/files HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).await.unwrap();
        let answer = parse(&read_head(&mut client).await);
        assert_eq!((answer.status, answer.header("content-length")), (status, length));
        if method == "GET" && length.is_some() {
            let mut body = [0; 2];
            client.read_exact(&mut body).await.unwrap();
            assert_eq!(&body, b"ok");
        }
    }
    assert_eq!(heads.len(), 6);
}

#[tokio::test]
async fn every_end_to_end_field_passes_in_order_and_byte_for_byte() {
    let (running, script) = before_script(0.0).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
        date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: engine\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-latin: caf\xe9\r\n\r\n\x1f\x8b";
    let mut heads = play(script, vec![answer.to_vec()], false);
    let mut sent: Vec<Vec<u8>> =
        (0..40).map(|n| format!("x-field-{}: value {n} ; \"q\"", n % 25).into_bytes()).collect();
    sent.push(b"x-latin: caf\xe9 \xff".to_vec());
    let mut request = b"GET /v1/files?a=%20b&c=d%2Fe HTTP/1.1\r\nhost: h\r\nconnection: close\r\nhttp2-settings: x\r\nupgrade: h2c\r\nte: trailers\r\n".to_vec();
    for line in &sent {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let got = raw(running.address(), &request).await;
    let head = heads.recv().await.unwrap();
    let lines: Vec<&[u8]> =
        head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert_eq!(lines[0], b"GET /v1/files?a=%20b&c=d%2Fe HTTP/1.1");
    // Fields of one name keep their order; the order of different names has no meaning (RFC 9110 §5.3).
    for line in &sent {
        let name = line.split(|byte| *byte == b':').next().unwrap();
        let of_name = |all: &[&[u8]]| {
            all.iter().filter(|l| l.starts_with(name) && l[name.len()] == b':').map(|l| l.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(of_name(&lines), of_name(&sent.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    for gone in ["http2-settings", "upgrade:", "\nte:", "connection: close"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    let all = |name: &str| got.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    assert_eq!(
        (all("set-cookie"), all("server"), all("content-encoding")),
        (vec!["a=1", "b=2"], vec!["engine"], vec!["gzip"])
    );
    assert_eq!(all("date"), ["Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert!(all("x-hop").is_empty() && all("keep-alive").is_empty() && got.body == b"\x1f\x8b");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_and_one_that_points_elsewhere() {
    let (running, script) = before_script(0.0).await;
    let until_close = b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it".to_vec();
    let elsewhere = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n".to_vec();
    let _heads = play(script, vec![until_close, elsewhere], true);
    let answer = raw(running.address(), &get_of("/v1/files", "connection: close\r\n")).await;
    assert_eq!((answer.status, answer.whole, answer.text().as_str()), (200, true, "all of it"));
    let answer = raw(running.address(), &get_of("/v1/files", "connection: close\r\n")).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("http://127.0.0.1:1/x")), "never followed");
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_is_wanted() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 0.0).replace("[failover]", "[limits]\nbody_bytes = \"64KiB\"\n[failover]");
    let running = launch(&text, false).await;
    let body = chat("x", false);
    let head = |length: usize| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer sk-app-canary\r\nconnection: close\r\n\
                 expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut client = TcpStream::connect(running.address()).await.unwrap();
    client.write_all(head(body.len()).as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with(b"HTTP/1.1 100 Continue\r\n"));
    client.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(parse(&read_head(&mut client).await).status, 200);
    // Without room for it, a body is refused before `100 Continue`.
    let answer = raw(running.address(), head(70_000).as_bytes()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!((openai.requests(), running.app.stats.body_bytes.get()), (1, 0));
}

#[tokio::test]
async fn heads_up_to_the_limit_pass() {
    let (openai, _qwen, running) = {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let running = launch(&file(&openai, &qwen, 0.0), false).await;
        (openai, qwen, running)
    };
    // limits.head counts names, values and four bytes per line.
    let counted = "hosth".len() + 4 + "connectionclose".len() + 4 + "x-a".len() + 4;
    for (size, status) in [(64 << 10, 401), ((64 << 10) + 1, 431)] {
        let more = format!("connection: close\r\nx-a: {}\r\n", "x".repeat(size - counted));
        assert_eq!(raw(running.address(), &get_of("/v1/models", &more)).await.status, status, "{size}");
    }
    for (size, status) in [(8 << 10, 401), ((8 << 10) + 1, 414)] {
        let target = format!("/v1/models?{}", "x".repeat(size - "/v1/models?".len()));
        assert_eq!(raw(running.address(), &get_of(&target, "connection: close\r\n")).await.status, status, "{size}");
    }
    assert_eq!(openai.requests(), 2);
}

#[tokio::test]
async fn a_broken_upload_is_the_applications_fault() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let request = "POST /v1/files HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    let answer = raw(running.address(), request.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (400, Some("client_body")),
        "{}",
        answer.text()
    );
    until(openai.connections(), |count| *count == 0).await;
    let status = running.status().await;
    assert_eq!((&status["backends"][0]["errors"], running.app.stats.in_flight.get()), (&serde_json::json!(0), 0));
    // A half-closed connection counts as a client that left.
    let mut client = TcpStream::connect(running.address()).await.unwrap();
    openai.set(behaviour(Fault::HangBeforeHead));
    client.write_all(&post("/v1/chat/completions", &chat("x", false), "")).await.unwrap();
    until(openai.in_flight(), |count| *count == 1).await;
    client.shutdown().await.unwrap();
    until(openai.aborts(), |aborts| aborts.count >= 1).await;
}

#[tokio::test]
async fn a_client_that_stops_within_its_body_and_still_reads_is_told() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let mut client = TcpStream::connect(running.address()).await.unwrap();
    client
        .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{\"mod")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    let answer = parse(&got);
    assert_eq!(
        (answer.status, answer.header("x-shiftgate-reason")),
        (400, Some("refused:request")),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["error"]["code"], "client_body");
    assert_eq!(openai.requests(), 0);
    assert_eq!(running.app.stats.ended().get("client_gone"), Some(&1), "for counters it has left");
}

#[tokio::test]
async fn without_a_101_there_is_no_tunnel() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(behaviour(Fault::Html));
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let request = "GET /v1/realtime HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    let answer = raw(running.address(), request.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("<html>"));
    assert!(
        openai
            .received()
            .iter()
            .all(|got| got.headers.get("sec-websocket-key").is_some() || got.target == "/v1/smuggled")
    );
}

#[tokio::test]
async fn crumbs_of_a_cookie_become_one() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let stream = TcpStream::connect(running.address()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let body = http_body_util::Full::new(bytes::Bytes::from(chat("x", false)));
    let request = http::Request::post("http://h/v1/chat/completions").header("cookie", "a=1").header("cookie", "b=2");
    assert_eq!(sender.send_request(request.body(body).unwrap()).await.unwrap().status(), 401);
    let got = &openai.received()[0].headers;
    assert_eq!(got.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_body_of_a_get_passes_too() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let head = "GET /v1/files HTTP/1.1\r\nhost: h\r\nauthorization: Bearer sk-app-canary\r\nconnection: close\r\n";
    for framed in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        assert_eq!(raw(running.address(), format!("{head}{framed}").as_bytes()).await.status, 200);
    }
    assert!(openai.received().iter().all(|got| got.body == b"hello".as_slice()));
}

#[tokio::test]
async fn a_hundred_fields_are_enough_over_http2_too() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(running.address()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (fields, status) in [(95, 401), (101, 431)] {
        let request =
            (0..fields).fold(http::Request::get("http://h/v1/models"), |r, n| r.header(format!("x-{n}"), "1"));
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        assert_eq!(sender.send_request(request.body(body).unwrap()).await.unwrap().status(), status);
    }
    assert_eq!(openai.requests(), 1);
}

#[tokio::test]
async fn one_connection_too_many_hears_why_whatever_it_sends() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 0.0).replace("[failover]", "[limits]\nconnections = 1\n[failover]");
    let running = launch(&text, false).await;
    let first = TcpStream::connect(running.address()).await.unwrap();
    let body = chat(&"large ".repeat(40_000), false);
    for _ in 0..20 {
        let mut client = TcpStream::connect(running.address()).await.unwrap();
        client.write_all(&post("/v1/chat/completions", &body, "")).await.expect("all of it is taken");
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.expect("no reset");
        let answer = parse(&got);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    }
    drop(first);
    assert_eq!(running.app.stats.refused().get("refused:connections"), Some(&20));
}
