//! The loop that exports: takes what waits, by size or by time, and hands it to the collector.

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{
    Protocol as OtlpProtocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::bridge::Bridge;
use super::dial::{Dial, DialError, Posts};
use super::settings::{Protocol, Settings};
use super::spans;
use crate::telemetry::stats::Stats;
use crate::telemetry::tracer::Tracer;

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
enum BuildError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("its URL cannot be dialled: {0}")]
    Channel(#[from] tonic::transport::Error),
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) settings: Settings,
    pub(super) tracer: Arc<Tracer>,
    pub(super) bridge: Bridge,
    pub(super) stats: Arc<Stats>,
    /// The collector did not take the last batch.
    pub(super) is_down: bool,
}

impl Loop {
    /// Until the tracer is closed and what waits is out, or lost.
    pub(super) fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "no traces are exported: their runtime cannot be started");
                return;
            }
        };
        runtime.block_on(async {
            match build(&self.settings) {
                Ok(exporter) => self.export(exporter).await,
                Err(error) => {
                    tracing::warn!(endpoint = self.settings.endpoint, "no traces are exported: {error}");
                    self.discard().await;
                }
            }
        });
    }

    async fn export(&mut self, exporter: OtlpExporter) {
        let scope = InstrumentationScope::builder("shiftgate").with_version(env!("CARGO_PKG_VERSION")).build();
        loop {
            let closed = self.wait().await;
            loop {
                let batch = self.batch(&scope);
                if batch.is_empty() {
                    break;
                }
                let sent = self.send(&exporter, batch).await;
                if closed && !sent {
                    // Nobody is there, and the end has come.
                    self.lose();
                    break;
                }
            }
            if closed {
                return;
            }
        }
    }

    /// Without an exporter what is told is counted as lost.
    async fn discard(&self) {
        while !self.wait().await {
            self.lose();
        }
        self.lose();
    }

    fn lose(&self) {
        let lost: usize = std::iter::from_fn(|| Some(self.tracer.take(usize::MAX)).filter(|told| !told.is_empty()))
            .flatten()
            .map(|told| told.spans())
            .sum();
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

    fn batch(&self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let told = self.tracer.take(self.settings.batch);
        let mut batch: Vec<SpanData> = told.iter().flat_map(|told| spans::of(&told.story, scope)).collect();
        batch.extend(self.bridge.take());
        batch
    }

    async fn send(&mut self, exporter: &OtlpExporter, batch: Vec<SpanData>) -> bool {
        let count = batch.len() as u64;
        let sent = tokio::time::timeout(self.settings.export_timeout, exporter.export(batch)).await;
        let telemetry = &self.stats.telemetry;
        let failure = match sent {
            Ok(Ok(())) => {
                telemetry.exported.add(count);
                if std::mem::take(&mut self.is_down) {
                    tracing::info!(endpoint = self.settings.endpoint, "traces are exported again");
                }
                return true;
            }
            Ok(Err(error)) => why(&error),
            Err(_) => format!("no answer within {} s", self.settings.export_timeout.as_secs_f64()),
        };
        telemetry.dropped_failed.add(count);
        if !std::mem::replace(&mut self.is_down, true) {
            tracing::warn!(
                endpoint = self.settings.endpoint,
                "traces cannot be exported, further ones are dropped and counted until they can: {failure}"
            );
        }
        false
    }
}

/// On one line, and not more than a line.
fn why(error: &OTelSdkError) -> String {
    const MAX: usize = 300;
    error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX).collect()
}

fn build(settings: &Settings) -> Result<OtlpExporter, BuildError> {
    let resource = Resource::builder_empty().with_attributes(settings.resource.iter().cloned()).build();
    let mut exporter = match settings.protocol {
        Protocol::Grpc => {
            let dial = Dial::new(settings, true)?;
            let channel = tonic::transport::Endpoint::from_shared(settings.endpoint.clone())?;
            let channel = channel.connect_with_connector_lazy(dial);
            OtlpExporter::builder().with_tonic().with_channel(channel).with_protocol(OtlpProtocol::Grpc).build()?
        }
        Protocol::Http => {
            let posts = Posts::new(Dial::new(settings, false)?);
            OtlpExporter::builder()
                .with_http()
                .with_http_client(posts)
                .with_endpoint(settings.endpoint.clone())
                .with_protocol(OtlpProtocol::HttpBinary)
                .build()?
        }
    };
    exporter.set_resource(&resource);
    Ok(exporter)
}
