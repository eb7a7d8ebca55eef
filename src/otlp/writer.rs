//! Writes one OTLP span at a time: the fields and attributes that all spans share.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Method;

use super::proto::Proto;
use crate::model::{Fault, SpanId};
use crate::outcome::{BackendLabels, Outcome};
use crate::telemetry::names::attribute;

/// Fields of `opentelemetry.proto.trace.v1.Span`.
pub(super) mod field {
    pub(in crate::otlp) const TRACE_ID: u8 = 1;
    pub(in crate::otlp) const SPAN_ID: u8 = 2;
    pub(in crate::otlp) const TRACE_STATE: u8 = 3;
    pub(in crate::otlp) const PARENT: u8 = 4;
    pub(in crate::otlp) const NAME: u8 = 5;
    pub(in crate::otlp) const KIND: u8 = 6;
    pub(in crate::otlp) const START: u8 = 7;
    pub(in crate::otlp) const END: u8 = 8;
    pub(in crate::otlp) const ATTRIBUTE: u8 = 9;
    pub(in crate::otlp) const EVENT: u8 = 11;
    pub(in crate::otlp) const LINK: u8 = 13;
    pub(in crate::otlp) const STATUS: u8 = 15;
    pub(in crate::otlp) const FLAGS: u8 = 16;
}

pub(super) const INTERNAL: u64 = 1;
pub(super) const SERVER: u64 = 2;
pub(super) const CLIENT: u64 = 3;
pub(super) const ERROR: u64 = 2;
/// Span flags: sampled; the parent's remoteness is known; the parent is remote.
pub(super) const SAMPLED: u32 = 1;
pub(super) const KNOWS_REMOTE: u32 = 0x100;
pub(super) const IS_REMOTE: u32 = 0x200;

thread_local! {
    pub(super) static WRITER: RefCell<Writer> = RefCell::default();
}

/// Encoder of one span at a time that reuses its memory.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) one: Proto,
    pub(super) head: Proto,
    pub(super) event: Proto,
    pub(super) scratch: String,
    pub(super) endpoints: Known<(Method, &'static str)>,
    pub(super) backends: Known<Arc<BackendLabels>>,
}

/// Cache of encoded attributes by key.
#[derive(Debug)]
pub(super) struct Known<K>(Vec<(K, Vec<u8>)>);

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Limit of cached entries; the cache is emptied there. Backends that left the file would otherwise stay.
const MAX_KNOWN: usize = 64;

impl<K> Known<K> {
    /// Returns the bytes of the entry whose key `is` the wanted one; `make` encodes a missing entry.
    pub(super) fn get(&mut self, is: impl Fn(&K) -> bool, make: impl FnOnce() -> (K, Proto)) -> &[u8] {
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

impl Writer {
    pub(super) fn finish(&mut self, to: &mut Vec<u8>) {
        self.head.clear();
        self.head.head(2, self.one.as_slice().len());
        to.extend_from_slice(self.head.as_slice());
        to.extend_from_slice(self.one.as_slice());
        self.one.clear();
    }

    pub(super) fn begin(&mut self, outcome: &Outcome, span: SpanId, parent: Option<SpanId>, kind: u64) {
        self.one.bytes(field::TRACE_ID, &outcome.trace.trace.as_u128().to_be_bytes());
        self.one.bytes(field::SPAN_ID, &span.as_u64().to_be_bytes());
        if !outcome.trace_state.is_empty() {
            self.one.bytes(field::TRACE_STATE, outcome.trace_state.as_bytes());
        }
        if let Some(parent) = parent {
            self.one.bytes(field::PARENT, &parent.as_u64().to_be_bytes());
        }
        self.one.number(field::KIND, kind);
    }

    pub(super) fn name(&mut self, what: &str, of: &str) {
        self.scratch.clear();
        for part in [what, " ", of] {
            self.scratch.push_str(part);
        }
        self.one.bytes(field::NAME, self.scratch.trim_end().as_bytes());
    }

    pub(super) fn times(&mut self, outcome: &Outcome, from: Instant, to: Instant) {
        self.one.fixed64(field::START, nanos(outcome.clock.wall_of(from)));
        self.one.fixed64(field::END, nanos(outcome.clock.wall_of(to)));
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.one.text(field::ATTRIBUTE, key, value);
    }

    pub(super) fn int(&mut self, key: &str, value: u64) {
        self.one.int(field::ATTRIBUTE, key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn known_text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    pub(super) fn known_int(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.int(key, value);
        }
    }

    pub(super) fn known_double(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.one.double(field::ATTRIBUTE, key, value);
        }
    }

    /// Adds a fault as an attribute and as the span's status.
    pub(super) fn fault(&mut self, fault: Option<Fault>) {
        if let Some(fault) = fault {
            let text = fault.as_str();
            self.text(attribute::ERROR_TYPE, &text);
            let mut status = Proto::default();
            status.bytes(2, text.as_bytes());
            status.number(3, ERROR);
            self.one.bytes(field::STATUS, status.as_slice());
        }
    }

    pub(super) fn event(&mut self, name: &str, outcome: &Outcome, at: Instant, attributes: &[(&str, &str)]) {
        self.event.fixed64(1, nanos(outcome.clock.wall_of(at)));
        self.event.bytes(2, name.as_bytes());
        for (key, value) in attributes {
            self.event.text(3, key, value);
        }
        self.one.bytes(field::EVENT, self.event.as_slice());
        self.event.clear();
    }
}

pub(super) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
