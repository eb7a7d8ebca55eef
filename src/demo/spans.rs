//! The simulated vLLM servers' spans, as real servers export them with `--otlp-traces-endpoint`.

use std::sync::Arc;

use crate::config::Telemetry;
use crate::model::TraceContext;
use crate::otlp::{Bridge, Exporter};
use crate::sim::{Collector, TracedRequest};
use crate::stats::Stats;
use crate::telemetry::server_span::ServerSpan;

/// Name that vLLM gives its span.
const NAME: &str = "llm_request";

/// The span exporter of all simulated servers of one engine, as one service.
#[derive(Debug)]
pub struct Servers {
    bridge: Bridge,
    exporter: Option<Exporter>,
}

impl Servers {
    /// Starts an exporter to the proxy's collector, under the name `service`.
    pub fn start(file: &Telemetry, service: &str) -> Self {
        let file = Telemetry { service_name: service.to_owned(), ..file.clone() };
        // This variable names the proxy.
        let env = |name: &str| std::env::var(name).ok().filter(|_| name != "OTEL_SERVICE_NAME");
        let bridge = Bridge::default();
        let exporter = Exporter::start(&file, &env, &bridge, &Arc::new(Stats::default()));
        Self { bridge, exporter }
    }

    /// Returns the collector for simulated servers; `None` if traces are off.
    pub fn collector(&self) -> Option<Collector> {
        self.exporter.as_ref()?;
        let bridge = self.bridge.clone();
        Some(Collector(Arc::new(move |traced| export(&bridge, &traced))))
    }

    /// Exports what is left, for 5 s at most.
    pub async fn finish(self) {
        if let Some(exporter) = self.exporter {
            exporter.finish().await;
        }
    }
}

fn export(bridge: &Bridge, traced: &TracedRequest) {
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
