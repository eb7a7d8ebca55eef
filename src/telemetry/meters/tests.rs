//! Series of hand-made outcomes.

use std::time::{Duration, Instant, SystemTime};

use http::Version;

use super::*;
use crate::model::{CancelledBy, Cause, End, Engine, Fault, Reason, SpanId, TraceContext};
use crate::outcome::{Clock, Ending, LegKind, Miss, MissKind, OtherAnswer, Overhead, Params, Role, judge};
use crate::stats::Stats;
use crate::telemetry::Sinks;
use crate::translate::answer::Notes;
use crate::wire::answer_facts::{AnswerFacts, Usage};
use crate::wire::pace::Pace;

fn backend(name: &str) -> Arc<BackendLabels> {
    Arc::new(BackendLabels { name: name.to_owned(), engine: Engine::Vllm, host: "10.0.0.7".to_owned(), port: 8000 })
}

fn attempt(sent_at: Instant) -> Attempt {
    Attempt {
        span: SpanId::new(3),
        sent_at,
        head_at: Some(sent_at + Duration::from_millis(20)),
        ended_at: sent_at + Duration::from_millis(60),
        is_replay: false,
        is_reused: Some(true),
        status: Some(200),
        fault: None,
        cancelled: None,
    }
}

/// A leg with one good attempt.
fn leg(backend: &Arc<BackendLabels>, sent_at: Instant, model: &str) -> LegEnd {
    let mut facts = AnswerFacts::default();
    facts.told.model = Some(format!("{model}-0001"));
    facts.first_content = Some(sent_at + Duration::from_millis(30));
    facts.usage =
        Some(Usage { input: 12, cached_input: Some(8), cache_written: Some(u64::MAX), output: 5, reasoning: Some(2) });
    let mut pace = Pace::default();
    for millis in [30, 40, 55] {
        pace.chunk(sent_at + Duration::from_millis(millis));
    }
    facts.pace = Some(Box::new(pace));
    LegEnd {
        kind: LegKind::Served,
        backend: Arc::clone(backend),
        stats: Arc::default(),
        role: Role::Candidate,
        model: model.to_owned(),
        attempts: vec![attempt(sent_at)],
        facts,
        notes: Notes::default(),
        ledger: None,
        waited: Duration::ZERO,
        ending: Ending::Complete,
        verdict: judge(Role::Candidate, Ending::Complete, Some(200), false, OtherAnswer::NotAsked),
        opened_breaker: false,
        was_passed_on: true,
    }
}

fn outcome(legs: Vec<LegEnd>) -> Outcome {
    let began_at = legs.first().and_then(LegEnd::sent_at).unwrap_or_else(Instant::now);
    Outcome {
        clock: Clock { began_at, wall: SystemTime::UNIX_EPOCH },
        ended_at: began_at + Duration::from_millis(70),
        trace: TraceContext::begin(42),
        trace_state: String::new(),
        span: SpanId::new(2),
        generation: 1,
        method: Method::POST,
        template: "/v1/chat/completions",
        path: String::new(),
        version: Version::HTTP_11,
        operation: Some(Operation::Chat),
        params: Params { stream: true, ..Params::default() },
        decided: None,
        backend: legs.last().map(|leg| Arc::clone(&leg.backend)),
        legs,
        reason: Some(Reason::Split),
        status: Some(200),
        end: End::Complete,
        fault: None,
        overhead: Overhead {
            request: Some(Duration::from_micros(12)),
            first_byte: None,
            total: Duration::from_micros(90),
        },
        cost_usd: None,
        residency: None,
        tripped: None,
        is_copied: false,
        is_early: false,
    }
}

fn value<'a>(labels: &'a [(&'static str, String)], name: &str) -> &'a str {
    &labels.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name} in {labels:?}")).1
}

#[test]
fn a_streamed_call_is_measured_in_every_way() {
    let meters = Meters::default();
    let sent = Instant::now();
    meters.ended(&outcome(vec![leg(&backend("qwen"), sent, "qwen3")]), true);
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
    for (series, expected) in calls.usage.iter().zip([12, 5, 8, 12, 2]) {
        let [(labels, count)] = series.as_slice() else { panic!("{series:?}") };
        assert_eq!((value(labels, "gen_ai_token_modality"), *count), ("unknown", expected));
    }
    assert!(calls.embeddings_duration.is_empty() && calls.embeddings_input.is_empty());
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
    let mut whole = outcome(vec![leg(&backend("qwen"), sent, "qwen3")]);
    whole.params.stream = false;
    meters.ended(&whole, false);
    let calls = meters.calls();
    assert_eq!(
        (calls.duration.len(), calls.first_chunk.len(), calls.per_chunk.len(), calls.tokens.len()),
        (1, 0, 0, 2)
    );
    assert!(calls.duration[0].1.exemplars.is_empty(), "it was not traced");
    let meters = Meters::default();
    let mut other = outcome(vec![leg(&backend("openai"), sent, "")]);
    other.operation = None;
    meters.ended(&other, false);
    assert_eq!((meters.calls().duration.len(), meters.requests().len()), (0, 1));
}

#[test]
fn embeddings_are_a_metric_of_their_own() {
    let meters = Meters::default();
    let mut embeddings = outcome(vec![leg(&backend("openai"), Instant::now(), "text-embedding-3-small")]);
    (embeddings.operation, embeddings.params.stream) = (Some(Operation::Embeddings), false);
    meters.ended(&embeddings, false);
    let calls = meters.calls();
    assert!(calls.duration.is_empty() && calls.usage.iter().all(Vec::is_empty), "{calls:?}");
    assert_eq!((calls.embeddings_duration.len(), calls.tokens.len()), (1, 2));
    let (labels, input) = &calls.embeddings_input[0];
    assert_eq!((value(labels, "gen_ai_operation_name"), labels.len(), input.sum), ("embeddings", 9, 12.0));
}

#[test]
fn a_call_without_a_count_is_counted_as_zero() {
    let meters = Meters::default();
    let mut failed = leg(&backend("qwen"), Instant::now(), "qwen3");
    failed.facts = AnswerFacts::default();
    meters.ended(&outcome(vec![failed]), false);
    let calls = meters.calls();
    let counts: Vec<Vec<u64>> =
        calls.usage.iter().map(|series| series.iter().map(|(_, count)| *count).collect()).collect();
    assert_eq!(counts, [[0], [0], [0], [0], [0]]);
    assert!(calls.tokens.is_empty());
}

#[test]
fn a_failover_is_two_calls_and_one_retry() {
    let (stats, meters) = (Arc::new(Stats::default()), Arc::new(Meters::default()));
    let sinks = Sinks::new(Arc::clone(&stats), Arc::clone(&meters), None);
    let (qwen, openai) = (stats.backend("qwen"), stats.backend("openai"));
    let sent = Instant::now();
    let mut failed = leg(&backend("qwen"), sent, "qwen3");
    failed.stats = Arc::clone(&qwen);
    failed.facts = AnswerFacts::default();
    failed.ending = Ending::Missed(Miss { fault: Fault::TtftTimeout, kind: MissKind::Failed });
    failed.verdict = judge(Role::Candidate, failed.ending, None, false, OtherAnswer::Differs);
    failed.was_passed_on = false;
    failed.attempts[0].status = None;
    failed.attempts[0].fault = Some(Fault::TtftTimeout);
    failed.attempts[0].cancelled = Some(CancelledBy::Deadline);
    let mut answered = leg(&backend("openai"), sent, "gpt-4o");
    answered.stats = Arc::clone(&openai);
    answered.attempts.push(Attempt { is_replay: true, ..attempt(sent) });
    sinks.began(&Method::POST);
    let active = || meters.active().find(|(method, _)| *method == "POST").unwrap().1;
    assert_eq!(active(), 1);
    sinks.leg_ended(&failed, "t");
    sinks.failed_over(&failed, Cause::Timeout);
    sinks.leg_ended(&answered, "t");
    let mut told = outcome(vec![failed, answered]);
    told.reason = Some(Reason::Failover(Cause::Timeout));
    sinks.ended(&mut told, &crate::config::Telemetry::default(), false);
    assert_eq!(active(), 0);
    assert_eq!((qwen.errors.get(), qwen.failovers.get(), qwen.served.get()), (1, 1, 0));
    assert_eq!((openai.errors.get(), openai.failovers.get(), openai.served.get()), (0, 0, 1));
    assert_eq!(stats.ended()["complete"], 1);
    let counted = |name: &str, stats: Vec<(&str, u64)>| {
        stats.into_iter().filter(|(_, count)| *count > 0).map(|(word, _)| format!("{name} {word}")).collect::<Vec<_>>()
    };
    assert_eq!(counted("qwen", qwen.retries().collect()), ["qwen timeout"]);
    assert_eq!(counted("openai", openai.retries().collect()), ["openai replay"]);
    assert_eq!(counted("qwen", qwen.cancellations().collect()), ["qwen deadline"]);
    let calls = meters.calls();
    let told: Vec<_> = calls
        .duration
        .iter()
        .map(|(of, set)| {
            (value(of, "backend"), value(of, "gen_ai_request_model"), value(of, "error_type"), set.count())
        })
        .collect();
    // No backend has answered to the first leg's model yet; an answer's model belongs to the last attempt of its leg.
    let expected = [("openai", "gpt-4o", "", 1), ("openai", "gpt-4o", "", 1), ("qwen", "other", "ttft_timeout", 1)];
    assert_eq!(told, expected);
}

#[test]
fn however_wild_the_requests_the_series_are_few_and_nothing_is_lost() {
    let meters = Meters::default();
    let sent = Instant::now();
    let backends = ["a", "b", "c"].map(backend);
    for n in 0..3000_u16 {
        let mut wild = leg(&backends[usize::from(n % 3)], sent, &format!("model-{n}"));
        wild.attempts[0].fault = Some(Fault::Status(n));
        wild.facts.told.model = Some(format!("answered-{n}"));
        let mut told = outcome(vec![wild]);
        (told.status, told.fault) = (Some(n), Some(Fault::Status(n)));
        told.method = Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
        meters.ended(&told, false);
    }
    let (calls, requests) = (meters.calls().duration, meters.requests());
    assert!(calls.len() <= sets::MAX_SETS + 2 * sets::MORE_SETS, "{}", calls.len());
    assert!(requests.len() <= sets::MAX_SETS + 2 * sets::MORE_SETS, "{}", requests.len());
    let total = |series: &Series| series.iter().map(|(_, set)| set.count()).sum::<u64>();
    assert_eq!((total(&calls), total(&requests)), (3000, 3000));
    let models: std::collections::BTreeSet<_> = calls.iter().map(|(of, _)| value(of, "gen_ai_request_model")).collect();
    assert_eq!(models.len(), 65, "64 and other");
    let gone = backend("gone");
    meters.prune([&backends[0], &gone].into_iter());
    let left: std::collections::BTreeSet<_> =
        meters.calls().duration.iter().map(|(of, _)| value(of, "backend").to_owned()).collect();
    assert_eq!(left.into_iter().collect::<Vec<_>>(), ["a"]);
}
