//! A served request, its copies and their comparison in one trace.

use shiftgate::api::sim::{Behaviour, Sim};

use crate::receiver::Receiver;
use crate::shape::*;
use crate::span::*;
use crate::support::*;

const INTERNAL: i64 = 1;

/// A file at 0 % that copies every request to the candidate, and asks the baseline twice.
pub(crate) fn copied(openai: &Sim, qwen: &Sim, url: &str, more: &str) -> String {
    let shadow = "[shadow]\npercent = 100\nto = \"qwen\"\nnoise_percent = 100\n[rollout]\n";
    traced(openai, qwen, url, more).replace("qwen = 100.0", "qwen = 0.0").replace("[rollout]\n", shadow)
}

/// Checks the trace of a copied stream: the served leg, the two copies, the comparison.
pub(crate) fn pair_of_one_stream(spans: &[Span]) {
    let server = spans.iter().find(|span| span.kind == SERVER).unwrap();
    let leg = |kind: &str| {
        let found = spans.iter().find(|span| span.kind == CLIENT && span.get("shiftgate.leg") == kind);
        found.unwrap_or_else(|| panic!("no {kind} in {spans:#?}"))
    };
    let (served, shadow, noise) = (leg("served"), leg("shadow"), leg("noise"));
    for (span, backend) in [(served, "openai"), (shadow, "qwen"), (noise, "openai")] {
        assert_eq!((&span.parent, span.get("shiftgate.backend")), (&server.span_id, &backend.into()));
        assert_eq!(span.get("http.response.status_code"), 200);
        assert!(span.get("gen_ai.response.time_to_first_chunk").as_f64().unwrap() > 0.0, "{span:#?}");
    }
    let compare = spans.iter().find(|span| span.name == "shiftgate.compare").unwrap();
    assert_eq!((compare.kind, &compare.parent, compare.links), (INTERNAL, &server.span_id, 2));
    assert_eq!(compare.get("shiftgate.compare.agreement").as_f64(), Some(1.0));
    assert_eq!(
        (compare.get("shiftgate.compare.kind"), compare.get("shiftgate.backend")),
        (&"text".into(), &"qwen".into())
    );
    let agreement =
        compare.events.iter().find(|event| event.attributes["gen_ai.evaluation.name"] == "agreement").unwrap();
    assert_eq!(agreement.name, "gen_ai.evaluation.result");
    assert_eq!(agreement.attributes["gen_ai.evaluation.score.value"].as_f64(), Some(1.0));
    assert_eq!(agreement.attributes["gen_ai.evaluation.score.label"], "text");
    for name in ["shiftgate.compare.exact", "shiftgate.compare.length_ratio", "shiftgate.compare.ttft_ratio"] {
        assert!(compare.get(name).is_number(), "{name}: {compare:#?}");
    }
    assert!(served.end <= server.end && server.end <= compare.start, "the comparison does not stretch the request");
}

#[tokio::test]
async fn a_copied_request_is_traced_though_nothing_is_sampled() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&copied(&openai, &qwen, &receiver.grpc(), "sample = 0.0"), &[]).await;
    let answer = ask(&running, &chat("prompt-canary", true), "").await;
    let id = answer.header("x-shiftgate-trace-id").unwrap().to_owned();
    let spans = receiver.trace(&id, 5).await;
    pair_of_one_stream(&spans);
    assert!(!format!("{spans:?}").contains("canary"));
    finish(running).await;
    assert_eq!(receiver.spans().len(), 5);
}

#[tokio::test]
async fn an_application_that_does_not_sample_has_no_trace_of_its_copies() {
    let receiver = Receiver::start().await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch_traced(&copied(&openai, &qwen, &receiver.grpc(), ""), &[]).await;
    assert_eq!(ask(&running, &chat("x", true), &traceparent(TRACE, false)).await.status, 200);
    eventually(|| qwen.requests() == 1 && openai.requests() == 2).await;
    finish(running).await;
    assert_eq!(receiver.spans().len(), 0);
}
