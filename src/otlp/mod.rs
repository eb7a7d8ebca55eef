//! Export of traces to a collector: OTLP over gRPC or HTTP, on a thread and a runtime of its own.
//!
//! Owns: the environment's `OTEL_*` variables, the encoding of spans, the exporter. Does not: touch the request path; it takes
//! only what the [`Tracer`] queued. Invariant: a collector that is down, slow or resetting costs spans, which are
//! counted, and nothing else.

mod bridge;
mod dial;
mod env;
mod export;
mod pairs;
mod proto;
mod resource;
mod send;
mod settings;
mod spans;
mod writer;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use bridge::Bridge;

use crate::config::Telemetry;
use crate::stats::Stats;
use crate::telemetry::tracer::Tracer;
use export::ExportLoop;

/// Timeout of the last export when the process ends; spans that are left then are lost, and counted. Kubernetes gives a
/// pod 30 s to end.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Returns the warnings that `check` prints: variables that are not understood, and those that override the file.
pub(crate) fn warnings(file: &Telemetry, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    settings::warnings(file, env)
}

/// The running exporter.
#[derive(Debug)]
pub(crate) struct Exporter {
    tracer: Arc<Tracer>,
    done: oneshot::Receiver<()>,
    stats: Arc<Stats>,
    bridge: Bridge,
}

impl Exporter {
    /// Starts the exporter; `None` if traces are off, or if it cannot start: that is logged, and the proxy serves all the
    /// same.
    pub(crate) fn start(
        file: &Telemetry,
        env: &dyn Fn(&str) -> Option<String>,
        bridge: &Bridge,
        stats: &Arc<Stats>,
    ) -> Option<Self> {
        let (settings, warnings) = settings::read(file, env);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let settings = settings?;
        let sizes = (settings.max_queue, settings.batch);
        let tracer = Arc::new(Tracer::new(settings.sampler, sizes, spans::ENCODE, Arc::clone(stats)));
        bridge.open(Arc::clone(&tracer), file.sample);
        let (endpoint, service) = (settings.endpoint.clone(), settings.service());
        let (tell_done, done) = oneshot::channel();
        let running = ExportLoop {
            settings,
            tracer: Arc::clone(&tracer),
            bridge: bridge.clone(),
            stats: Arc::clone(stats),
            is_down: Cell::default(),
            is_rejecting: Cell::default(),
        };
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            running.run();
            drop(tell_done);
        });
        match thread {
            Ok(_) => {
                tracing::info!(endpoint, service, "traces are exported");
                Some(Self { tracer, done, stats: Arc::clone(stats), bridge: bridge.clone() })
            }
            Err(error) => {
                tracing::warn!(%error, "no traces are exported: the thread cannot be started");
                None
            }
        }
    }

    /// Returns the tracer whose queue is exported.
    pub(crate) fn tracer(&self) -> Arc<Tracer> {
        Arc::clone(&self.tracer)
    }

    /// Closes the queue and waits until it is exported, for 5 s at most.
    pub(crate) async fn finish(self) {
        self.tracer.close();
        if tokio::time::timeout(LAST_SPANS, self.done).await.is_err() {
            let lost = self.tracer.abandon() as u64 + self.bridge.abandon();
            self.stats.telemetry.dropped_shutdown.add(lost);
            tracing::warn!(lost, "spans are lost: the collector did not accept them before the process ended");
        }
    }
}
