//! The simulated vLLM servers' half of a trace, as real ones tell it with `--otlp-traces-endpoint`.

use std::sync::Arc;

use crate::config::Telemetry;
use crate::model::TraceContext;
use crate::otlp::{Bridge, Exporter};
use crate::sim::{Collector, TracedRequest};
use crate::telemetry::stats::Stats;
use crate::telemetry::story::ServerSpan;

/// vLLM's own name for its span.
const NAME: &str = "llm_request";

/// All simulated servers of one kind, as one service.
#[derive(Debug)]
pub struct Servers {
    bridge: Bridge,
    exporter: Option<Exporter>,
}

impl Servers {
    /// They export to where the proxy does.
    pub fn start(file: &Telemetry, service: &str) -> Self {
        let file = Telemetry { service_name: service.to_owned(), ..file.clone() };
        // That name is the proxy's.
        let env = |name: &str| std::env::var(name).ok().filter(|_| name != "OTEL_SERVICE_NAME");
        let bridge = Bridge::default();
        let exporter = Exporter::start(&file, &env, &bridge, &Arc::new(Stats::default()));
        Self { bridge, exporter }
    }

    pub fn collector(&self) -> Option<Collector> {
        self.exporter.as_ref()?;
        let bridge = self.bridge.clone();
        Some(Collector(Arc::new(move |traced| tell(&bridge, &traced))))
    }

    pub async fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

fn tell(bridge: &Bridge, traced: &TracedRequest) {
    let Some(parent) = TraceContext::of_traceparent(&traced.traceparent) else { return };
    let took = traced.ended_at.duration_since(traced.began_at).unwrap_or_default();
    bridge.put(ServerSpan {
        parent,
        name: NAME,
        began: traced.began_at,
        ended: traced.ended_at,
        failed: !traced.is_complete,
        attributes: vec![("gen_ai.latency.e2e", took.as_secs_f64())],
    });
}
