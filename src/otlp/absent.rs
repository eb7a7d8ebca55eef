//! A build without the feature `otlp`: nothing is exported, and a file that asks for traces gets a warning.

use std::convert::Infallible;
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{Layer, Registry};

use crate::config::Telemetry;
use crate::stats::Stats;
use crate::telemetry::server_span::ServerSpan;
use crate::telemetry::tracer::Tracer;

/// Returns a warning if the file asks for traces. The environment has no effect.
pub(crate) fn warnings(file: &Telemetry, _: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let unused =
        file.otlp.as_ref().map(|_| "telemetry.otlp is not used: this build is without the feature otlp".to_owned());
    unused.into_iter().collect()
}

/// Cannot be made.
#[derive(Debug)]
pub(crate) struct Exporter(Infallible);

/// Drops all spans.
#[derive(Debug, Clone, Default)]
pub struct Bridge {}

impl Bridge {
    /// Drops the span.
    pub(crate) fn put(&self, span: ServerSpan) {
        drop(span);
    }

    /// Does nothing.
    pub(crate) fn follow(&self, _: f64) {}

    /// Returns a layer that does nothing.
    pub(crate) fn layer(&self) -> impl Layer<Registry> + use<> {
        None::<LevelFilter>
    }
}

impl Exporter {
    /// Returns `None`, with a warning if the file asks for traces.
    pub(crate) fn start(
        file: &Telemetry,
        _: &dyn Fn(&str) -> Option<String>,
        _: &Bridge,
        _: &Arc<Stats>,
    ) -> Option<Self> {
        if file.otlp.is_some() {
            tracing::warn!("no traces are exported: this build is without the feature otlp");
        }
        None
    }

    /// Is never called.
    pub(crate) fn tracer(&self) -> Arc<Tracer> {
        match self.0 {}
    }

    /// Is never called.
    pub(crate) async fn finish(self) {
        match self.0 {}
    }
}
