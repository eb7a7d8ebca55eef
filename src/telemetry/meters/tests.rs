//! Stories by hand, and what is measured of them.

use std::time::{Duration, Instant, SystemTime};

use http::Version;

use super::*;
use crate::model::{Cause, End, Engine, Fault, Reason, SpanId, TraceContext};
use crate::stats::Stats;
use crate::telemetry::story::{CancelledBy, Clock, Leg, Overhead, Params};
use crate::wire::answer_facts::{AnswerFacts, Usage};
use crate::wire::pace::Pace;

fn peer(name: &str) -> Arc<Peer> {
    Arc::new(Peer { name: name.to_owned(), engine: Engine::Vllm, host: "10.0.0.7".to_owned(), port: 8000 })
}

fn attempt(peer: &Arc<Peer>, sent: Instant, model: &str) -> Attempt {
    let mut seen = AnswerFacts::default();
    seen.told.model = Some(format!("{model}-0001"));
    seen.first_content = Some(sent + Duration::from_millis(30));
    seen.usage = Some(Usage { input: 12, output: 5, ..Usage::default() });
    let mut pace = Pace::default();
    for millis in [30, 40, 55] {
        pace.chunk(sent + Duration::from_millis(millis));
    }
    seen.pace = Some(Box::new(pace));
    Attempt {
        peer: Arc::clone(peer),
        leg: Leg::Served,
        span: SpanId::new(3),
        sent,
        head: Some(sent + Duration::from_millis(20)),
        ended: Some(sent + Duration::from_millis(60)),
        is_replay: false,
        reused: Some(true),
        status: Some(200),
        model: model.to_owned(),
        seen,
        fault: None,
        cancelled: None,
        opened_breaker: false,
    }
}

fn story(attempts: Vec<Attempt>) -> Story {
    let began = attempts.first().map_or_else(Instant::now, |attempt| attempt.sent);
    Story {
        clock: Clock { began, wall: SystemTime::UNIX_EPOCH },
        ended: began + Duration::from_millis(70),
        trace: TraceContext::begin(42),
        span: SpanId::new(2),
        generation: 1,
        method: Method::POST,
        template: "/v1/chat/completions",
        path: String::new(),
        version: Version::HTTP_11,
        operation: Some(Operation::Chat),
        params: Params { stream: true, ..Params::default() },
        decided: None,
        backend: attempts.last().map(|attempt| Arc::clone(&attempt.peer)),
        attempts,
        reason: Reason::Split,
        status: Some(200),
        end: End::Complete,
        fault: None,
        overhead: Overhead {
            request: Some(Duration::from_micros(12)),
            first_byte: None,
            total: Duration::from_micros(90),
        },
        cost_usd: None,
    }
}

fn value<'a>(labels: &'a [(&'static str, String)], name: &str) -> &'a str {
    &labels.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {labels:?}")).1
}

#[test]
fn a_streamed_call_is_measured_in_every_way() {
    let meters = Meters::default();
    let sent = Instant::now();
    meters.tell(&story(vec![attempt(&peer("qwen"), sent, "qwen3")]), true);
    let calls = meters.calls();
    let (labels, duration) = &calls.duration[0];
    let expected = [
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "vllm"),
        ("gen_ai_request_model", "qwen3"),
        ("gen_ai_response_model", "qwen3-0001"),
        ("server_address", "10.0.0.7"),
        ("server_port", "8000"),
        ("error_type", ""),
        ("backend", "qwen"),
        ("leg", "served"),
    ];
    assert_eq!(*labels, expected.map(|(name, value)| (name, value.to_owned())));
    assert!((duration.sum - 0.06).abs() < 1e-9);
    let exemplar = duration.exemplars.iter().flatten().next().unwrap();
    assert_eq!(exemplar.trace, TraceContext::begin(42).trace);
    assert_eq!(exemplar.at, SystemTime::UNIX_EPOCH + Duration::from_millis(70));
    assert!((calls.first_chunk[0].1.sum - 0.03).abs() < 1e-9);
    assert_eq!((calls.per_chunk[0].1.count(), calls.per_chunk[0].0.len()), (2, 9));
    let tokens: Vec<_> = calls.tokens.iter().map(|(of, set)| (value(of, "gen_ai_token_type"), set.sum)).collect();
    assert_eq!(tokens, [("input", 12.0), ("output", 5.0)]);
    let (labels, request) = &meters.requests()[0];
    assert_eq!(
        (value(labels, "http_route"), value(labels, "http_response_status_code")),
        ("/v1/chat/completions", "200")
    );
    assert!((request.sum - 0.07).abs() < 1e-9);
    let phases: Vec<_> =
        meters.overhead().iter().map(|(of, set)| (value(of, "phase").to_owned(), set.count())).collect();
    assert_eq!(phases, [("request".to_owned(), 1), ("first_byte".to_owned(), 0), ("total".to_owned(), 1)]);
}

#[test]
fn what_was_not_streamed_or_not_asked_of_a_model_has_no_chunks() {
    let meters = Meters::default();
    let sent = Instant::now();
    let mut whole = story(vec![attempt(&peer("qwen"), sent, "qwen3")]);
    whole.params.stream = false;
    meters.tell(&whole, false);
    let calls = meters.calls();
    assert_eq!(
        (calls.duration.len(), calls.first_chunk.len(), calls.per_chunk.len(), calls.tokens.len()),
        (1, 0, 0, 2)
    );
    assert!(calls.duration[0].1.exemplars.is_empty(), "it was not traced");
    let meters = Meters::default();
    let mut other = story(vec![attempt(&peer("openai"), sent, "")]);
    other.operation = None;
    meters.tell(&other, false);
    assert_eq!((meters.calls().duration.len(), meters.requests().len()), (0, 1));
}

#[test]
fn a_failover_is_two_calls_and_one_retry() {
    let stats = Stats::default();
    let (qwen, openai) = (stats.backend("qwen"), stats.backend("openai"));
    let sent = Instant::now();
    let mut failed = attempt(&peer("qwen"), sent, "qwen3");
    (failed.status, failed.seen, failed.fault) = (None, AnswerFacts::default(), Some(Fault::TtftTimeout));
    failed.cancelled = Some(CancelledBy::Deadline);
    let replay = Attempt { is_replay: true, ..attempt(&peer("openai"), sent, "gpt-4o") };
    let mut told = story(vec![failed, attempt(&peer("openai"), sent, "gpt-4o"), replay]);
    told.reason = Reason::Failover(Cause::Timeout);
    stats.begin(&told.method);
    let active = || stats.meters.active().find(|(method, _)| *method == "POST").unwrap().1;
    assert_eq!(active(), 1);
    stats.tell(&told, false);
    assert_eq!(active(), 0);
    let counted = |name: &str, stats: Vec<(&str, u64)>| {
        stats.into_iter().filter(|(_, count)| *count > 0).map(|(word, _)| format!("{name} {word}")).collect::<Vec<_>>()
    };
    assert_eq!(counted("qwen", qwen.retries().collect()), ["qwen timeout"]);
    assert_eq!(counted("openai", openai.retries().collect()), ["openai replay"]);
    assert_eq!(counted("qwen", qwen.cancellations().collect()), ["qwen deadline"]);
    let calls = stats.meters.calls();
    let told: Vec<_> = calls
        .duration
        .iter()
        .map(|(of, set)| {
            (value(of, "backend"), value(of, "gen_ai_request_model"), value(of, "error_type"), set.count())
        })
        .collect();
    // No backend has answered to the first one's model yet.
    assert_eq!(told, [("openai", "gpt-4o", "", 2), ("qwen", "other", "ttft_timeout", 1)]);
}

#[test]
fn however_wild_the_requests_the_series_are_few_and_nothing_is_lost() {
    let meters = Meters::default();
    let sent = Instant::now();
    let peers = ["a", "b", "c"].map(peer);
    for n in 0..3000_u16 {
        let mut wild = attempt(&peers[usize::from(n % 3)], sent, &format!("model-{n}"));
        wild.fault = Some(Fault::Status(n));
        wild.seen.told.model = Some(format!("answered-{n}"));
        let mut told = story(vec![wild]);
        (told.status, told.fault) = (Some(n), Some(Fault::Status(n)));
        told.method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
        meters.tell(&told, false);
    }
    let (calls, requests) = (meters.calls().duration, meters.requests());
    assert!(calls.len() <= sets::MAX_SETS + 2 * sets::MORE_SETS, "{}", calls.len());
    assert!(requests.len() <= sets::MAX_SETS + 2 * sets::MORE_SETS, "{}", requests.len());
    let total = |series: &Series| series.iter().map(|(_, set)| set.count()).sum::<u64>();
    assert_eq!((total(&calls), total(&requests)), (3000, 3000));
    let models: std::collections::BTreeSet<_> = calls.iter().map(|(of, _)| value(of, "gen_ai_request_model")).collect();
    assert_eq!(models.len(), 65, "64 and other");
    let gone = peer("gone");
    meters.prune([&peers[0], &gone].into_iter());
    let left: std::collections::BTreeSet<_> =
        meters.calls().duration.iter().map(|(of, _)| value(of, "backend").to_owned()).collect();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), ["a"]);
}
