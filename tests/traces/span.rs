//! One form of a span for the tests, from the in-process receiver or from Jaeger.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1;
use serde_json::{Value, json};

pub(crate) type Attributes = BTreeMap<String, Value>;

pub(crate) const SERVER: i64 = 2;
pub(crate) const CLIENT: i64 = 3;
pub(crate) const ERROR: i64 = 2;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Span {
    pub(crate) resource: Attributes,
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) kind: i64,
    /// Ids in lower-case hex; the parent of a root span is empty.
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent: String,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<Event>,
    pub(crate) status: i64,
    pub(crate) links: usize,
    pub(crate) flags: u64,
    pub(crate) trace_state: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) at: u64,
    pub(crate) attributes: Attributes,
}

impl Span {
    pub(crate) fn service(&self) -> &str {
        self.resource["service.name"].as_str().unwrap()
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    pub(crate) fn event(&self, name: &str) -> &Event {
        let event = self.events.iter().find(|event| event.name == name);
        event.unwrap_or_else(|| panic!("no event {name} in {self:#?}"))
    }
}

/// Returns all spans of one export.
pub(crate) fn of_request(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in &request.resource_spans {
        let resource = attributes(&of_resource.resource.as_ref().unwrap().attributes);
        for of_scope in &of_resource.scope_spans {
            let scope = of_scope.scope.as_ref().map(|scope| scope.name.clone()).unwrap_or_default();
            spans.extend(of_scope.spans.iter().map(|span| of_proto(span, &resource, &scope)));
        }
    }
    spans
}

fn of_proto(span: &v1::Span, resource: &Attributes, scope: &str) -> Span {
    let event = |event: &v1::span::Event| Event {
        name: event.name.clone(),
        at: event.time_unix_nano,
        attributes: attributes(&event.attributes),
    };
    Span {
        resource: resource.clone(),
        scope: scope.to_owned(),
        name: span.name.clone(),
        kind: i64::from(span.kind),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(event).collect(),
        status: span.status.as_ref().map_or(0, |status| i64::from(status.code)),
        links: span.links.len(),
        flags: u64::from(span.flags),
        trace_state: span.trace_state.clone(),
    }
}

/// Collects attributes; panics on a name that occurs twice.
fn attributes(pairs: &[KeyValue]) -> Attributes {
    let mut all = Attributes::new();
    for pair in pairs {
        let before = all.insert(pair.key.clone(), plain(pair.value.as_ref()));
        assert_eq!(before, None, "{} is there twice", pair.key);
    }
    all
}

fn plain(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(flag)) => json!(flag),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::ArrayValue(all)) => all.values.iter().map(|one| plain(Some(one))).collect(),
        other => panic!("no attribute is of this kind: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes an id from hex.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}
