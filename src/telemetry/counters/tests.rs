//! Results of the split's requests, by route and backend.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Method, Version};

use super::*;
use crate::choose::{Body, FileOnly, Request, Salts, Shares, choose};
use crate::config::{self, Config, Secrets};
use crate::model::{End, Fault, SpanId, TraceContext};
use crate::outcome::{
    Attempt, BackendLabels, Clock, Ending, LegKind, Miss, MissKind, OtherAnswer, Overhead, Params, Role, judge,
};
use crate::translate::answer::Notes;
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::scan;

/// Counters of the backends `qwen` and `openai` on the route `default`, and the file behind them.
struct Bench {
    config: Config,
    stats: Arc<Stats>,
}

impl Bench {
    fn new() -> Self {
        let text = include_str!("../../../tests/configs/valid/minimal.toml").replace("qwen = 5", "qwen = 100");
        let config = config::parse(Path::new("x"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap();
        Self { config, stats: Arc::default() }
    }

    /// The decision about a request with this body.
    fn decided(&self, path: &str, body: &str) -> Decided {
        let scanned = scan(body.as_bytes()).unwrap();
        let endpoint = Endpoint::of(&Method::POST, path);
        let headers = HeaderMap::new();
        let request =
            Request { endpoint: &endpoint, path, query: None, headers: &headers, body: Body::Scanned(&scanned) };
        let rules = (&Salts::new(&self.config), &Arc::new(Shares::of_file(&self.config)));
        let choice = choose(&self.config, rules, &request, &FileOnly, &mut || 0).unwrap();
        let route = self.stats.route("default");
        let backend = self.config[choice.decided().0].name.clone();
        let share = route.share(&backend);
        share.decided(choice.decided().1);
        Decided { choice, route, backend: labels(&backend), share }
    }

    fn leg(&self, backend: &str, ending: Ending, status: u16) -> LegEnd {
        let now = Instant::now();
        let attempt = Attempt {
            span: SpanId::new(3),
            sent_at: now,
            head_at: None,
            ended_at: now,
            is_replay: false,
            is_reused: None,
            status: Some(status),
            fault: None,
            cancelled: None,
        };
        let role = if backend == "openai" { Role::Baseline } else { Role::Candidate };
        LegEnd {
            kind: LegKind::Served,
            backend: labels(backend),
            stats: self.stats.backend(backend),
            role,
            model: String::new(),
            attempts: vec![attempt],
            facts: AnswerFacts::default(),
            notes: Notes::default(),
            ledger: None,
            waited: Duration::ZERO,
            ending,
            verdict: judge(role, ending, Some(status), false, OtherAnswer::Differs),
            opened_breaker: false,
            was_passed_on: !matches!(ending, Ending::Missed(_)),
        }
    }

    fn end(&self, decided: Decided, legs: Vec<LegEnd>, cost_usd: Option<f64>) {
        let outcome = Outcome {
            clock: Clock { began_at: Instant::now(), wall: SystemTime::UNIX_EPOCH },
            ended_at: Instant::now(),
            trace: TraceContext::begin(42),
            trace_state: String::new(),
            span: SpanId::new(2),
            generation: 1,
            method: Method::POST,
            template: "/v1/chat/completions",
            path: String::new(),
            version: Version::HTTP_11,
            operation: None,
            params: Params::default(),
            decided: Some(decided),
            backend: legs.last().map(|leg| Arc::clone(&leg.backend)),
            legs,
            reason: None,
            status: Some(200),
            end: End::Complete,
            fault: None,
            overhead: Overhead::default(),
            cost_usd,
            residency: None,
            tripped: None,
            is_copied: false,
            is_early: false,
        };
        ended(&self.stats, &outcome);
    }

    /// Chosen, attempted, served, failed, priced and 10⁻⁹ USD.
    fn counted(&self, backend: &str) -> [u64; 6] {
        let share = self.stats.route("default").share(backend);
        let results = share.results();
        let counts = [&results.attempted, &results.served, &results.failed, &results.priced, &results.nano_usd];
        let [attempted, served, failed, priced, nano_usd] = counts.map(|count| count.get());
        [share.chosen(), attempted, served, failed, priced, nano_usd]
    }
}

fn labels(name: &str) -> Arc<BackendLabels> {
    Arc::new(BackendLabels { name: name.to_owned(), engine: crate::model::Engine::Vllm, host: String::new(), port: 80 })
}

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}"#;

#[test]
fn a_served_request_counts_with_its_cost() {
    let bench = Bench::new();
    let leg = || vec![bench.leg("qwen", Ending::Complete, 200)];
    bench.end(bench.decided(CHAT, BODY), leg(), Some(0.000_002));
    bench.end(bench.decided(CHAT, BODY), leg(), None);
    assert_eq!(bench.counted("qwen"), [2, 2, 2, 0, 1, 2_000]);
    assert_eq!(bench.counted("openai"), [0; 6]);
}

#[test]
fn a_failover_is_a_failure_of_the_one_and_no_result_of_the_other() {
    let bench = Bench::new();
    let miss = Ending::Missed(Miss { fault: Fault::TtftTimeout, kind: MissKind::Failed });
    let legs = vec![bench.leg("qwen", miss, 200), bench.leg("openai", Ending::Complete, 200)];
    bench.end(bench.decided(CHAT, BODY), legs, Some(0.5));
    assert_eq!(bench.counted("qwen"), [1, 1, 0, 1, 0, 0], "the cost is the other's");
    assert_eq!(bench.counted("openai"), [0; 6]);
    assert_eq!(bench.stats.backend("openai").priced.get(), 1);
}

#[test]
fn an_answer_that_breaks_off_has_failed_and_a_client_that_leaves_has_not() {
    let bench = Bench::new();
    bench.end(bench.decided(CHAT, BODY), vec![bench.leg("qwen", Ending::Broken, 200)], Some(0.5));
    assert_eq!(bench.counted("qwen"), [1, 1, 0, 1, 0, 0]);
    bench.end(bench.decided(CHAT, BODY), vec![bench.leg("qwen", Ending::ClientGone, 200)], None);
    assert_eq!(bench.counted("qwen"), [2, 2, 1, 1, 0, 0]);
    // The application's own mistake is served.
    bench.end(bench.decided(CHAT, BODY), vec![bench.leg("qwen", Ending::Complete, 400)], None);
    assert_eq!(bench.counted("qwen"), [3, 3, 2, 1, 0, 0]);
}

#[test]
fn requests_that_the_split_did_not_send_there_are_no_sample() {
    let bench = Bench::new();
    // The endpoint is pinned to the baseline.
    let pinned = bench.decided("/v1/audio/speech", "{}");
    assert_eq!(&pinned.backend.name, "openai");
    bench.end(pinned, vec![bench.leg("openai", Ending::Complete, 200)], Some(0.5));
    assert_eq!(bench.counted("openai"), [0; 6]);
    // The split chose `qwen`, which was not available.
    bench.end(bench.decided(CHAT, BODY), vec![bench.leg("openai", Ending::Complete, 200)], Some(0.5));
    // Nothing was sent.
    let mut unsent = bench.leg("qwen", Ending::Missed(Miss { fault: Fault::Shed, kind: MissKind::Process }), 0);
    unsent.attempts.clear();
    bench.end(bench.decided(CHAT, BODY), vec![unsent], None);
    bench.end(bench.decided(CHAT, BODY), Vec::new(), None);
    assert_eq!((bench.counted("qwen"), bench.counted("openai")), ([3, 0, 0, 0, 0, 0], [0; 6]));
}
