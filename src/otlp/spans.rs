//! Encodes an [`Outcome`] as OTLP spans with OpenTelemetry's attribute names.
//!
//! Names of attributes are in the table of `telemetry`.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use super::pairs;
use super::proto::Proto;
use super::writer::{CLIENT, IS_REMOTE, KNOWS_REMOTE, SAMPLED, SERVER, WRITER, Writer, field};
use crate::choose::UNITS;
use crate::model::{Fault, OTHER_METHOD, Percent, Reason};
use crate::outcome::{Attempt, BackendLabels, LegEnd, Outcome};
use crate::telemetry::names::{attribute, event};
use crate::telemetry::tracer::Encode;

/// The encoders of the tracer.
pub(super) const ENCODE: Encode = Encode { outcome: encode, pair: pairs::encode };

/// Appends the SERVER span, then its CLIENT spans in the order of their attempts, as `ScopeSpans.spans`.
fn encode(outcome: &Outcome, to: &mut Vec<u8>) {
    WRITER.with_borrow_mut(|writer| {
        writer.server(outcome);
        writer.finish(to);
        for (place, (leg, attempt)) in outcome.attempts().enumerate() {
            writer.client(outcome, leg, attempt, place);
            writer.finish(to);
        }
    });
}

/// Encodes an `ExportTraceServiceRequest`; `resource` is an encoded `Resource`, `scope` an `InstrumentationScope`.
pub(super) fn request(resource: &[u8], scope: &[u8], spans: &[u8]) -> Bytes {
    let mut scoped = Proto::default();
    scoped.bytes(1, scope);
    let mut described = Proto::default();
    described.bytes(1, resource);
    let scope_spans = scoped.as_slice().len() + spans.len();
    let mut head = described;
    head.head(2, scope_spans);
    let mut request = Proto::with_capacity(head.as_slice().len() + scope_spans + 16);
    request.bytes_of(1, &[head.as_slice(), scoped.as_slice(), spans]);
    request.into_vec().into()
}

/// Span name of a method; the HTTP semantic conventions use `HTTP` for unknown methods.
fn name_of(method: &Method) -> &str {
    if method.as_str() == OTHER_METHOD { "HTTP" } else { method.as_str() }
}

/// Encodes the attributes that every span of an endpoint shares.
fn of_endpoint(method: &Method, template: &'static str) -> Proto {
    let mut proto = Proto::default();
    proto.bytes(field::NAME, format!("{} {template}", name_of(method)).as_bytes());
    proto.text(field::ATTRIBUTE, attribute::METHOD, method.as_str());
    proto.text(field::ATTRIBUTE, attribute::ROUTE, template);
    proto.text(field::ATTRIBUTE, attribute::SCHEME, "http");
    proto
}

/// Encodes the attributes that every span of a backend shares.
fn of_backend(backend: &BackendLabels) -> Proto {
    let mut proto = Proto::default();
    proto.text(field::ATTRIBUTE, attribute::SERVER_ADDRESS, &backend.host);
    proto.int(field::ATTRIBUTE, attribute::SERVER_PORT, i64::from(backend.port));
    proto.text(field::ATTRIBUTE, attribute::SHIFTGATE_BACKEND, &backend.name);
    proto
}

impl Writer {
    fn server(&mut self, outcome: &Outcome) {
        let parent = outcome.trace.parent;
        self.begin(outcome, outcome.span, parent, SERVER);
        let (method, template) = (&outcome.method, outcome.template);
        let endpoint = self.endpoints.get(
            |(known, of)| std::ptr::eq(*of, template) && known == method,
            || ((method.clone(), template), of_endpoint(method, template)),
        );
        self.one.raw(endpoint);
        self.times(outcome, outcome.clock.began_at, outcome.ended_at);
        self.one.fixed32(field::FLAGS, SAMPLED | KNOWS_REMOTE | if parent.is_some() { IS_REMOTE } else { 0 });
        self.text(attribute::PATH, &outcome.path);
        self.known_int(attribute::STATUS, outcome.status.map(u64::from));
        self.known_text(attribute::PROTOCOL_VERSION, version(outcome.version));
        if let Some(decided) = &outcome.decided {
            let (_, reason) = decided.choice.decided();
            let bucket = decided.choice.drawn().map(|drawn| f64::from(drawn.unit) / f64::from(UNITS));
            self.text(attribute::SHIFTGATE_ROUTE, &decided.route.name);
            self.text(attribute::SHIFTGATE_DECISION_BACKEND, &decided.backend.name);
            self.text(attribute::SHIFTGATE_DECISION_REASON, reason.as_str());
            self.known_double(attribute::SHIFTGATE_BUCKET, bucket);
            self.known_double(attribute::SHIFTGATE_PERCENT, decided.choice.percent().map(Percent::as_f64));
        }
        self.known_text(attribute::SHIFTGATE_RESIDENCY, outcome.residency.as_ref().map(|by| by.names.as_str()));
        if outcome.is_early {
            self.one.flag(field::ATTRIBUTE, attribute::SHIFTGATE_EARLY, true);
        }
        self.known_text(attribute::SHIFTGATE_REASON, outcome.reason.map(Reason::as_str));
        self.int(attribute::SHIFTGATE_GENERATION, outcome.generation);
        self.known_text(attribute::SHIFTGATE_BACKEND, outcome.backend.as_ref().map(|backend| backend.name.as_str()));
        let overhead = outcome.overhead.first_byte.unwrap_or(outcome.overhead.total);
        self.int(attribute::SHIFTGATE_OVERHEAD, u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX));
        self.known_double(attribute::SHIFTGATE_COST, outcome.cost_usd);
        self.events_of_request(outcome);
        self.fault(outcome.fault);
    }

    pub(super) fn client(&mut self, outcome: &Outcome, leg: &LegEnd, attempt: &Attempt, place: usize) {
        self.begin(outcome, attempt.span, Some(outcome.span), CLIENT);
        self.times(outcome, attempt.sent_at, attempt.ended_at);
        self.one.fixed32(field::FLAGS, SAMPLED | KNOWS_REMOTE);
        let method = outcome.method.as_str();
        // The answer's facts belong to the last attempt of its leg.
        let is_last = leg.attempts.last().is_some_and(|last| last.span == attempt.span);
        match outcome.operation {
            Some(operation) => {
                self.name(operation.as_str(), &leg.model);
                self.text(attribute::OPERATION, operation.as_str());
                self.text(attribute::PROVIDER, leg.backend.engine.as_str());
                self.asked(outcome, leg);
                if is_last {
                    self.answered(outcome, leg);
                }
            }
            None => self.one.bytes(field::NAME, name_of(&outcome.method).as_bytes()),
        }
        let backend = &leg.backend;
        let described =
            self.backends.get(|known| Arc::ptr_eq(known, backend), || (Arc::clone(backend), of_backend(backend)));
        self.one.raw(described);
        self.text(attribute::METHOD, method);
        self.known_int(attribute::STATUS, attempt.status.map(u64::from));
        self.known_int(attribute::RESEND_COUNT, (place > 0).then_some(place as u64));
        self.text(attribute::SHIFTGATE_LEG, leg.kind.as_str());
        self.int(attribute::SHIFTGATE_ATTEMPT, place as u64 + 1);
        if let Some(is_reused) = attempt.is_reused {
            self.one.flag(field::ATTRIBUTE, attribute::SHIFTGATE_CONN_REUSED, is_reused);
        }
        self.known_text(attribute::SHIFTGATE_CANCELLED_BY, attempt.cancelled.map(|by| by.as_str()));
        if let Some(first) = leg.facts.first_content.filter(|_| is_last) {
            self.event("first_chunk", outcome, first, &[]);
        }
        self.fault(attempt.fault);
    }

    /// Adds the model parameters of the request. Content is not included.
    fn asked(&mut self, outcome: &Outcome, leg: &LegEnd) {
        let params = &outcome.params;
        self.known_text(attribute::REQUEST_MODEL, Some(leg.model.as_str()).filter(|model| !model.is_empty()));
        if params.stream {
            self.one.flag(field::ATTRIBUTE, attribute::REQUEST_STREAM, true);
        }
        self.known_int(attribute::REQUEST_MAX_TOKENS, params.max_tokens);
        self.known_double(attribute::REQUEST_TEMPERATURE, params.temperature);
        self.known_double(attribute::REQUEST_TOP_P, params.top_p);
        if let Some(seed) = params.seed {
            self.one.int(field::ATTRIBUTE, attribute::REQUEST_SEED, seed);
        }
        self.known_int(attribute::REQUEST_CHOICES, params.choices.filter(|choices| *choices != 1));
    }

    /// Adds the facts about a model's answer. Content is not included.
    fn answered(&mut self, outcome: &Outcome, leg: &LegEnd) {
        let facts = &leg.facts;
        self.known_text(attribute::RESPONSE_MODEL, facts.told.model.as_deref());
        self.known_text(attribute::RESPONSE_ID, facts.told.id.as_deref());
        if !facts.told.reasons.is_empty() {
            self.one.texts(field::ATTRIBUTE, attribute::RESPONSE_FINISH_REASONS, &facts.told.reasons);
        }
        let waited = leg.first_token_after().filter(|_| outcome.params.stream);
        self.known_double(attribute::RESPONSE_TIME_TO_FIRST_CHUNK, waited.map(|waited| waited.as_secs_f64()));
        if let Some(usage) = facts.usage {
            self.int(attribute::USAGE_INPUT, usage.input);
            self.int(attribute::USAGE_OUTPUT, usage.output);
            self.known_int(attribute::USAGE_CACHE_READ, usage.cached_input);
            self.known_int(attribute::USAGE_CACHE_WRITE, usage.cache_written);
            self.known_int(attribute::USAGE_REASONING, usage.reasoning);
        }
    }

    /// Adds the events `failover`, `replay`, `breaker_open`, `shiftgate.rolled_back` and `client_gone`: at most eight for at most four attempts.
    fn events_of_request(&mut self, outcome: &Outcome) {
        let attempts = outcome.attempts();
        for ((before, failed), (leg, next)) in attempts.clone().zip(attempts.skip(1)) {
            let why = failed.fault.map(Fault::as_str);
            let all = [
                (attribute::SHIFTGATE_FROM, before.backend.name.as_str()),
                (attribute::SHIFTGATE_TO, leg.backend.name.as_str()),
                (attribute::ERROR_TYPE, why.as_deref().unwrap_or_default()),
            ];
            let known = all.get(..if why.is_some() { 3 } else { 2 }).unwrap_or_default();
            self.event(if next.is_replay { "replay" } else { "failover" }, outcome, next.sent_at, known);
        }
        for leg in outcome.legs.iter().filter(|leg| leg.opened_breaker) {
            let backend = [(attribute::SHIFTGATE_BACKEND, leg.backend.name.as_str())];
            let ended_at = leg.attempts.last().map_or(outcome.ended_at, |attempt| attempt.ended_at);
            self.event("breaker_open", outcome, ended_at, &backend);
        }
        if let Some(candidate) = &outcome.tripped {
            let backend = [(attribute::SHIFTGATE_BACKEND, candidate.as_ref())];
            self.event(event::ROLLED_BACK, outcome, outcome.ended_at, &backend);
        }
        if outcome.fault == Some(Fault::ClientGone) {
            self.event("client_gone", outcome, outcome.ended_at, &[]);
        }
    }
}

fn version(version: http::Version) -> Option<&'static str> {
    match version {
        http::Version::HTTP_10 => Some("1.0"),
        http::Version::HTTP_11 => Some("1.1"),
        http::Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
