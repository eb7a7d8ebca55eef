//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/status`. Everything is a GET; nothing here changes anything.
//!
//! Owns: what is told of the running process. Refuses: the data path. Invariant: no secret and no key is shown.

pub mod status;

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

use crate::live::{Shutdown, Store};
use crate::telemetry::metrics::{self, BackendView, FleetView, Format, InForce};
use crate::stats::Stats;

/// Scrapers and probes at once; a further one waits its turn.
const MAX_CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What the pages are made of.
#[derive(Debug)]
pub struct Admin {
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub life: Arc<Shutdown>,
    /// Where applications connect, as bound.
    pub listen: String,
    /// Where this port is, as bound.
    pub admin: String,
    pub started: std::time::Instant,
}

impl Admin {
    /// Serves until the task is dropped: to the very end `/readyz` tells that this process is going.
    pub async fn run(self: Arc<Self>, socket: TcpListener) {
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
                    let response = admin.answer(request.method(), request.uri().path(), request.headers());
                    async move { Ok::<_, Infallible>(response) }
                });
                // A probe that leaves early is its own affair.
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

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET: nothing here changes anything\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.life.draining.is_cancelled() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => text(StatusCode::OK, "ready\n"),
            "/metrics" => {
                let format = Format::wanted(headers);
                let page = metrics::render(&self.stats, &self.in_force(), format);
                let mut response = typed(StatusCode::OK, format.content_type(), page.into());
                response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
                response
            }
            "/status" => match serde_json::to_vec(&status::of(self)) {
                Ok(json) => typed(StatusCode::OK, "application/json", json.into()),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the status could not be written as JSON\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics and /status\n"),
        }
    }

    fn in_force(&self) -> InForce {
        let snapshot = self.store.current();
        let config = &snapshot.config;
        let percents = config
            .routes
            .iter()
            .flat_map(|route| {
                route
                    .percent
                    .iter()
                    .map(|(backend, percent)| (route.name.clone(), config[*backend].name.clone(), percent.as_f64()))
            })
            .collect();
        let reload_failed = self.store.reload_error().is_some();
        let (now, baseline) = (std::time::Instant::now(), snapshot.baseline());
        let candidates = snapshot.targets.iter().enumerate().filter(|(index, _)| *index != baseline.index());
        let health = candidates.map(|(_, target)| (target.config.name.clone(), target.health.report(now))).collect();
        let read = snapshot.targets.iter().filter(|target| !target.config.metrics.is_empty());
        let fleet = read.map(|target| FleetView {
            backend: target.config.name.clone(),
            load: target.load.report(target.limits(), now),
            polls: (target.stats.polls_ok.get(), target.stats.polls_failed.get()),
        });
        let backends = snapshot.targets.iter().map(|target| BackendView {
            peer: Arc::clone(&target.peer),
            stats: Arc::clone(&target.stats),
            has_price: target.config.price.is_some(),
            idle: target.client.idle() as u64,
        });
        InForce {
            generation: snapshot.generation,
            loaded_at: snapshot.loaded_at.as_duration().as_secs_f64(),
            reload_failed,
            baseline: config[baseline].name.clone(),
            backends: backends.collect(),
            health,
            fleet: fleet.collect(),
            percents,
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
