//! The export loop: takes the queued spans, by size or by time, and sends them to the collector.

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
use super::dial::{CollectorConnector, ConnectError, HttpSender};
use super::proto::Proto;
use super::send::{ExportError, PartialSuccess, Transport, channel};
use super::settings::{Protocol, Settings};
use super::spans;
use crate::stats::Stats;
use crate::telemetry::tracer::Tracer;

/// Attempts for a batch that fails with a retryable error; then it is dropped. With the backoff they take 0.7 s.
const TRIES: u32 = 4;
/// Backoff after the first attempt; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The SDK's exporter cannot be built.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Exporter(#[from] ExporterBuildError),
}

/// The two ways out, and what their batches have in common.
struct Senders {
    /// Sends spans of requests, which are many.
    requests: Transport,
    /// Sends spans of the process itself; the SDK's own exporter.
    process: Option<OtlpExporter>,
    /// Encoded `Resource`.
    resource: Proto,
    /// Encoded `InstrumentationScope`.
    scope: Proto,
}

/// The export loop and its state.
#[derive(Debug)]
pub(super) struct ExportLoop {
    pub(super) settings: Settings,
    pub(super) tracer: Arc<Tracer>,
    pub(super) bridge: Bridge,
    pub(super) stats: Arc<Stats>,
    /// True if the collector did not accept the last batch, which was logged.
    pub(super) is_down: Cell<bool>,
    /// True if the collector has rejected spans of an accepted batch, which was logged.
    pub(super) is_rejecting: Cell<bool>,
}

impl ExportLoop {
    /// Runs until the tracer is closed and its queue is exported, or lost.
    pub(super) fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "no traces are exported: the runtime cannot be started");
                return;
            }
        };
        runtime.block_on(async {
            match Senders::new(&self.settings) {
                Ok(senders) => self.export(senders).await,
                Err(error) => {
                    tracing::warn!(endpoint = self.settings.endpoint, "no traces are exported: {error}");
                    self.discard().await;
                }
            }
        });
    }

    /// Sends both kinds of spans concurrently, so that one that hangs does not delay the other.
    async fn export(&self, senders: Senders) {
        let Senders { mut requests, process, resource, scope } = senders;
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
                        // The process ends, and further batches would fail too.
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

    /// Counts all spans as lost, where they cannot be exported.
    async fn discard(&self) {
        while !self.wait().await {
            self.lose();
        }
        self.lose();
    }

    /// Drops the queue and counts its spans.
    fn lose(&self) {
        let lost: usize = std::iter::from_fn(|| self.tracer.take()).map(|chunk| chunk.spans).sum();
        self.stats.telemetry.dropped_failed.add(lost as u64);
    }

    /// Waits for a batch; returns true if the tracer is closed.
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

    /// Sends a batch of requests; returns true if the collector accepted it.
    async fn send_requests(&self, transport: &mut Transport, request: &Bytes, count: u64) -> bool {
        let tries = if self.is_down.get() { 1 } else { TRIES };
        let sending = with_retries(transport, request, tries, self.settings.timeout);
        let sent = tokio::time::timeout(self.settings.export_timeout, sending).await;
        let limit = self.settings.export_timeout;
        self.settle(count, sent.unwrap_or_else(|_| Err(no_answer(limit))))
    }

    /// Sends the waiting spans of the process.
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
            Ok(sent) => {
                sent.map(|()| PartialSuccess::default()).map_err(|error| ExportError::of(error.to_string(), false))
            }
            Err(_) => Err(no_answer(limit)),
        };
        self.settle(count, sent);
        self.bridge.settled();
    }

    /// Counts and logs the result of a batch; returns true if the collector accepted it.
    fn settle(&self, count: u64, result: Result<PartialSuccess, ExportError>) -> bool {
        let (telemetry, endpoint) = (&self.stats.telemetry, &self.settings.endpoint);
        let service = || self.settings.service();
        match result {
            Ok(accepted) => {
                let rejected = accepted.rejected.min(count);
                telemetry.exported.add(count - rejected);
                telemetry.dropped_rejected.add(rejected);
                if rejected > 0 && !self.is_rejecting.replace(true) {
                    let why = one_line(&accepted.why);
                    tracing::warn!(
                        endpoint,
                        service = service(),
                        rejected,
                        "the collector rejects spans, which are counted: {why}"
                    );
                }
                if self.is_down.take() {
                    tracing::info!(endpoint, service = service(), "traces are exported again");
                }
                true
            }
            Err(error) => {
                telemetry.dropped_failed.add(count);
                if !self.is_down.replace(true) {
                    tracing::warn!(
                        endpoint,
                        service = service(),
                        "traces cannot be exported and are dropped and counted until they can: {}",
                        one_line(&error.why)
                    );
                }
                false
            }
        }
    }
}

/// Sends a batch, and again with backoff while the error is retryable.
async fn with_retries(
    transport: &mut Transport,
    request: &Bytes,
    tries: u32,
    timeout: Duration,
) -> Result<PartialSuccess, ExportError> {
    let mut backoff = FIRST_BACKOFF;
    for last in (0..tries).map(|tried| tried + 1 == tries) {
        let sent = tokio::time::timeout(timeout, transport.send(request.clone())).await;
        match sent.unwrap_or_else(|_| Err(no_answer(timeout))) {
            Err(error) if error.is_retryable && !last => {
                // The timeout of the export bounds the wait that a collector may ask for.
                let own = backoff.mul_f64(rand::random_range(0.5..1.5));
                tokio::time::sleep(error.retry_after.map_or(own, |asked| asked.max(own))).await;
                backoff *= 2;
            }
            done => return done,
        }
    }
    Ok(PartialSuccess::default())
}

fn no_answer(limit: Duration) -> ExportError {
    ExportError::of(format!("no answer within {} s", limit.as_secs_f64()), true)
}

/// Makes a collector's words fit for a log line.
fn one_line(text: &str) -> String {
    /// Limit, in characters; the rest is cut.
    const MAX: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX).collect()
}

impl Senders {
    fn new(settings: &Settings) -> Result<Self, ConnectError> {
        let attributes = settings.resource.iter().cloned();
        let mut process = process(settings)
            .inspect_err(|error| tracing::warn!("spans of reloads, breakers and the drain are not exported: {error}"))
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
        Ok(Self { requests: Transport::new(settings)?, process, resource, scope })
    }
}

/// Builds the SDK's exporter.
fn process(settings: &Settings) -> Result<OtlpExporter, BuildError> {
    let built = match settings.protocol {
        Protocol::Grpc => OtlpExporter::builder()
            .with_tonic()
            .with_channel(channel(settings)?)
            .with_protocol(OtlpProtocol::Grpc)
            .build()?,
        Protocol::Http => OtlpExporter::builder()
            .with_http()
            .with_http_client(HttpSender::new(CollectorConnector::new(settings, false)?))
            .with_endpoint(settings.endpoint.clone())
            .with_protocol(OtlpProtocol::HttpBinary)
            .build()?,
    };
    Ok(built)
}
