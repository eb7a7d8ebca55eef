//! A server for every engine and endpoint, over HTTP/1.1 and HTTP/2, that counts the requests which it sees.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Stands for every backend in `x-fault`.
pub(super) const ANY: &str = "any";

/// A server for every engine and endpoint, over HTTP/1.1 and HTTP/2.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Shared {
    pub(super) name: &'static str,
    /// The numbers of the requests whose head arrived.
    pub(super) seen: watch::Sender<BTreeSet<u64>>,
}

impl Backend {
    pub(super) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { name, seen: watch::channel(BTreeSet::new()).0 });
        let serving = Mutex::new(Some(tokio::spawn(serve(listener, Arc::clone(&shared)))));
        Self { address, shared, serving }
    }

    /// Closes the socket and every connection, or listens again.
    pub(super) async fn toggle(&self) {
        let running = self.serving.lock().unwrap().take();
        if let Some(running) = running {
            running.abort();
            return;
        }
        // The other socket is closed once its task has ended.
        loop {
            if let Ok(listener) = TcpListener::bind(self.address).await {
                let serving = tokio::spawn(serve(listener, Arc::clone(&self.shared)));
                *self.serving.lock().unwrap() = Some(serving);
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn saw(&self, number: u64) -> bool {
        self.shared.seen.borrow().contains(&number)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let answers = hyper::service::service_fn(move |request| answer(Arc::clone(&shared), request));
            let server = auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection_with_upgrades(TokioIo::new(stream), answers).await);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts the request, and fails as its headers say or answers in the format of its path.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let header = |headers: &HeaderMap, name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let number = header(request.headers(), "x-number").expect("every request carries its number").parse().unwrap();
    shared.seen.send_modify(|seen| {
        seen.insert(number);
    });
    let fault = header(request.headers(), "x-fault").unwrap_or_default();
    let fault = fault.strip_prefix(shared.name).or_else(|| fault.strip_prefix(ANY)).unwrap_or_default();
    let json = |status: u16, body: &'static str| {
        let answer = Response::builder().status(status).header("content-type", "application/json");
        Ok(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
    };
    match fault {
        "=reset" => return Err(std::io::ErrorKind::ConnectionReset.into()),
        "=hang" => std::future::pending().await,
        "=500" => return json(500, r#"{"error":{"message":"broken","type":"server_error"}}"#),
        "=429" => return json(429, r#"{"error":{"message":"busy","type":"rate_limit_error"}}"#),
        _ => {}
    }
    if request.headers().contains_key("upgrade") {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert("connection", "upgrade".parse().unwrap());
        answer.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        return Ok(answer);
    }
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if memchr::memmem::find(&body, b"\"stream\":true").is_some() {
        let stream = Response::builder().header("content-type", "text/event-stream");
        return Ok(stream.body(Full::new(Bytes::from_static(STREAM.as_bytes()))).unwrap());
    }
    match &*path {
        "/v1/chat/completions" => json(200, CHAT),
        "/v1/completions" => {
            json(200, r#"{"object":"text_completion","choices":[{"index":0,"text":"x","finish_reason":"stop"}]}"#)
        }
        _ => json(200, r#"{"id":"resp_1","object":"response","status":"completed","output":[],"data":[]}"#),
    }
}

const CHAT: &str =
    r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}"#;
const STREAM: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\
    \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
