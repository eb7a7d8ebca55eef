//! HTTP/2 to a backend: a server that allows few streams, refuses streams, or sends GOAWAY.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::*;
use bytes::Bytes;
use h2::Reason;
use http::Response;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shiftgate::api::sim::Behaviour;
use tokio::net::TcpListener;
use tokio::sync::Barrier;

const ANSWER: &str =
    r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;

/// Starts a sidecar whose candidate is an h2 server of the test.
async fn before(listener: &TcpListener) -> Running {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0)
        .replace(&qwen.url(), &format!("http://{}/v1", listener.local_addr().unwrap()))
        .replacen("models", "h2 = true\nmodels", 1);
    launch(&text, false).await
}

#[tokio::test]
async fn a_server_that_allows_few_streams_gets_more_connections() {
    const TOGETHER: usize = 8;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = before(&listener).await;
    let (all, asked) = (Arc::new(Barrier::new(TOGETHER)), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (all, asked) = (Arc::clone(&all), Arc::clone(&asked));
            let service = hyper::service::service_fn(move |_| {
                let (all, asked) = (Arc::clone(&all), Arc::clone(&asked));
                async move {
                    // The first answer comes with the limit; the others wait until all requests have arrived.
                    if asked.fetch_add(1, Relaxed) > 0 {
                        all.wait().await;
                    }
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes()))))
                }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(2);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..TOGETHER {
        let (address, request) = (running.address(), post("/v1/chat/completions", &chat("x", false), ""));
        clients.spawn(async move { raw(address, &request).await.status });
    }
    let statuses = tokio::time::timeout(PATIENCE, clients.join_all()).await.expect("none waits for another's end");
    assert_eq!(statuses, [200; TOGETHER]);
}

#[tokio::test]
async fn a_stream_that_the_server_did_not_look_at_is_sent_again() {
    for goes_away in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = before(&listener).await;
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connections += 1;
                let refuses = connections == 1;
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let mut answered = 0;
                    while let Some(Ok((_request, mut respond))) = connection.accept().await {
                        match (refuses && answered > 0, goes_away) {
                            (true, false) => respond.send_reset(Reason::REFUSED_STREAM),
                            (true, true) => connection.abrupt_shutdown(Reason::NO_ERROR),
                            (false, _) => {
                                answered += 1;
                                let mut body = respond.send_response(Response::new(()), false).unwrap();
                                body.send_data(Bytes::from_static(ANSWER.as_bytes()), true).unwrap();
                            }
                        }
                    }
                });
            }
        });
        for _ in 0..2 {
            let answer = ask(&running, &chat("x", false), "").await;
            assert_eq!(answer.status, 200, "goes_away={goes_away}: {}", answer.text());
        }
        let status = running.status().await;
        assert_eq!(status["backends"][1]["attempts"], 3);
        assert_eq!(running.app.store.current().targets_off_path()[1].stats.replays.get(), 1);
    }
}
