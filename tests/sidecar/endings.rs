//! Answers of the baseline that come together with the end of their connection, and answers framed twice.

use shiftgate::api::sim::Behaviour;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

const BUSY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}";

/// Part of a request that the server reads before it answers.
#[derive(Debug, Clone, Copy)]
enum Reads {
    Nothing,
    Begin,
    Whole,
}

async fn read_some(stream: &mut TcpStream, reads: Reads) {
    match reads {
        Reads::Nothing => {}
        Reads::Begin => drop(stream.read(&mut [0; 64]).await),
        Reads::Whole => drop(read_request(stream).await),
    }
}

/// Answers every connection with `answer` and closes it at once; unread bytes, and `resets`, turn the close into a reset.
async fn closes_at_once(script: TcpListener, answer: &'static [u8], reads: Reads, resets: bool) {
    while let Ok((mut stream, _)) = script.accept().await {
        read_some(&mut stream, reads).await;
        if resets {
            stream.set_zero_linger().unwrap();
        }
        drop(stream.write_all(answer).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_with_the_end_of_its_connection_is_passed_on() {
    use Reads::{Begin, Nothing, Whole};
    for (reads, resets) in [(Nothing, false), (Begin, false), (Begin, true), (Whole, false), (Whole, true)] {
        let (running, script) = before_script(0.0).await;
        let server = tokio::spawn(closes_at_once(script, BUSY, reads, resets));
        for size in [10, 300_000] {
            for round in 0..60 {
                let answer = ask(&running, &chat(&"x".repeat(size), false), "").await;
                let told = (answer.status, answer.header("retry-after"), answer.body.as_slice());
                assert_eq!(
                    told,
                    (429, Some("7"), &b"{}"[..]),
                    "{reads:?}, resets: {resets}, {size} bytes, round {round}: {}",
                    answer.text()
                );
            }
        }
        server.abort();
    }
}

#[tokio::test]
async fn an_answer_that_is_framed_twice_is_no_answer_and_closes_its_connection() {
    const TWICE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    for (percent, expected) in [(0.0, (502, "openai", "split")), (100.0, (200, "openai", "failover:bad_answer"))] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let script = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", script.local_addr().unwrap());
        let replaced = if percent > 0.0 { qwen.url() } else { openai.url() };
        let text = file(&openai, &qwen, percent).replace("enabled = false", "enabled = true").replace(&replaced, &url);
        let running = launch(&text, false).await;
        for _ in 0..2 {
            let asked = tokio::spawn({
                let address = running.address();
                async move { raw(address, &post("/v1/chat/completions", &chat("x", false), "")).await }
            });
            // Each request comes on a connection of its own.
            let (mut stream, _) = script.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            stream.write_all(TWICE).await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection is closed");
            let answer = asked.await.unwrap();
            let header = |name| answer.header(name).unwrap_or_default();
            assert_eq!((answer.status, header("x-shiftgate-backend"), header("x-shiftgate-reason")), expected);
        }
    }
}
