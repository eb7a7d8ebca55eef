//! A build without the feature `otlp`: nothing is exported, and who asks for it is told.

use std::convert::Infallible;
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{Layer, Registry};

use crate::config::Telemetry;
use crate::stats::Stats;
use crate::telemetry::server_span::ServerSpan;
use crate::telemetry::tracer::Tracer;

/// What the environment says changes nothing.
pub fn warnings(file: &Telemetry, _: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let unused =
        file.otlp.as_ref().map(|_| "telemetry.otlp is not used: this build is without the feature otlp".to_owned());
    unused.into_iter().collect()
}

/// There is none.
#[derive(Debug)]
pub struct Exporter(Infallible);

/// Brings nothing.
#[derive(Debug, Clone, Default)]
pub struct Bridge {}

impl Bridge {
    pub fn put(&self, span: ServerSpan) {
        drop(span);
    }

    /// There is no ratio to follow.
    pub fn follow(&self, _: f64) {}

    pub fn layer(&self) -> impl Layer<Registry> + use<> {
        None::<LevelFilter>
    }
}

impl Exporter {
    pub fn start(file: &Telemetry, _: &dyn Fn(&str) -> Option<String>, _: &Bridge, _: &Arc<Stats>) -> Option<Self> {
        if file.otlp.is_some() {
            tracing::warn!("no traces are exported: this build is without the feature otlp");
        }
        None
    }

    pub fn tracer(&self) -> Arc<Tracer> {
        match self.0 {}
    }

    pub async fn finish(self) {
        match self.0 {}
    }
}
