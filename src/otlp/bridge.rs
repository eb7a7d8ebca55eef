//! Spans of the process itself: reloads, the drain, breakers. They are rare, so `tracing` and its bridge may be slow.

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{
    Link, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, Span, SpanData, SpanEvents, SpanLinks,
    SpanProcessor,
};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::model::TraceContext;
use crate::stats::lock;
use crate::telemetry::SPANS;
use crate::telemetry::server_span::ServerSpan;
use crate::telemetry::tracer::Tracer;

/// Limit of waiting spans; further ones are dropped, and counted. Far more than one export delay sees.
const MAX_WAITING: usize = 256;

/// Carries spans from `tracing` to the exporter. Samples nothing until an exporter is running.
#[derive(Debug, Clone, Default)]
pub struct Bridge(Arc<Mutex<BridgeState>>);

#[derive(Debug, Default)]
struct BridgeState {
    /// Decides what is sampled; `None` while there is no exporter.
    tracer: Option<Arc<Tracer>>,
    /// Sample ratio of the file.
    ratio: f64,
    waiting: Vec<SpanData>,
    /// Number of spans dropped since the last take.
    lost: u64,
    /// Number of spans taken and not settled.
    sending: u64,
}

impl Bridge {
    /// Returns the subscriber layer that turns this crate's own spans into traces.
    pub fn layer(&self) -> impl Layer<Registry> + use<> {
        let provider =
            SdkTracerProvider::builder().with_sampler(self.clone()).with_span_processor(self.clone()).build();
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("shiftgate"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))
    }

    /// Adds a finished span of another service.
    pub fn put(&self, span: ServerSpan) {
        let Some(parent) = span.parent.parent else { return };
        let context = SpanContext::new(
            TraceId::from(span.parent.trace.as_u128()),
            rand::random::<u64>().max(1).into(),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        );
        self.on_end(SpanData {
            span_context: context,
            parent_span_id: parent.as_u64().into(),
            parent_span_is_remote: true,
            span_kind: SpanKind::Server,
            name: span.name.into(),
            start_time: span.began,
            end_time: span.ended,
            attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: InstrumentationScope::builder(span.name).build(),
        });
    }

    /// Starts sampling, as an exporter is running.
    pub(super) fn open(&self, tracer: Arc<Tracer>, ratio: f64) {
        let mut state = lock(&self.0);
        (state.tracer, state.ratio) = (Some(tracer), ratio);
    }

    /// Sets the sample ratio, after the file changed.
    pub fn follow(&self, ratio: f64) {
        lock(&self.0).ratio = ratio;
    }

    /// Takes the waiting spans, and the number of those dropped.
    pub(super) fn take(&self) -> (Vec<SpanData>, u64) {
        let mut state = lock(&self.0);
        state.sending = state.waiting.len() as u64;
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lost))
    }

    /// Marks the taken spans as exported or counted.
    pub(super) fn settled(&self) {
        lock(&self.0).sending = 0;
    }

    /// Number of spans that will not be exported.
    pub(super) fn abandon(&self) -> u64 {
        let state = lock(&self.0);
        state.waiting.len() as u64 + state.lost + state.sending
    }
}

impl ShouldSample for Bridge {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let inherited =
            parent.filter(|parent| parent.has_active_span()).map(|parent| parent.span().span_context().is_sampled());
        let own = || {
            let context = TraceContext::begin(u128::from_be_bytes(trace.to_bytes()));
            let state = lock(&self.0);
            state.tracer.as_ref().is_some_and(|tracer| tracer.samples(&context, state.ratio))
        };
        let decision =
            if inherited.unwrap_or_else(own) { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::NONE }
    }
}

impl SpanProcessor for Bridge {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut state = lock(&self.0);
        if state.waiting.len() < MAX_WAITING {
            state.waiting.push(span);
        } else {
            state.lost += 1;
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}
