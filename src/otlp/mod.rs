//! Traces on their way to a collector: OTLP over gRPC or HTTP, on a thread and a runtime of their own.
//!
//! Owns: the environment's `OTEL_*` variables, the spans' form, the exporter. Refuses: the request path; it only takes
//! what the [`Tracer`] queued. Invariant: a collector that is down, slow or resetting costs spans, counted, and nothing
//! else.

mod bridge;
mod dial;
mod env;
mod export;
mod proto;
mod resource;
mod send;
mod settings;
mod spans;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use bridge::Bridge;

use crate::config::Telemetry;
use crate::telemetry::stats::Stats;
use crate::telemetry::tracer::Tracer;
use export::Loop;

/// What is left has so long to get out when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// What is odd in the environment, and where it wins over the file.
pub fn warnings(file: &Telemetry, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    settings::warnings(file, env)
}

/// The running exporter.
#[derive(Debug)]
pub struct Exporter {
    tracer: Arc<Tracer>,
    done: oneshot::Receiver<()>,
    stats: Arc<Stats>,
    bridge: Bridge,
}

impl Exporter {
    /// `None` where nobody asked for traces, or where what was asked for cannot be: that is told in the log, and the
    /// proxy serves all the same.
    pub fn start(
        file: &Telemetry,
        env: &dyn Fn(&str) -> Option<String>,
        bridge: &Bridge,
        stats: &Arc<Stats>,
    ) -> Option<Self> {
        let (settings, odd) = settings::read(file, env);
        for odd in odd {
            tracing::warn!("{odd}");
        }
        let settings = settings?;
        let sizes = (settings.max_queue, settings.batch);
        let tracer = Arc::new(Tracer::new(settings.sampler, sizes, spans::encode, Arc::clone(stats)));
        bridge.open(Arc::clone(&tracer), file.sample);
        let (endpoint, service) = (settings.endpoint.clone(), settings.service());
        let (tell_done, done) = oneshot::channel();
        let running = Loop {
            settings,
            tracer: Arc::clone(&tracer),
            bridge: bridge.clone(),
            stats: Arc::clone(stats),
            is_down: Cell::default(),
            is_picky: Cell::default(),
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
                tracing::warn!(%error, "no traces are exported: their thread cannot be started");
                None
            }
        }
    }

    pub fn tracer(&self) -> Arc<Tracer> {
        Arc::clone(&self.tracer)
    }

    /// Takes no more, and waits until what waits is out, for 5 s at most.
    pub async fn finish(self) {
        self.tracer.close();
        if tokio::time::timeout(LAST_SPANS, self.done).await.is_err() {
            let lost = self.tracer.abandon() as u64 + self.bridge.abandon();
            self.stats.telemetry.dropped_shutdown.add(lost);
            tracing::warn!(lost, "spans are lost: the collector did not take them before the end");
        }
    }
}
