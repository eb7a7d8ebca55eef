//! A collector in the test process, gRPC and HTTP on one port, that accepts spans or misbehaves on request.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;

use crate::span::{Span, of_request};
use crate::support::{PATIENCE, until};

const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Does not listen.
    Refuses,
    /// Reads requests and never answers.
    Hangs,
    Resets,
    /// Answers 503, or gRPC's UNAVAILABLE.
    Unavailable,
    /// Answers only the first call like that.
    UnavailableOnce,
    /// Never answers the first call.
    HangsOnce,
    /// As `UnavailableOnce`, with `retry-after` in HTTP's answer.
    BusyOnce,
    /// Accepts batches except for one span of each.
    Rejects,
    Slow(Duration),
}

/// A running collector, stopped on drop.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    mood: watch::Sender<Mood>,
    in_force: watch::Receiver<Mood>,
    task: tokio::task::JoinHandle<()>,
    /// Bound and never listening, so that no other process takes the port.
    _port: TcpSocket,
}

struct Shared {
    spans: watch::Sender<Vec<Span>>,
    /// Number of calls received, in every mood.
    calls: watch::Sender<u64>,
    /// Bytes as received, for a search.
    raw: Mutex<Vec<u8>>,
    /// Headers of the last call.
    headers: Mutex<HeaderMap>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::start_as(Mood::Takes).await
    }

    pub(crate) async fn start_as(mood: Mood) -> Self {
        let port = socket();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.local_addr().unwrap();
        let shared = Arc::new(Shared {
            spans: watch::channel(Vec::new()).0,
            calls: watch::channel(0).0,
            raw: Mutex::default(),
            headers: Mutex::default(),
        });
        let (wish, wanted) = watch::channel(mood);
        let (tell, in_force) = watch::channel(Mood::Refuses);
        let task = tokio::spawn(serve(address, Arc::clone(&shared), wanted, tell));
        let it = Self { address, shared, mood: wish, in_force, task, _port: port };
        it.set(mood).await;
        it
    }

    /// Endpoint for gRPC.
    pub(crate) fn grpc(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Changes the mood; connections of the mood before are closed when this returns.
    pub(crate) async fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
        until(self.in_force.clone(), |now| *now == mood).await;
    }

    pub(crate) fn calls(&self) -> watch::Receiver<u64> {
        self.shared.calls.subscribe()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.shared.spans.borrow().clone()
    }

    /// Returns this header of the last call, empty if it had none.
    pub(crate) fn header(&self, name: &str) -> String {
        let headers = self.shared.headers.lock().unwrap();
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        let raw = self.shared.raw.lock().unwrap();
        raw.windows(text.len()).any(|some| some == text.as_bytes())
    }

    /// Waits until the spans are as wanted, and returns them.
    pub(crate) async fn wait_for(&self, what: &str, holds: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut spans = self.shared.spans.subscribe();
        let waited = tokio::time::timeout(PATIENCE, spans.wait_for(|spans| holds(spans))).await;
        match waited {
            Ok(spans) => spans.unwrap().clone(),
            Err(_) => panic!("{what} never comes; there is {:#?}", self.spans()),
        }
    }

    /// Waits until the trace has `count` spans, and returns all of them.
    pub(crate) async fn trace(&self, id: &str, count: usize) -> Vec<Span> {
        let of = |spans: &[Span]| spans.iter().filter(|span| span.trace_id == id).cloned().collect::<Vec<_>>();
        of(&self.wait_for(&format!("trace {id} of {count} spans"), |spans| of(spans).len() >= count).await)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = socket();
    socket.bind(address).unwrap();
    socket.listen(128).unwrap()
}

async fn serve(
    address: SocketAddr,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<Mood>,
    in_force: watch::Sender<Mood>,
) {
    loop {
        let mood = *wanted.borrow_and_update();
        let mut open = JoinSet::new();
        let listener = (mood != Mood::Refuses).then(|| listen(address));
        in_force.send_replace(mood);
        loop {
            let accepted = async {
                match &listener {
                    Some(listener) => listener.accept().await.unwrap().0,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                stream = accepted => drop(open.spawn(connection(stream, mood, Arc::clone(&shared)))),
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
        open.shutdown().await;
    }
}

async fn connection(stream: TcpStream, mood: Mood, shared: Arc<Shared>) {
    if mood == Mood::Resets {
        shared.calls.send_modify(|calls| *calls += 1);
        return stream.set_zero_linger().unwrap();
    }
    let service = hyper::service::service_fn(move |request| answer(request, mood, Arc::clone(&shared)));
    // A broken connection shows only as missing spans.
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, mood: Mood, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let mut call = 0;
    shared.calls.send_modify(|calls| {
        *calls += 1;
        call = *calls;
    });
    match mood {
        Mood::Hangs => std::future::pending().await,
        Mood::HangsOnce if call == 1 => std::future::pending().await,
        Mood::Slow(time) => tokio::time::sleep(time).await,
        _ => {}
    }
    shared.headers.lock().unwrap().clone_from(request.headers());
    let is_grpc = request.uri().path() == GRPC;
    let only_once = matches!(mood, Mood::UnavailableOnce | Mood::BusyOnce);
    if mood == Mood::Unavailable || (only_once && call == 1) {
        let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, Vec::new());
        if mood == Mood::BusyOnce {
            answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("1"));
        }
        return Ok(if is_grpc { tonic::Status::unavailable("not now").into_http() } else { answer });
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(plain(StatusCode::BAD_REQUEST, Vec::new()));
    };
    shared.raw.lock().unwrap().extend_from_slice(&body);
    if is_grpc {
        let mut server = TraceServiceServer::new(Taker(shared, mood)).accept_compressed(CompressionEncoding::Gzip);
        return Service::call(&mut server, Request::from_parts(parts, Full::new(body))).await;
    }
    assert_eq!((parts.uri.path(), parts.method.as_str()), ("/v1/traces", "POST"));
    assert_eq!(parts.headers["content-type"], "application/x-protobuf");
    let body = match parts.headers.get("content-encoding") {
        Some(coding) => {
            assert_eq!(coding, "gzip");
            let mut whole = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut whole).unwrap();
            whole.into()
        }
        None => body,
    };
    let told = ExportTraceServiceRequest::decode(body).unwrap();
    shared.take(&told);
    Ok(plain(StatusCode::OK, said(mood).encode_to_vec()))
}

fn plain(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut answer = Response::new(Body::new(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer
}

impl Shared {
    fn take(&self, told: &ExportTraceServiceRequest) {
        self.spans.send_modify(|spans| spans.extend(of_request(told)));
    }
}

fn said(mood: Mood) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one is too old".to_owned() };
    ExportTraceServiceResponse { partial_success: (mood == Mood::Rejects).then_some(partial) }
}

/// The service that tonic calls with a decoded request.
struct Taker(Arc<Shared>, Mood);

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.take(request.get_ref());
        Ok(tonic::Response::new(said(self.1)))
    }
}
