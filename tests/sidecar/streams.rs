//! Coalescing: events of a stream that arrive together leave together, a single one leaves at once.

use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn event(number: usize) -> Vec<u8> {
    let data = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word {number}\"}}}}]}}\n\n");
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

const END: &[u8] = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

/// Accepts a connection and reads its request.
async fn accept(script: &TcpListener) -> TcpStream {
    let (mut stream, _) = script.accept().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"}") {
        got.push(stream.read_u8().await.unwrap());
        // A chat's body ends with the list of messages.
        if got.ends_with(b"]}") {
            break;
        }
    }
    stream
}

async fn read_until(stream: &mut TcpStream, got: &mut Vec<u8>, end: &[u8]) {
    let reading = async {
        while !got.windows(end.len()).any(|window| window == end) {
            assert!(stream.read_buf(got).await.unwrap() > 0, "it ended: {}", String::from_utf8_lossy(got));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it never comes");
}

#[tokio::test]
async fn events_that_come_together_leave_together() {
    for percent in [0.0, 100.0] {
        let (running, script) = before_script(percent).await;
        let mut client = TcpStream::connect(running.address()).await.unwrap();
        client.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
        let mut backend = accept(&script).await;
        let mut all = HEAD.to_vec();
        for number in 0..300 {
            all.extend(event(number));
        }
        all.extend_from_slice(END);
        backend.write_all(&all).await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        let answer = parse(&got);
        assert!(answer.whole);
        assert_eq!(answer.text().matches("word ").count(), 300);
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
        // The proxy sends one chunk per write.
        let chunks = got.windows(9).filter(|window| window.ends_with(b"\r\ndata: ")).count();
        assert!(chunks <= 30, "300 events left in {chunks} writes");
    }
}

#[tokio::test]
async fn a_lone_event_leaves_at_once() {
    for percent in [0.0, 100.0] {
        // Unusual spacing of the second head: the number of bytes read beyond the head cannot be guessed.
        for head in [HEAD.to_vec(), String::from_utf8_lossy(HEAD).replace(": ", ":      ").into_bytes()] {
            let (running, script) = before_script(percent).await;
            let mut client = TcpStream::connect(running.address()).await.unwrap();
            client.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
            let mut backend = accept(&script).await;
            backend.write_all(&head).await.unwrap();
            let mut got = Vec::new();
            // The next event is sent only after the client has the one before.
            for number in 0..20 {
                backend.write_all(&event(number)).await.unwrap();
                read_until(&mut client, &mut got, format!("word {number}\"").as_bytes()).await;
            }
            backend.write_all(END).await.unwrap();
            client.read_to_end(&mut got).await.unwrap();
            assert!(parse(&got).whole);
        }
    }
}
