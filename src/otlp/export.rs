//! The loop that exports: takes what waits, by size or by time, and hands it to the collector.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol as OtlpProtocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter;
use tokio::sync::Notify;

use super::bridge::Bridge;
use super::dial::{Dial, DialError, Posts};
use super::proto::Proto;
use super::send::{Refused, Taken, Way, channel};
use super::settings::{Protocol, Settings};
use super::spans;
use crate::stats::Stats;
use crate::telemetry::tracer::Tracer;

/// A batch is sent so often, where the collector may take it a moment later.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no exporter of the SDK's.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Exporter(#[from] ExporterBuildError),
}

/// How to get out what waits.
struct Ways {
    /// Requests, which are many.
    requests: Way,
    /// What the process itself does, by the SDK's own exporter.
    process: Option<OtlpExporter>,
    resource: Proto,
    scope: Proto,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) settings: Settings,
    pub(super) tracer: Arc<Tracer>,
    pub(super) bridge: Bridge,
    pub(super) stats: Arc<Stats>,
    /// The collector did not take the last batch.
    pub(super) is_down: Cell<bool>,
    /// It has rejected spans of a batch that it took, which was told.
    pub(super) is_picky: Cell<bool>,
}

impl Loop {
    /// Until the tracer is closed and what waits is out, or lost.
    pub(super) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "no traces are exported: their runtime cannot be started");
                return;
            }
        };
        runtime.block_on(async {
            match Ways::new(&self.settings) {
                Ok(ways) => self.export(ways).await,
                Err(error) => {
                    tracing::warn!(endpoint = self.settings.endpoint, "no traces are exported: {error}");
                    self.discard().await;
                }
            }
        });
    }

    /// Side by side, so that one that is stuck keeps nothing from the other.
    async fn export(&self, ways: Ways) {
        let Ways { mut requests, process, resource, scope } = ways;
        let ending = Notify::new();
        let of_requests = async {
            loop {
                let closed = self.wait().await;
                if closed {
                    ending.notify_one();
                }
                while let Some(chunk) = self.tracer.take() {
                    let request = spans::request(resource.as_slice(), scope.as_slice(), &chunk.bytes);
                    let reached = self.send_requests(&mut requests, &request, chunk.spans as u64).await;
                    if closed && !reached {
                        // Nobody is there, and the end has come.
                        self.lose();
                    }
                }
                if closed {
                    return;
                }
            }
        };
        let of_process = async {
            loop {
                let closed = tokio::time::timeout(self.settings.delay, ending.notified()).await.is_ok();
                self.send_process(process.as_ref()).await;
                if closed {
                    return;
                }
            }
        };
        tokio::join!(of_requests, of_process);
    }

    /// Without an exporter what is told is counted as lost.
    async fn discard(&self) {
        while !self.wait().await {
            self.lose();
        }
        self.lose();
    }

    fn lose(&self) {
        let lost: usize = std::iter::from_fn(|| self.tracer.take()).map(|chunk| chunk.spans).sum();
        self.stats.telemetry.dropped_failed.add(lost as u64);
    }

    async fn wait(&self) -> bool {
        if self.tracer.is_closed() {
            return true;
        }
        tokio::select! {
            () = self.tracer.woken() => {}
            () = tokio::time::sleep(self.settings.delay) => {}
        }
        self.tracer.is_closed()
    }

    async fn send_requests(&self, way: &mut Way, request: &Bytes, count: u64) -> bool {
        let tries = if self.is_down.get() { 1 } else { TRIES };
        let sending = with_retries(way, request, tries, self.settings.timeout);
        let sent = tokio::time::timeout(self.settings.export_timeout, sending).await;
        let limit = self.settings.export_timeout;
        self.settle(count, sent.unwrap_or_else(|_| Err(no_answer(limit))))
    }

    async fn send_process(&self, process: Option<&OtlpExporter>) {
        let (spans, lost) = self.bridge.take();
        let (count, limit) = (spans.len() as u64, self.settings.timeout);
        self.stats.telemetry.dropped_full.add(lost);
        let Some(process) = process.filter(|_| count > 0) else {
            self.stats.telemetry.dropped_failed.add(count);
            self.bridge.settled();
            return;
        };
        let sent = match tokio::time::timeout(limit, process.export(spans)).await {
            Ok(sent) => sent.map(|()| Taken::default()).map_err(|error| Refused::of(error.to_string(), false)),
            Err(_) => Err(no_answer(limit)),
        };
        self.settle(count, sent);
        self.bridge.settled();
    }

    fn settle(&self, count: u64, sent: Result<Taken, Refused>) -> bool {
        let (telemetry, endpoint) = (&self.stats.telemetry, &self.settings.endpoint);
        let service = || self.settings.service();
        match sent {
            Ok(taken) => {
                let rejected = taken.rejected.min(count);
                telemetry.exported.add(count - rejected);
                telemetry.dropped_rejected.add(rejected);
                if rejected > 0 && !self.is_picky.replace(true) {
                    let why = one_line(&taken.why);
                    tracing::warn!(
                        endpoint,
                        service = service(),
                        rejected,
                        "the collector rejects spans, they are counted: {why}"
                    );
                }
                if self.is_down.take() {
                    tracing::info!(endpoint, service = service(), "traces are exported again");
                }
                true
            }
            Err(refused) => {
                telemetry.dropped_failed.add(count);
                if !self.is_down.replace(true) {
                    tracing::warn!(
                        endpoint,
                        service = service(),
                        "traces cannot be exported, further ones are dropped and counted until they can: {}",
                        one_line(&refused.why)
                    );
                }
                false
            }
        }
    }
}

async fn with_retries(way: &mut Way, request: &Bytes, tries: u32, timeout: Duration) -> Result<Taken, Refused> {
    let mut pause = FIRST_PAUSE;
    for last in (0..tries).map(|tried| tried + 1 == tries) {
        let sent = tokio::time::timeout(timeout, way.send(request.clone())).await;
        match sent.unwrap_or_else(|_| Err(no_answer(timeout))) {
            Err(refused) if refused.passes && !last => {
                // The time of the whole export bounds what a collector may ask for.
                let own = pause.mul_f64(rand::random_range(0.5..1.5));
                tokio::time::sleep(refused.after.map_or(own, |asked| asked.max(own))).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    Ok(Taken::default())
}

fn no_answer(limit: Duration) -> Refused {
    Refused::of(format!("no answer within {} s", limit.as_secs_f64()), true)
}

fn one_line(text: &str) -> String {
    const MAX: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX).collect()
}

impl Ways {
    fn new(settings: &Settings) -> Result<Self, DialError> {
        let attributes = settings.resource.iter().cloned();
        let mut process = process(settings)
            .inspect_err(|error| tracing::warn!("spans of reloads and the like are not exported: {error}"))
            .ok();
        if let Some(process) = &mut process {
            process.set_resource(&Resource::builder_empty().with_attributes(attributes).build());
        }
        let (mut resource, mut scope) = (Proto::default(), Proto::default());
        for pair in &settings.resource {
            resource.text(1, pair.key.as_str(), &pair.value.as_str());
        }
        scope.bytes(1, b"shiftgate");
        scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
        Ok(Self { requests: Way::new(settings)?, process, resource, scope })
    }
}

fn process(settings: &Settings) -> Result<OtlpExporter, BuildError> {
    let built = match settings.protocol {
        Protocol::Grpc => OtlpExporter::builder()
            .with_tonic()
            .with_channel(channel(settings)?)
            .with_protocol(OtlpProtocol::Grpc)
            .build()?,
        Protocol::Http => OtlpExporter::builder()
            .with_http()
            .with_http_client(Posts::new(Dial::new(settings, false)?))
            .with_endpoint(settings.endpoint.clone())
            .with_protocol(OtlpProtocol::HttpBinary)
            .build()?,
    };
    Ok(built)
}
