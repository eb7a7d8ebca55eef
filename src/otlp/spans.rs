//! A request's spans: OpenTelemetry's names for what a [`Story`] tells.
//!
//! Names follow the GenAI and HTTP semantic conventions; GenAI's are in development, so they are kept here, by their
//! text, and not taken from a crate that moves with them.

use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::model::{Fault, SpanId as OwnSpanId};
use crate::telemetry::story::{Attempt, Story};

/// The SERVER span, then its CLIENT spans in the order of their attempts.
pub(super) fn of(story: &Story, scope: &InstrumentationScope) -> Vec<SpanData> {
    let mut spans = Vec::with_capacity(story.attempts.len() + 1);
    spans.push(server(story, scope));
    spans.extend(story.attempts.iter().enumerate().map(|(place, attempt)| client(story, attempt, place, scope)));
    spans
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    fn known(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }
}

fn server(story: &Story, scope: &InstrumentationScope) -> SpanData {
    let mut it = Attributes(Vec::with_capacity(20));
    it.put("http.request.method", story.method.as_str().to_owned());
    it.put("http.route", story.template);
    it.put("url.scheme", "http");
    it.put("url.path", story.path.clone());
    it.known("http.response.status_code", story.status.map(i64::from));
    it.known("network.protocol.version", version(story.version));
    it.known("error.type", story.fault.map(Fault::as_str));
    if let Some(decided) = &story.decided {
        it.put("shiftgate.route", decided.route.name.clone());
        it.put("shiftgate.decision.backend", decided.backend.name.clone());
        it.put("shiftgate.decision.reason", decided.reason.as_str());
        it.known("shiftgate.decision.bucket", decided.bucket);
        it.known("shiftgate.percent", decided.percent);
    }
    it.put("shiftgate.reason", story.reason.as_str());
    it.put("shiftgate.generation", int(story.generation));
    it.known("shiftgate.backend", story.backend.as_ref().map(|peer| peer.name.clone()));
    let overhead = story.overhead.first_byte.unwrap_or(story.overhead.total);
    it.put("shiftgate.overhead_us", int(u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)));
    it.known("shiftgate.cost_usd", story.cost_usd);
    SpanData {
        span_context: context(story, story.span),
        parent_span_id: story.trace.parent.map_or(SpanId::INVALID, span_id),
        parent_span_is_remote: story.trace.parent.is_some(),
        span_kind: SpanKind::Server,
        name: format!("{} {}", story.method, story.template).into(),
        start_time: story.clock.wall,
        end_time: story.clock.wall_of(story.ended),
        attributes: it.0,
        dropped_attributes_count: 0,
        events: events_of_request(story),
        links: SpanLinks::default(),
        status: story.fault.map_or(Status::Unset, failed),
        instrumentation_scope: scope.clone(),
    }
}

fn client(story: &Story, attempt: &Attempt, place: usize, scope: &InstrumentationScope) -> SpanData {
    let mut it = Attributes(Vec::with_capacity(32));
    let name = match story.operation {
        Some(operation) => {
            let name = format!("{} {}", operation.as_str(), attempt.model);
            it.put("gen_ai.operation.name", operation.as_str());
            it.put("gen_ai.provider.name", attempt.peer.engine.as_str());
            gen_ai(&mut it, story, attempt);
            name.trim_end().to_owned()
        }
        None => story.method.as_str().to_owned(),
    };
    it.put("server.address", attempt.peer.host.clone());
    it.put("server.port", i64::from(attempt.peer.port));
    it.put("http.request.method", story.method.as_str().to_owned());
    it.known("http.response.status_code", attempt.status.map(i64::from));
    it.known("http.request.resend_count", (place > 0).then(|| int(place as u64)));
    it.known("error.type", attempt.fault.map(Fault::as_str));
    it.put("shiftgate.leg", attempt.leg.as_str());
    it.put("shiftgate.attempt", int(place as u64 + 1));
    it.put("shiftgate.backend", attempt.peer.name.clone());
    it.known("shiftgate.conn.reused", attempt.reused);
    it.known("shiftgate.cancelled_by", attempt.cancelled.map(|by| by.as_str()));
    let mut events = SpanEvents::default();
    if let Some(first) = attempt.seen.first_content {
        events.events.push(event("first_chunk", story, first, Vec::new()));
    }
    SpanData {
        span_context: context(story, attempt.span),
        parent_span_id: span_id(story.span),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: name.into(),
        start_time: story.clock.wall_of(attempt.sent),
        end_time: story.clock.wall_of(ended(story, attempt)),
        attributes: it.0,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: attempt.fault.map_or(Status::Unset, failed),
        instrumentation_scope: scope.clone(),
    }
}

/// What was asked of a model, and what it said. Content is not among it.
fn gen_ai(it: &mut Attributes, story: &Story, attempt: &Attempt) {
    let (params, seen) = (&story.params, &attempt.seen);
    it.known("gen_ai.request.model", some_text(&attempt.model));
    it.known("gen_ai.response.model", seen.told.model.clone());
    it.known("gen_ai.response.id", seen.told.id.clone());
    it.put("gen_ai.request.stream", params.stream);
    it.known("gen_ai.request.max_tokens", params.max_tokens.map(int));
    it.known("gen_ai.request.temperature", params.temperature);
    it.known("gen_ai.request.top_p", params.top_p);
    it.known("gen_ai.request.seed", params.seed);
    it.known("gen_ai.request.choice.count", params.choices.filter(|choices| *choices != 1).map(int));
    if !seen.told.reasons.is_empty() {
        let reasons: Vec<StringValue> = seen.told.reasons.iter().cloned().map(StringValue::from).collect();
        it.put("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons)));
    }
    let first = seen.first_content.filter(|_| params.stream);
    it.known(
        "gen_ai.response.time_to_first_chunk",
        first.map(|first| first.saturating_duration_since(attempt.sent).as_secs_f64()),
    );
    if let Some(usage) = seen.usage {
        it.put("gen_ai.usage.input_tokens", int(usage.input));
        it.put("gen_ai.usage.output_tokens", int(usage.output));
        it.known("gen_ai.usage.cache_read.input_tokens", usage.cached_input.map(int));
        it.known("gen_ai.usage.reasoning.output_tokens", usage.reasoning.map(int));
    }
}

/// `failover`, `replay`, `breaker_open`, `client_gone`: there are at most three attempts, so at most eight.
fn events_of_request(story: &Story) -> SpanEvents {
    let mut events = SpanEvents::default();
    for pair in story.attempts.windows(2) {
        let [before, next] = pair else { continue };
        let why = before.fault.map(|fault| KeyValue::new("error.type", fault.as_str()));
        let mut attributes = vec![
            KeyValue::new("shiftgate.from", before.peer.name.clone()),
            KeyValue::new("shiftgate.to", next.peer.name.clone()),
        ];
        attributes.extend(why);
        let name = if next.is_replay { "replay" } else { "failover" };
        events.events.push(event(name, story, next.sent, attributes));
    }
    for attempt in story.attempts.iter().filter(|attempt| attempt.opened_breaker) {
        let backend = KeyValue::new("shiftgate.backend", attempt.peer.name.clone());
        events.events.push(event("breaker_open", story, ended(story, attempt), vec![backend]));
    }
    if story.fault == Some(Fault::ClientGone) {
        events.events.push(event("client_gone", story, story.ended, Vec::new()));
    }
    events
}

fn event(name: &'static str, story: &Story, at: Instant, attributes: Vec<KeyValue>) -> Event {
    let at: SystemTime = story.clock.wall_of(at);
    Event::new(name, at, attributes, 0)
}

fn ended(story: &Story, attempt: &Attempt) -> Instant {
    attempt.ended.unwrap_or(story.ended)
}

fn failed(fault: Fault) -> Status {
    Status::error(fault.as_str())
}

fn context(story: &Story, span: OwnSpanId) -> SpanContext {
    let trace = TraceId::from(story.trace.trace.as_u128());
    SpanContext::new(trace, span_id(span), TraceFlags::SAMPLED, false, TraceState::NONE)
}

fn span_id(span: OwnSpanId) -> SpanId {
    SpanId::from(span.as_u64())
}

fn version(version: http::Version) -> Option<&'static str> {
    match version {
        http::Version::HTTP_10 => Some("1.0"),
        http::Version::HTTP_11 => Some("1.1"),
        http::Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
