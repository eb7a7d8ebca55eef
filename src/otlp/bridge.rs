//! What the process itself does, as spans: reloads, the drain, breakers. Seldom, so `tracing` and its bridge are at hand.

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

/// Such spans that wait; further ones are lost, and counted.
const MAX_WAITING: usize = 256;

/// From `tracing` to the exporter. Closed until there is one.
#[derive(Debug, Clone, Default)]
pub struct Bridge(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// Who decides what is sampled; `None` while nobody exports.
    tracer: Option<Arc<Tracer>>,
    /// The file's.
    ratio: f64,
    waiting: Vec<SpanData>,
    /// Since they were last taken.
    lost: u64,
    /// Taken, and not settled.
    sending: u64,
}

impl Bridge {
    /// The layer of a subscriber that turns this crate's own spans into traces.
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

    /// A span of another service, made by hand.
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

    pub(super) fn open(&self, tracer: Arc<Tracer>, ratio: f64) {
        let mut inside = lock(&self.0);
        (inside.tracer, inside.ratio) = (Some(tracer), ratio);
    }

    /// The file has another ratio now.
    pub fn follow(&self, ratio: f64) {
        lock(&self.0).ratio = ratio;
    }

    /// What waits, and how many did not fit.
    pub(super) fn take(&self) -> (Vec<SpanData>, u64) {
        let mut inside = lock(&self.0);
        inside.sending = inside.waiting.len() as u64;
        (std::mem::take(&mut inside.waiting), std::mem::take(&mut inside.lost))
    }

    /// What was taken is out, or counted.
    pub(super) fn settled(&self) {
        lock(&self.0).sending = 0;
    }

    /// How many will never get out.
    pub(super) fn abandon(&self) -> u64 {
        let inside = lock(&self.0);
        inside.waiting.len() as u64 + inside.lost + inside.sending
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
            let inside = lock(&self.0);
            inside.tracer.as_ref().is_some_and(|tracer| tracer.samples(&context, inside.ratio))
        };
        let decision =
            if inherited.unwrap_or_else(own) { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::NONE }
    }
}

impl SpanProcessor for Bridge {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let mut inside = lock(&self.0);
        if inside.waiting.len() < MAX_WAITING {
            inside.waiting.push(span);
        } else {
            inside.lost += 1;
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}
