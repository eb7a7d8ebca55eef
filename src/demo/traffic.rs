//! Generated conversations, all different, sent through the proxy by a plain HTTP client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stats::lock;

/// Limit of requests in flight; at the limit the traffic slows down.
const MAX_IN_FLIGHT: usize = 256;
/// Timeout of one answer; a request that takes longer has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Results as the application sees them.
#[derive(Debug, Default)]
pub(super) struct ClientStats {
    requests: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<String>>,
    /// Requests by the backend that the split chose, in the newest generation seen.
    shares: Mutex<Shares>,
}

/// Requests of one generation that were drawn, by backend.
#[derive(Debug, Default)]
struct Shares {
    generation: u64,
    chosen: BTreeMap<String, u64>,
}

impl ClientStats {
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        lock(&self.last_failure).clone()
    }

    /// Returns a backend's percent of the requests that were drawn under `generation`.
    pub(super) fn share(&self, generation: u64, backend: &str) -> Option<f64> {
        let shares = lock(&self.shares);
        let total: u64 = shares.chosen.values().sum();
        if shares.generation != generation || total == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a demo's counts are small")]
        let percent = shares.chosen.get(backend).copied().unwrap_or(0) as f64 * 100.0 / total as f64;
        Some(percent)
    }

    /// Counts the backend of an answer.
    fn answered<B>(&self, response: &Response<B>) {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (Some(backend), Some(generation)) = (text("x-shiftgate-backend"), text("x-shiftgate-generation")) else {
            return;
        };
        let Ok(generation) = generation.parse::<u64>() else { return };
        if text("x-shiftgate-reason") != Some("split") {
            return;
        }
        let mut shares = lock(&self.shares);
        if generation > shares.generation {
            *shares = Shares { generation, chosen: BTreeMap::new() };
        }
        if generation == shares.generation {
            *shares.chosen.entry(backend.to_owned()).or_insert(0) += 1;
        }
    }

    fn fail(&self, cause: String) {
        self.failed.fetch_add(1, Relaxed);
        *lock(&self.last_failure) = Some(cause);
    }
}

/// The running traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    stop: CancellationToken,
    running: TaskTracker,
    source: JoinHandle<()>,
}

impl Traffic {
    /// Starts sending `rate` requests per second.
    pub(super) fn start(proxy: SocketAddr, rate: u32, stats: Arc<ClientStats>) -> Self {
        let (stop, running) = (CancellationToken::new(), TaskTracker::new());
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(HttpConnector::new());
        let source = tokio::spawn(send_all(proxy, rate, stats, client, stop.clone(), running.clone()));
        Self { stop, running, source }
    }

    /// Stops sending, and waits for running answers up to `limit`.
    pub(super) async fn finish(self, limit: Duration) {
        self.stop.cancel();
        drop(self.source.await);
        self.running.close();
        drop(tokio::time::timeout(limit, self.running.wait()).await);
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

async fn send_all(
    proxy: SocketAddr,
    rate: u32,
    stats: Arc<ClientStats>,
    client: HttpClient,
    stop: CancellationToken,
    running: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let run = rand::random::<u32>();
    for number in 0_u64.. {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = async {
                tick.tick().await;
                Arc::clone(&places).acquire_owned().await
            } => place,
        };
        let Ok(place) = place else { return };
        let (client, stats) = (client.clone(), Arc::clone(&stats));
        running.spawn(async move {
            let _place = place;
            stats.requests.fetch_add(1, Relaxed);
            let sent = tokio::time::timeout(ANSWER_TIMEOUT, one(&client, proxy, run, number, &stats)).await;
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => stats.fail(cause),
                Err(_) => stats.fail(format!("no whole answer within {ANSWER_TIMEOUT:?}")),
            }
        });
    }
}

/// Returns the first turn of one conversation: one in five is about a tool, another one asks for JSON, two of three are
/// streamed, and six of seven go to one model, so that there is a verdict on it soon. Every engine that can be a baseline answers these.
fn first_turn(run: u32, number: u64) -> serde_json::Value {
    let model = if number.is_multiple_of(7) { "gpt-4o" } else { "gpt-4o-mini" };
    let (text, more) = match number % 5 {
        3 => ("how is the weather?", json!({"tools": [weather()]})),
        4 => ("which city? Answer in JSON.", json!({"response_format": {"type": "json_object"}})),
        _ => ("what would you do?", json!({})),
    };
    let text = format!("Question {number} of run {run:08x}: {text}");
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name.as_str()] = value.clone();
    }
    if is_streamed(number) {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

fn is_streamed(number: u64) -> bool {
    !number.is_multiple_of(3)
}

fn weather() -> serde_json::Value {
    let parameters = json!({"type": "object", "required": ["city", "days"],
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    json!({"type": "function", "function": {"name": "weather", "parameters": parameters}})
}

/// Sends one conversation, and checks that its answer is whole.
async fn one(client: &HttpClient, proxy: SocketAddr, run: u32, number: u64, stats: &ClientStats) -> Result<(), String> {
    let body = first_turn(run, number);
    let request = Request::post(format!("http://{proxy}/v1/chat/completions"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-demo")
        .header("x-session-id", format!("demo-{run:08x}-{number}"))
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| error.to_string())?;
    let response: Response<Incoming> = client.request(request).await.map_err(|error| error.to_string())?;
    stats.answered(&response);
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    if !status.is_success() {
        return Err(format!("status {status}: {}", String::from_utf8_lossy(&body)));
    }
    let whole = if is_streamed(number) {
        body.ends_with(b"data: [DONE]\n\n")
    } else {
        serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|answer| answer["choices"].is_array())
    };
    if whole { Ok(()) } else { Err("an answer was not whole".to_owned()) }
}
