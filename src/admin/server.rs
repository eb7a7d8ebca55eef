//! The server of the admin port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::metrics::{self, Format};
use super::status::Status;
use super::view::View;
use crate::live::{Shutdown, Store};
use crate::rollback::Guards;
use crate::shadow::Shadows;
use crate::stats::Stats;
use crate::telemetry::meters::Meters;

/// Limit of concurrent connections; further ones wait. Scrapers and probes need few.
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// State shown by the pages.
#[derive(Debug)]
pub(crate) struct Admin {
    /// State in force.
    pub store: Arc<Store>,
    /// Counters and gauges.
    pub stats: Arc<Stats>,
    /// Histograms of requests and calls.
    pub meters: Arc<Meters>,
    /// Copies of requests.
    pub shadows: Arc<Shadows>,
    /// Guards of the candidates.
    pub guards: Arc<Guards>,
    /// The stages of shutdown.
    pub shutdown: Arc<Shutdown>,
    /// Bound address of `server.listen`.
    pub listen: String,
    /// Bound address of the admin port.
    pub admin: String,
    /// Start of the process.
    pub started: std::time::Instant,
}

impl Admin {
    /// Serves until the task is dropped, so that `/readyz` answers 503 to the very end.
    pub(crate) async fn run(self: Arc<Self>, socket: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = socket.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = Arc::clone(&self);
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let admin = Arc::clone(&admin);
                    async move {
                        let answer = admin.answer(request.method(), request.uri().path(), request.headers());
                        Ok::<_, Infallible>(answer.await)
                    }
                });
                // An error on a probe's connection only concerns the probe.
                drop(
                    http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    }

    async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.shutdown.draining.is_cancelled() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => text(StatusCode::OK, "ready\n"),
            "/metrics" => {
                let format = Format::wanted(headers);
                let page = metrics::render(&self.view(), format);
                let mut response = typed(StatusCode::OK, format.content_type(), page.into());
                response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
                response
            }
            "/status" => match self.status().await {
                Ok(json) => typed(StatusCode::OK, "application/json", json.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the status could not be written as JSON\n"),
            },
            "/history" => match self.guards.history() {
                Ok(json) => typed(StatusCode::OK, "application/json", json.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the history could not be written as JSON\n"),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "unknown path: this port serves /healthz, /readyz, /metrics, /status and /history\n",
            ),
        }
    }

    async fn status(&self) -> serde_json::Result<Vec<u8>> {
        let view = View { verdicts: self.shadows.verdicts().await, ..self.view() };
        serde_json::to_vec(&Status::of(&view))
    }

    fn view(&self) -> View {
        View {
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            is_draining: self.shutdown.draining.is_cancelled(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            budget_left: self.shadows.budget_left(),
            guard: self.guards.seen(),
            ..View::of(&self.store, &self.stats, &self.meters)
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(body.as_bytes()))
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
