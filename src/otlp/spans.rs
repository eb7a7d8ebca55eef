//! A request's spans as OTLP has them: OpenTelemetry's names for what a [`Story`] tells.
//!
//! Names follow the GenAI and HTTP semantic conventions. GenAI's are still in development, so they stand here as text and
//! do not move with a crate.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::Method;

use super::proto::Proto;
use crate::model::{Fault, OTHER_METHOD, SpanId};
use crate::telemetry::story::{Attempt, Peer, Story};

/// Fields of `opentelemetry.proto.trace.v1.Span`.
mod field {
    pub(super) const TRACE_ID: u8 = 1;
    pub(super) const SPAN_ID: u8 = 2;
    pub(super) const PARENT: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const KIND: u8 = 6;
    pub(super) const START: u8 = 7;
    pub(super) const END: u8 = 8;
    pub(super) const ATTRIBUTE: u8 = 9;
    pub(super) const EVENT: u8 = 11;
    pub(super) const STATUS: u8 = 15;
    pub(super) const FLAGS: u8 = 16;
}

const SERVER: u64 = 2;
const CLIENT: u64 = 3;
const ERROR: u64 = 2;
/// Sampled; whether the parent is remote is known; and it is.
const SAMPLED: u32 = 1;
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Appends the SERVER span, then its CLIENT spans in the order of their attempts, as `ScopeSpans.spans`.
pub(super) fn encode(story: &Story, to: &mut Vec<u8>) {
    thread_local! {
        static WRITER: RefCell<Writer> = RefCell::default();
    }
    WRITER.with_borrow_mut(|writer| {
        writer.server(story);
        writer.finish(to);
        for (place, attempt) in story.attempts.iter().enumerate() {
            writer.client(story, attempt, place);
            writer.finish(to);
        }
    });
}

/// An `ExportTraceServiceRequest` of encoded spans; `resource` is that message, `scope` an `InstrumentationScope`.
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

/// One span at a time, in memory that is kept.
#[derive(Debug, Default)]
struct Writer {
    one: Proto,
    head: Proto,
    event: Proto,
    scratch: String,
    endpoints: Known<(Method, &'static str)>,
    peers: Known<Arc<Peer>>,
}

/// What was encoded before and comes again.
#[derive(Debug)]
struct Known<K>(Vec<(K, Vec<u8>)>);

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// More are begun anew: backends that left the file, methods that nobody uses.
const MAX_KNOWN: usize = 64;

impl<K> Known<K> {
    /// The bytes of the one that `is` it; `make` gives what is not known yet.
    fn get(&mut self, is: impl Fn(&K) -> bool, make: impl FnOnce() -> (K, Proto)) -> &[u8] {
        let at = self.0.iter().position(|(key, _)| is(key)).unwrap_or_else(|| {
            if self.0.len() == MAX_KNOWN {
                self.0.clear();
            }
            let (key, bytes) = make();
            self.0.push((key, bytes.into_vec()));
            self.0.len() - 1
        });
        self.0.get(at).map_or(&[], |(_, bytes)| bytes)
    }
}

/// As HTTP's semantic conventions name spans of unknown methods.
fn name_of(method: &Method) -> &str {
    if method.as_str() == OTHER_METHOD { "HTTP" } else { method.as_str() }
}

/// The same in every span of an endpoint.
fn of_endpoint(method: &Method, template: &'static str) -> Proto {
    let mut it = Proto::default();
    it.bytes(field::NAME, format!("{} {template}", name_of(method)).as_bytes());
    it.text(field::ATTRIBUTE, "http.request.method", method.as_str());
    it.text(field::ATTRIBUTE, "http.route", template);
    it.text(field::ATTRIBUTE, "url.scheme", "http");
    it
}

/// The same in every span of a backend.
fn of_peer(peer: &Peer) -> Proto {
    let mut it = Proto::default();
    it.text(field::ATTRIBUTE, "server.address", &peer.host);
    it.int(field::ATTRIBUTE, "server.port", i64::from(peer.port));
    it.text(field::ATTRIBUTE, "shiftgate.backend", &peer.name);
    it
}

impl Writer {
    fn finish(&mut self, to: &mut Vec<u8>) {
        self.head.clear();
        self.head.head(2, self.one.as_slice().len());
        to.extend_from_slice(self.head.as_slice());
        to.extend_from_slice(self.one.as_slice());
        self.one.clear();
    }

    fn begin(&mut self, story: &Story, span: SpanId, parent: Option<SpanId>, kind: u64) {
        self.one.bytes(field::TRACE_ID, &story.trace.trace.as_u128().to_be_bytes());
        self.one.bytes(field::SPAN_ID, &span.as_u64().to_be_bytes());
        if let Some(parent) = parent {
            self.one.bytes(field::PARENT, &parent.as_u64().to_be_bytes());
        }
        self.one.number(field::KIND, kind);
    }

    fn name(&mut self, what: &str, of: &str) {
        self.scratch.clear();
        for part in [what, " ", of] {
            self.scratch.push_str(part);
        }
        self.one.bytes(field::NAME, self.scratch.trim_end().as_bytes());
    }

    fn times(&mut self, story: &Story, from: Instant, to: Instant) {
        self.one.fixed64(field::START, nanos(story.clock.wall_of(from)));
        self.one.fixed64(field::END, nanos(story.clock.wall_of(to)));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.one.text(field::ATTRIBUTE, key, value);
    }

    fn int(&mut self, key: &str, value: u64) {
        self.one.int(field::ATTRIBUTE, key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn known_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn known_int(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.int(key, value);
        }
    }

    fn known_double(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.one.double(field::ATTRIBUTE, key, value);
        }
    }

    /// What went wrong is an attribute and the status.
    fn fault(&mut self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            let text = fault.as_str();
            self.text("error.type", &text);
            let mut status = Proto::default();
            status.bytes(2, text.as_bytes());
            status.number(3, ERROR);
            self.one.bytes(field::STATUS, status.as_slice());
        }
    }

    fn event(&mut self, name: &str, story: &Story, at: Instant, attributes: &[(&str, &str)]) {
        self.event.fixed64(1, nanos(story.clock.wall_of(at)));
        self.event.bytes(2, name.as_bytes());
        for (key, value) in attributes {
            self.event.text(3, key, value);
        }
        self.one.bytes(field::EVENT, self.event.as_slice());
        self.event.clear();
    }

    fn server(&mut self, story: &Story) {
        let parent = story.trace.parent;
        self.begin(story, story.span, parent, SERVER);
        let (method, template) = (&story.method, story.template);
        let endpoint = self.endpoints.get(
            |(known, of)| std::ptr::eq(*of, template) && known == method,
            || ((method.clone(), template), of_endpoint(method, template)),
        );
        self.one.raw(endpoint);
        self.times(story, story.clock.began, story.ended);
        self.one.fixed32(field::FLAGS, SAMPLED | KNOWS_REMOTE | if parent.is_some() { IS_REMOTE } else { 0 });
        self.text("url.path", &story.path);
        self.known_int("http.response.status_code", story.status.map(u64::from));
        self.known_text("network.protocol.version", version(story.version));
        if let Some(decided) = &story.decided {
            self.text("shiftgate.route", &decided.route.name);
            self.text("shiftgate.decision.backend", &decided.backend.name);
            self.text("shiftgate.decision.reason", decided.reason.as_str());
            self.known_double("shiftgate.decision.bucket", decided.bucket);
            self.known_double("shiftgate.percent", decided.percent);
        }
        self.text("shiftgate.reason", story.reason.as_str());
        self.int("shiftgate.generation", story.generation);
        self.known_text("shiftgate.backend", story.backend.as_ref().map(|peer| peer.name.as_str()));
        let overhead = story.overhead.first_byte.unwrap_or(story.overhead.total);
        self.int("shiftgate.overhead_us", u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX));
        self.known_double("shiftgate.cost_usd", story.cost_usd);
        self.events_of_request(story);
        self.fault(story.fault);
    }

    fn client(&mut self, story: &Story, attempt: &Attempt, place: usize) {
        self.begin(story, attempt.span, Some(story.span), CLIENT);
        self.times(story, attempt.sent, ended(story, attempt));
        self.one.fixed32(field::FLAGS, SAMPLED | KNOWS_REMOTE);
        let method = story.method.as_str();
        match story.operation {
            Some(operation) => {
                self.name(operation.as_str(), &attempt.model);
                self.text("gen_ai.operation.name", operation.as_str());
                self.text("gen_ai.provider.name", attempt.peer.engine.as_str());
                self.gen_ai(story, attempt);
            }
            None => self.one.bytes(field::NAME, name_of(&story.method).as_bytes()),
        }
        let peer = &attempt.peer;
        let described = self.peers.get(|known| Arc::ptr_eq(known, peer), || (Arc::clone(peer), of_peer(peer)));
        self.one.raw(described);
        self.text("http.request.method", method);
        self.known_int("http.response.status_code", attempt.status.map(u64::from));
        self.known_int("http.request.resend_count", (place > 0).then_some(place as u64));
        self.text("shiftgate.leg", attempt.leg.as_str());
        self.int("shiftgate.attempt", place as u64 + 1);
        if let Some(reused) = attempt.reused {
            self.one.flag(field::ATTRIBUTE, "shiftgate.conn.reused", reused);
        }
        self.known_text("shiftgate.cancelled_by", attempt.cancelled.map(|by| by.as_str()));
        if let Some(first) = attempt.seen.first_content {
            self.event("first_chunk", story, first, &[]);
        }
        self.fault(attempt.fault);
    }

    /// What was asked of a model, and what it said. Content is not among it.
    fn gen_ai(&mut self, story: &Story, attempt: &Attempt) {
        let (params, seen) = (&story.params, &attempt.seen);
        self.known_text("gen_ai.request.model", Some(attempt.model.as_str()).filter(|model| !model.is_empty()));
        self.known_text("gen_ai.response.model", seen.told.model.as_deref());
        self.known_text("gen_ai.response.id", seen.told.id.as_deref());
        self.one.flag(field::ATTRIBUTE, "gen_ai.request.stream", params.stream);
        self.known_int("gen_ai.request.max_tokens", params.max_tokens);
        self.known_double("gen_ai.request.temperature", params.temperature);
        self.known_double("gen_ai.request.top_p", params.top_p);
        if let Some(seed) = params.seed {
            self.one.int(field::ATTRIBUTE, "gen_ai.request.seed", seed);
        }
        self.known_int("gen_ai.request.choice.count", params.choices.filter(|choices| *choices != 1));
        if !seen.told.reasons.is_empty() {
            self.one.texts(field::ATTRIBUTE, "gen_ai.response.finish_reasons", &seen.told.reasons);
        }
        let first = seen.first_content.filter(|_| params.stream);
        let waited = first.map(|first| first.saturating_duration_since(attempt.sent).as_secs_f64());
        self.known_double("gen_ai.response.time_to_first_chunk", waited);
        if let Some(usage) = seen.usage {
            self.int("gen_ai.usage.input_tokens", usage.input);
            self.int("gen_ai.usage.output_tokens", usage.output);
            self.known_int("gen_ai.usage.cache_read.input_tokens", usage.cached_input);
            self.known_int("gen_ai.usage.reasoning.output_tokens", usage.reasoning);
        }
    }

    /// `failover`, `replay`, `breaker_open`, `client_gone`: with at most four attempts there are at most eight.
    fn events_of_request(&mut self, story: &Story) {
        for pair in story.attempts.windows(2) {
            let [before, next] = pair else { continue };
            let why = before.fault.map(Fault::as_str);
            let all = [
                ("shiftgate.from", before.peer.name.as_str()),
                ("shiftgate.to", next.peer.name.as_str()),
                ("error.type", why.as_deref().unwrap_or_default()),
            ];
            let known = all.get(..if why.is_some() { 3 } else { 2 }).unwrap_or_default();
            self.event(if next.is_replay { "replay" } else { "failover" }, story, next.sent, known);
        }
        for attempt in story.attempts.iter().filter(|attempt| attempt.opened_breaker) {
            let backend = [("shiftgate.backend", attempt.peer.name.as_str())];
            self.event("breaker_open", story, ended(story, attempt), &backend);
        }
        if story.fault == Some(Fault::ClientGone) {
            self.event("client_gone", story, story.ended, &[]);
        }
    }
}

fn ended(story: &Story, attempt: &Attempt) -> Instant {
    attempt.ended.unwrap_or(story.ended)
}

fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn version(version: http::Version) -> Option<&'static str> {
    match version {
        http::Version::HTTP_10 => Some("1.0"),
        http::Version::HTTP_11 => Some("1.1"),
        http::Version::HTTP_2 => Some("2"),
        _ => None,
    }
}
