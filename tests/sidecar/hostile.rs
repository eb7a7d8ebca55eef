//! Requests that break HTTP's rules, or come too slowly or too fast: each is refused with its status, is never
//! forwarded and never delays other requests.

use std::time::Duration;

use crate::support::*;
use shiftgate::api::proxy::ClientTimeouts;
use shiftgate::api::sim::{Behaviour, Fault, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLOSE: &str = "connection: close\r\n";

async fn baseline_only() -> (Sim, Sim, Running) {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    (openai, qwen, running)
}

#[tokio::test]
async fn heads_that_two_servers_may_read_differently_are_refused() {
    let (openai, _qwen, running) = baseline_only().await;
    let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\n{more}{CLOSE}\r\n");
    let chunked = |more: &str, body: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n{more}{CLOSE}\r\n{body}"
        )
    };
    let path = "/v1/models";
    for (request, status) in [
        (get(path, ""), 400),
        (get(path, "host: a\r\nhost: a\r\n"), 400),
        (get(path, "host: a b\r\n"), 400),
        (get("v1/models", "host: h\r\n"), 400),
        (get("/v1/models#x", "host: h\r\n"), 400),
        (get("http://169.254.169.254/v1/models", "host: h\r\n"), 421),
        (get("https://h/v1/models", "host: h\r\n"), 421),
        // A 401 comes from the backend, so the request was forwarded.
        (get("http://h/v1/models", "host: h\r\n"), 401),
        (get(path, "host: h\r\nexpect: x\r\n"), 417),
        (get(path, "host: h\r\nconnection: host, authorization, traceparent\r\n"), 400),
        (get(path, "host: h\r\nx-folded: a\r\n b\r\n"), 400),
        (get(path, "host: h\r\nx-spaced : a\r\n"), 400),
        (get(path, "host: h\r\nx-nul: a\0b\r\n"), 400),
        (format!("get /v1/models HTTP/1.1\r\nhost: h\r\n{CLOSE}\r\n"), 405),
        (format!("FOO /v1/models HTTP/1.1\r\nhost: h\r\n{CLOSE}\r\n"), 405),
        (format!("TRACE /v1/models HTTP/1.1\r\nhost: h\r\n{CLOSE}\r\n"), 405),
        ("GET /v1/models HTTP/1.2\r\nhost: h\r\n\r\n".to_owned(), 400),
        ("GET  /v1/models HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03\r\n\r\n".to_owned(), 400),
        (chunked("content-length: 4\r\n", "0\r\n\r\n"), 400),
        (chunked("transfer-encoding: chunked\r\n", "0\r\n\r\n"), 400),
        (chunked("", "0x2\r\n{}\r\n0\r\n\r\n"), 400),
        (chunked("", "2\r\n{}0\r\n\r\n"), 400),
        (chunked("", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"), 400),
        (chunked("", &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(20_000))), 400),
        (post_te("gzip, chunked"), 501),
        (post_te("xchunked"), 400),
        ("POST /v1/files HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: 4, 4\r\n\r\nabcd".to_owned(), 400),
        ("POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: +4\r\n\r\nabcd".to_owned(), 400),
        (many_fields(101), 431),
    ] {
        let before = openai.requests();
        let answer = raw(running.address(), request.as_bytes()).await;
        assert_eq!(answer.status, status, "{request:?}: {}", answer.text());
        assert_eq!(openai.requests() - before, u64::from(status == 401), "{request:?}");
        if answer.header("x-shiftgate-reason").is_some() {
            assert!(answer.json()["error"]["message"].is_string(), "{request:?}");
        }
        if status == 405 {
            assert!(answer.header("allow").unwrap().contains("POST"));
        }
    }
    let refused = running.app.stats.refused();
    assert!(refused["refused:request"] >= 14 && refused["refused:method"] == 3, "{refused:?}");
    assert!(running.app.stats.closed()["malformed"] >= 8, "{:?}", running.app.stats.closed());
    assert_eq!(running.app.stats.in_flight.get(), 0);
}

fn post_te(coding: &str) -> String {
    format!("POST /v1/files HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n{CLOSE}\r\n0\r\n\r\n")
}

fn many_fields(count: usize) -> String {
    let fields: String = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect();
    format!("GET /v1/models HTTP/1.1\r\nhost: h\r\n{fields}\r\n")
}

#[tokio::test]
async fn what_is_odd_but_legal_is_served() {
    let (openai, _qwen, running) = baseline_only().await;
    let key = "authorization: Bearer sk-app-canary\r\n";
    for request in [
        format!("\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: h\r\n{key}{CLOSE}\r\n"),
        format!("GET /v1/models HTTP/1.1\nhost: h\n{}connection: close\n\n", key.replace('\r', "")),
        format!("GET /v1/models HTTP/1.0\r\n{key}\r\n"),
        format!("POST /v1/files HTTP/1.1\r\nhost: h\r\n{key}content-length: 4\r\ncontent-length: 4\r\n{CLOSE}\r\nabcd"),
        format!("POST /v1/files HTTP/1.1\r\nhost: h\r\n{key}content-length: 0\r\n{CLOSE}\r\n"),
        format!("DELETE /v1/files HTTP/1.1\r\nhost: h\r\n{key}content-length: 2\r\n{CLOSE}\r\n{{}}"),
        format!(
            "POST /v1/files HTTP/1.1\r\nhost: h\r\n{key}transfer-encoding: chunked\r\n{CLOSE}\r\n\
             4;ext=\"1\"\r\nwiki\r\n0\r\nx-trailer: 1\r\n\r\n"
        ),
    ] {
        let before = openai.requests();
        let answer = raw(running.address(), request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{request:?}: {}", answer.text());
        assert_eq!(openai.requests(), before + 1);
    }
    let received = openai.received();
    let by = |method: &str, body: &[u8]| received.iter().filter(|r| r.method == method && r.body == body).count();
    assert_eq!((by("POST", b"abcd"), by("POST", b""), by("DELETE", b"{}"), by("POST", b"wiki")), (1, 1, 1, 1));
    assert!(received.iter().all(|got| !got.headers.contains_key("x-trailer")));
    let empty = received.iter().find(|got| got.method == "POST" && got.body.is_empty()).unwrap();
    assert_eq!(empty.headers.get("content-length").map(|v| v.as_bytes()), Some(b"0".as_slice()));
    assert!(!empty.headers.contains_key("transfer-encoding"));
}

/// Requests with both length headers, or one malformed, around a body that smuggles another request.
#[tokio::test]
async fn smuggled_requests_never_reach_a_backend() {
    const TE: [&str; 24] = [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: \"chunked\"",
        "Transfer_Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding: CHUNKED",
        "TE: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Content-Encoding: chunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunk\r\n ed",
        "X: y\rTransfer-Encoding: chunked",
    ];
    const CL: [&str; 14] = [
        "N",
        "+N",
        "N, N",
        "N\r\nContent-Length: N",
        "N\r\nContent-Length: 0",
        "0xN",
        "N ",
        "\tN",
        "-N",
        "N;x",
        "0N",
        "",
        "99999999999999999999",
        "N\r\ncontent-length: 00N",
    ];
    let (openai, qwen) = pair(Behaviour::default()).await;
    let slow = Duration::from_millis(50);
    let timeouts = ClientTimeouts { head: slow, body: slow, ..ClientTimeouts::default() };
    let running = launch_with(&file(&openai, &qwen, 0.0), false, timeouts).await;
    let smuggled = "GET /v1/smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut payloads = 0;
    for te in TE {
        for cl in CL {
            for (first, te_first) in [("0\r\n\r\n", true), ("5\r\nhello\r\n0\r\n\r\n", false)] {
                let body = format!("{first}{smuggled}");
                let cl = format!("Content-Length: {}", cl.replace('N', &body.len().to_string()));
                let (a, b) = if te_first { (te, cl.as_str()) } else { (cl.as_str(), te) };
                let payload = format!("POST /v1/files HTTP/1.1\r\nhost: h\r\n{a}\r\n{b}\r\n\r\n{body}");
                let sentinel = format!("GET /v1/sentinel HTTP/1.1\r\nhost: h\r\n{CLOSE}\r\n");
                let before = openai.requests();
                let answer = raw(running.address(), format!("{payload}{sentinel}").as_bytes()).await;
                let seen = usize::try_from(openai.requests() - before).unwrap();
                let received = openai.received();
                let targets: Vec<&str> = received.iter().rev().take(seen).map(|got| got.target.as_str()).collect();
                let posts = targets.iter().filter(|target| **target == "/v1/files").count();
                assert!(!targets.contains(&"/v1/smuggled"), "{payload:?}");
                assert!(posts == 1 || (posts == 0 && (400..=501).contains(&answer.status)), "{payload:?}: {targets:?}");
                payloads += 1;
            }
        }
    }
    assert!(payloads >= 500);
    assert_eq!(running.app.stats.in_flight.get(), 0);
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let (openai, _qwen, running) = baseline_only().await;
    let mut requests = String::new();
    for number in 0..100 {
        let close = if number == 99 { CLOSE } else { "" };
        let key = "authorization: Bearer sk-app-canary\r\n";
        requests
            .push_str(&format!("GET /v1/files?n={number} HTTP/1.1\r\nhost: h\r\nx-n: {number}\r\n{key}{close}\r\n"));
    }
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut bytes = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes.matches("HTTP/1.1 200 OK").count(), 100);
    let targets: Vec<String> = openai.received().iter().map(|got| got.target.clone()).collect();
    assert_eq!(targets, (0..100).map(|n| format!("/v1/files?n={n}")).collect::<Vec<_>>());
}

/// Sends bytes and returns how the connection ended.
async fn trickle(running: &Running, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("it is never closed"));
    (!got.is_empty()).then(|| parse(&got))
}

#[tokio::test]
async fn an_application_that_stops_sending_is_told_so() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let short = Duration::from_millis(60);
    let long = Duration::from_secs(60);
    let text = file(&openai, &qwen, 0.0);
    let timeouts = ClientTimeouts { head: short, body: short, idle: long, write: long, quiet: long };
    let running = launch_with(&text, false, timeouts).await;
    for head in ["G", "GET /v1/models HTTP/1.1\r\nhost: h\r\n", "POST /v1/files HTTP/1.1\r\ncontent-le"] {
        let answer = trickle(&running, head.as_bytes()).await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{head:?}");
        assert_eq!(answer.json()["error"]["code"], "request_timeout");
    }
    assert_eq!(running.app.stats.closed().get("slow_head"), Some(&3));
    // The head timeout of a second request starts at its own first byte.
    let keep = post("/v1/chat/completions", &chat("x", false), "").strip_close();
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(&keep).await.unwrap();
    read_answer(&mut stream).await;
    stream.write_all(b"GET /v1/mod").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(parse(&rest).status, 408);
    for path in ["/v1/chat/completions", "/v1/files"] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n{{}}");
        let answer = trickle(&running, head.as_bytes()).await.unwrap();
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (408, Some("refused:timeout")), "{path}");
        assert_eq!(answer.json()["error"]["code"], "request_timeout");
    }
    let (backends, stats) = (running.status().await["backends"].clone(), &running.app.stats);
    assert_eq!((&backends[0]["errors"], stats.in_flight.get()), (&serde_json::json!(0), 0), "no backend is to blame");
    assert_eq!(stats.refused().get("refused:timeout"), Some(&2));

    let running = launch_with(&text, false, ClientTimeouts { idle: short, ..ClientTimeouts::default() }).await;
    assert!(trickle(&running, b"").await.is_none(), "a connection without a request is closed");
    let answer = trickle(&running, &keep).await.unwrap();
    assert_eq!(answer.status, 200, "and one that is idle after an answer");
    assert_eq!(running.app.stats.closed().get("idle"), Some(&2));
}

trait StripClose {
    fn strip_close(&self) -> Vec<u8>;
}

impl StripClose for Vec<u8> {
    fn strip_close(&self) -> Vec<u8> {
        String::from_utf8_lossy(self).replace(CLOSE, "").into_bytes()
    }
}

/// Reads one answer with a content-length from a keep-alive connection.
async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        bytes.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("the answer hangs").unwrap());
        if bytes.ends_with(b"\r\n\r\n") && bytes.len() > 4 {
            let length: usize = parse(&bytes).header("content-length").unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            bytes.extend(body);
            return parse(&bytes);
        }
    }
}

#[tokio::test]
async fn an_application_that_stops_reading_is_let_go() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(behaviour(Fault::NeverEnding));
    let timeouts = ClientTimeouts { write: Duration::from_millis(100), ..ClientTimeouts::default() };
    let running = launch_with(&file(&openai, &qwen, 0.0), false, timeouts).await;
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    until(openai.in_flight(), |count| *count == 1).await;
    until(openai.aborts(), |aborts| aborts.count == 1).await;
    assert_eq!(running.app.stats.closed().get("slow_reader"), Some(&1));
    drop(stream);
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The frames of one round.
type Flood = fn(u32) -> Vec<u8>;

/// `GET /` to host `h`, in HPACK's static table.
const REQUEST: &[u8] = b"\x82\x84\x86\x41\x01h";

#[tokio::test]
async fn floods_of_http2_end_their_own_connection_only() {
    let (_openai, _qwen, running) = baseline_only().await;
    let rapid_reset = |round: u32| {
        let stream = 2 * round + 1;
        [frame(1, 0x5, stream, REQUEST), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
    };
    let continuation = |round: u32| match round {
        0 => frame(1, 0x1, 1, REQUEST),
        _ => frame(9, 0, 1, &[b"\x40\x02xx\x7f\x01".as_slice(), &[b'x'; 128]].concat()),
    };
    let empty_data = |round: u32| match round {
        0 => frame(1, 0x4, 1, b"\x83\x04\x14/v1/chat/completions\x86\x41\x01h"),
        _ => frame(0, 0, 1, b""),
    };
    let settings = |_| frame(4, 0, 0, b"");
    let floods: [(&str, Flood); 4] = [
        ("rapid reset", rapid_reset),
        ("continuation", continuation),
        ("empty data", empty_data),
        ("settings", settings),
    ];
    for (name, flood) in floods {
        let stream = TcpStream::connect(running.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        // The client reads nothing until the flood was cut or accepted in full.
        let reading = tokio::spawn(async move {
            let mut got = Vec::new();
            drop(read.read_to_end(&mut got).await);
            got
        });
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        write.write_all(&frame(4, 0, 0, b"")).await.unwrap();
        let mut sent = 0_u32;
        while sent < 50_000 && write.write_all(&flood(sent)).await.is_ok() {
            sent += 1;
        }
        // Other clients are served during the flood.
        assert_eq!(ask(&running, &chat("x", false), "").await.status, 200, "{name}");
        if name != "settings" {
            tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("{name} is never cut")).unwrap();
        }
    }
    assert_eq!(running.app.stats.in_flight.get(), 0);
}

#[tokio::test]
async fn connections_that_do_not_end_by_themselves_are_ended() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let timeouts = ClientTimeouts { idle: Duration::from_millis(60), ..ClientTimeouts::default() };
    let running = launch_with(&file(&openai, &qwen, 0.0), false, timeouts).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, b"")].concat();
    // hyper keeps waiting for more frames after these.
    for silent in [b"\r\n".as_slice(), &preface] {
        let mut stream = TcpStream::connect(running.address()).await.unwrap();
        stream.write_all(silent).await.unwrap();
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is never ended"));
    }
    assert_eq!(running.app.stats.closed().get("idle"), Some(&2), "each is told once");
    // Such connections do not delay the drain.
    let long = launch(&file(&openai, &qwen, 0.0), false).await;
    let mut kept = Vec::new();
    for silent in [b"\r\n".as_slice(), &preface, b"GET /v1/mod"] {
        let mut stream = TcpStream::connect(long.address()).await.unwrap();
        stream.write_all(silent).await.unwrap();
        kept.push(stream);
    }
    assert_eq!(get(long.address(), "/v1/models").await.status, 401);
    let ended = long.app.drain(PATIENCE, std::future::pending());
    let ended = tokio::time::timeout(PATIENCE / 2, ended).await.expect("a drain waits for nobody who asks nothing");
    assert_eq!(ended, shiftgate::api::app::Ended::Drained);
}

#[tokio::test]
async fn an_http2_reader_that_gives_no_window_is_let_go() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    openai.set(behaviour(Fault::NeverEnding));
    let short = Duration::from_millis(150);
    let timeouts = ClientTimeouts { write: short, idle: short, ..ClientTimeouts::default() };
    let running = launch_with(&file(&openai, &qwen, 0.0), false, timeouts).await;
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    let body = chat("x", true);
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let authorization = [&[0x40, 13], b"authorization".as_slice(), &[20], b"Bearer sk-app-canary"].concat();
    let head =
        [vec![0x83], literal(0x04, "/v1/chat/completions"), vec![0x86], literal(0x41, "h"), authorization].concat();
    let request = [frame(4, 0, 0, b""), frame(1, 0x4, 1, &head), frame(0, 0x1, 1, body.as_bytes())].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&request).await.unwrap();
    until(openai.in_flight(), |count| *count == 1).await;
    // The client reads everything and never returns flow-control window.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is never let go"));
    until(openai.aborts(), |aborts| aborts.count == 1).await;
    assert_eq!(running.app.stats.closed().get("slow_reader"), Some(&1));
}
