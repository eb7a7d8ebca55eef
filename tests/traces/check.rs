//! Assertions on one trace, shared by the receiver and Jaeger.

use serde_json::{Value, json};

use crate::span::*;

/// Facts about the request that the test made.
pub(crate) struct Asked {
    pub(crate) trace_id: String,
    /// The application's span.
    pub(crate) parent: String,
    /// `traceparent` that each server received.
    pub(crate) traceparents: [Option<String>; 2],
    pub(crate) ports: [u16; 2],
}

/// Checks a streamed chat that the candidate answered with 503 and the baseline completed; the candidate exported a
/// span of its own.
pub(crate) fn failed_over_stream(spans: &[Span], asked: &Asked) {
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == asked.trace_id && span.links == 0), "{spans:#?}");
    let of = |service: &str| spans.iter().filter(|span| span.service() == service).collect::<Vec<_>>();
    let ours = of("shiftgate");
    let server = ours.iter().find(|span| span.kind == SERVER).unwrap();
    let mut clients: Vec<_> = ours.iter().filter(|span| span.kind == CLIENT).collect();
    clients.sort_by_key(|span| span.get("shiftgate.attempt").as_i64());
    let [first, second] = clients[..] else { panic!("{ours:#?}") };
    of_the_process(&ours);
    assert_eq!(server.parent, asked.parent);
    assert!(clients.iter().all(|client| client.parent == server.span_id));
    of_server(server);
    of_attempt(first, "qwen", "vllm", "qwen-served", asked.ports[1]);
    of_attempt(second, "openai", "openai", "gpt-4o", asked.ports[0]);
    of_failure(first);
    of_answer(second);
    let times = [server.start, first.start, first.end, second.start, second.event("first_chunk").at, second.end];
    assert!(times.is_sorted() && second.end <= server.end, "{times:?} {}", server.end);
    let failover = server.event("failover");
    assert!((first.end..=second.start).contains(&failover.at));
    let told = json!({"shiftgate.from": "qwen", "shiftgate.to": "openai", "error.type": "503"});
    assert_eq!(json!(failover.attributes), told);
    let [openai, vllm] = &asked.traceparents;
    assert_eq!(openai, &None, "OpenAI is told of no trace");
    assert_eq!(vllm, &Some(format!("00-{}-{}-01", asked.trace_id, first.span_id)));
    let [theirs] = of("vllm")[..] else { panic!("{spans:#?}") };
    assert_eq!((theirs.name.as_str(), &theirs.parent, theirs.kind), ("llm_request", &first.span_id, SERVER));
}

fn of_the_process(ours: &[&Span]) {
    for span in ours {
        assert_eq!(span.scope, "shiftgate");
        assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(span.resource["service.instance.id"].as_str().is_some_and(|id| id.len() >= 16), "{:?}", span.resource);
        assert_eq!(span.resource, ours[0].resource);
    }
}

fn of_server(server: &Span) {
    assert_eq!((server.name.as_str(), server.status), ("POST /v1/chat/completions", 0));
    for (name, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v1/chat/completions")),
        ("url.scheme", json!("http")),
        ("url.path", json!("/v1/chat/completions")),
        ("http.response.status_code", json!(200)),
        ("network.protocol.version", json!("1.1")),
        ("error.type", Value::Null),
        ("shiftgate.route", json!("default")),
        ("shiftgate.decision.backend", json!("qwen")),
        ("shiftgate.decision.reason", json!("split")),
        ("shiftgate.percent", json!(100.0)),
        ("shiftgate.reason", json!("failover:status")),
        ("shiftgate.backend", json!("openai")),
        ("shiftgate.generation", json!(1)),
    ] {
        assert_eq!(server.get(name), &value, "{name} of {server:#?}");
    }
    assert!((0.0..1.0).contains(&server.get("shiftgate.decision.bucket").as_f64().unwrap()));
    let took = (server.end - server.start) / 1000;
    assert!((1..=took).contains(&server.get("shiftgate.overhead_us").as_u64().unwrap()));
}

fn of_attempt(client: &Span, backend: &str, engine: &str, model: &str, port: u16) {
    assert_eq!(client.name, format!("chat {model}"));
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!(engine)),
        ("gen_ai.request.model", json!(model)),
        ("gen_ai.request.stream", json!(true)),
        ("gen_ai.request.max_tokens", json!(9)),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.seed", json!(7)),
        ("gen_ai.request.choice.count", Value::Null),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(port)),
        ("http.request.method", json!("POST")),
        ("shiftgate.backend", json!(backend)),
        ("shiftgate.leg", json!("served")),
        ("shiftgate.conn.reused", json!(false)),
    ] {
        assert_eq!(client.get(name), &value, "{name} of {client:#?}");
    }
}

fn of_failure(client: &Span) {
    assert_eq!(client.status, ERROR);
    assert_eq!((client.get("http.response.status_code"), client.get("error.type")), (&json!(503), &json!("503")));
    assert_eq!((client.get("shiftgate.attempt"), client.get("http.request.resend_count")), (&json!(1), &Value::Null));
    assert_eq!(client.get("gen_ai.usage.output_tokens"), &Value::Null);
    assert!(client.events.is_empty(), "{client:#?}");
}

fn of_answer(client: &Span) {
    assert_eq!((client.status, client.get("error.type")), (0, &Value::Null));
    assert_eq!(client.get("http.response.status_code"), &json!(200));
    assert_eq!((client.get("shiftgate.attempt"), client.get("http.request.resend_count")), (&json!(2), &json!(1)));
    assert!(client.get("gen_ai.usage.input_tokens").as_u64().unwrap() > 0);
    assert_eq!(client.get("gen_ai.usage.output_tokens"), &json!(9));
    assert_eq!(client.get("gen_ai.usage.cache_read.input_tokens"), &json!(0));
    assert_eq!(client.get("gen_ai.response.finish_reasons"), &json!(["length"]));
    assert!(client.get("gen_ai.response.id").as_str().unwrap().starts_with("chatcmpl-"));
    let waited = client.get("gen_ai.response.time_to_first_chunk").as_f64().unwrap();
    let [first] = &client.events[..] else { panic!("{client:#?}") };
    #[expect(clippy::cast_precision_loss, reason = "within a microsecond")]
    let seen = (first.at - client.start) as f64 / 1e9;
    assert!(first.name == "first_chunk" && (waited - seen).abs() < 1e-6, "{waited} {seen}");
}
