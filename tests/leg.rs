//! One leg without a proxy and without a client: planned, sent, replayed, held, collected into bounded memory, judged.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Request};
use shiftgate::api::backend::Target;
use shiftgate::api::config::{self, Secrets};
use shiftgate::api::exchange::{Capture, Inbound, InboundBody, LegError, Plan, Room, collect, open};
use shiftgate::api::health::Sample;
use shiftgate::api::model::Fault;
use shiftgate::api::outcome::{Blame, Ending, LegEnd, LegKind, OtherAnswer, Role};
use shiftgate::api::sim::{self, Behaviour, Fault as SimFault, Sim, SimConfig, Wire};
use shiftgate::api::stats::Gauge;
use shiftgate::api::wire::endpoint::Endpoint;

const PATH: &str = "/v1/chat/completions";

/// The candidate of a file, behind this URL.
fn target(url: &str) -> Arc<Target> {
    let text = format!(
        "[rollout]\nname = \"n\"\nbaseline = \"openai\"\npercent = {{ qwen = 100 }}\n[backend.openai]\nengine = \"openai\"\n\
         url = \"http://127.0.0.1:9/v1\"\napi_key = \"client\"\n[backend.qwen]\nengine = \"vllm\"\nurl = \"{url}\"\n\
         api_key = \"none\"\nmodels = {{ \"*\" = \"qwen-served\" }}\nfamily = \"qwen3\"\n\
         timeout = {{ ttft = \"300ms\", idle = \"300ms\", total = \"600ms\" }}\n"
    );
    let config = config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Required, &|_| None).unwrap();
    Arc::new(Target::prepare(&config.backends[1], None, Arc::default()).unwrap())
}

async fn qwen(behaviour: Behaviour) -> Sim {
    sim::start(SimConfig::new(Wire::Vllm).model("qwen-served"), behaviour).await.unwrap()
}

/// Failure of the server.
#[derive(Debug, Clone)]
enum Ill {
    Status(u16),
    Fault(SimFault),
}

fn failing(fault: Ill) -> Behaviour {
    match fault {
        Ill::Status(status) => Behaviour { status: Some((status, None)), ..Behaviour::default() },
        Ill::Fault(fault) => Behaviour { fault, ..Behaviour::default() },
    }
}

fn chat(is_stream: bool) -> Arc<Inbound> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = http::Uri::from_static(PATH);
    head.headers.insert("content-type", HeaderValue::from_static("application/json"));
    let body = format!(
        "{{\"model\":\"gpt-4o\",\"stream\":{is_stream},\"max_completion_tokens\":9,\
         \"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
    );
    let body = InboundBody::of(&head.method, body.into());
    Arc::new(Inbound::new(head, Endpoint::of(&Method::POST, PATH), body))
}

/// Runs one leg to its end, into at most `max` bytes; the room has to be given back.
async fn run(target: &Arc<Target>, inbound: &Arc<Inbound>, max: u64) -> (Result<Capture, LegError>, LegEnd) {
    let mut plan = Plan::new(inbound, target, Role::Candidate).unwrap();
    let gauge = Gauge::default();
    let mut room = Room::of(&gauge, max);
    let mut trail = plan.trail(LegKind::Probe);
    let captured = match open(&plan, None, Instant::now(), &mut room, &mut trail).await {
        Ok(opened) => collect(opened, max, &mut room, &mut trail).await,
        Err(error) => Err(error),
    };
    let ending = match &captured {
        Ok(capture) => capture.ending,
        Err(error) => Ending::Missed(error.miss(inbound.is_stream(), trail.facts.first_content.is_some())),
    };
    drop(room);
    assert_eq!(gauge.get(), 0, "the room is given back");
    (captured, trail.end(ending, OtherAnswer::Differs, Instant::now()))
}

#[tokio::test]
async fn a_leg_is_translated_both_ways_and_collected() {
    for is_stream in [false, true] {
        let sim = qwen(Behaviour::default()).await;
        let (captured, leg) = run(&target(&sim.url()), &chat(is_stream), 1 << 20).await;
        let capture = captured.unwrap();
        let sent = String::from_utf8(sim.received()[0].body.to_vec()).unwrap();
        assert!(sent.contains("\"max_tokens\":9") && sent.contains("qwen-served"), "{sent}");
        let text = String::from_utf8(capture.body.to_vec()).unwrap();
        assert!(text.contains("\"model\":\"gpt-4o\"") && !text.contains("qwen-served"), "{text}");
        assert_eq!(text.ends_with("data: [DONE]\n\n"), is_stream, "{text}");
        assert_eq!((capture.ending, leg.verdict.sample), (Ending::Complete, Some(Sample::Good)));
        assert!(leg.verdict.is_complete && leg.verdict.blame.is_none() && leg.attempts.len() == 1);
        assert!(leg.facts.usage.is_some(), "the tokens are known, shown or not");
    }
}

#[tokio::test]
async fn a_capture_is_bounded() {
    for is_stream in [false, true] {
        let sim = qwen(Behaviour::default()).await;
        let (captured, leg) = run(&target(&sim.url()), &chat(is_stream), 64).await;
        assert!(captured.is_err(), "{captured:?}");
        assert!(!leg.verdict.is_complete);
    }
}

#[tokio::test]
async fn a_leg_that_hangs_or_breaks_is_the_backends_fault() {
    for (fault, is_stream, expected) in [
        (Ill::Fault(SimFault::HangBeforeHead), true, Fault::TtftTimeout),
        (Ill::Fault(SimFault::HangBeforeHead), false, Fault::Deadline),
        (Ill::Status(500), false, Fault::Status(500)),
        (Ill::Status(429), false, Fault::Status(429)),
        (Ill::Fault(SimFault::CutAfterBytes(300)), false, Fault::UpstreamReset),
        (Ill::Fault(SimFault::ResetBeforeHead), true, Fault::UpstreamReset),
        (Ill::Fault(SimFault::ErrorEventFirst), true, Fault::SseError),
    ] {
        let sim = qwen(failing(fault.clone())).await;
        let (captured, leg) = run(&target(&sim.url()), &chat(is_stream), 1 << 20).await;
        assert!(captured.is_err(), "{fault:?}: {captured:?}");
        assert_eq!(leg.attempts[0].fault, Some(expected), "{fault:?}");
        assert_eq!(leg.verdict.blame, Some(Blame::Backend), "{fault:?}");
        let is_busy = expected == Fault::Status(429);
        assert_eq!(leg.verdict.cool_down.is_some(), is_busy, "{fault:?}");
        assert_eq!(leg.verdict.sample, (!is_busy).then_some(Sample::Bad), "{fault:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replayed_once() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const ANSWER: &str = "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"qwen-served\",\"choices\":[{\
        \"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    // Answers once on each connection, and closes it when the next request has come.
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { panic!("the listener ended") };
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                if stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                    let answer = format!("{head} {}\r\n\r\n{ANSWER}", ANSWER.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    drop(stream.read(&mut buffer).await);
                }
            });
        }
    });
    let target = target(&url);
    let (first, leg) = run(&target, &chat(false), 1 << 20).await;
    assert!(first.is_ok() && leg.attempts.len() == 1, "{first:?}");
    let (second, leg) = run(&target, &chat(false), 1 << 20).await;
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(leg.attempts.iter().map(|attempt| attempt.is_replay).collect::<Vec<_>>(), [false, true]);
    assert_eq!((leg.attempts[0].fault, leg.attempts[0].is_reused), (Some(Fault::UpstreamReset), Some(true)));
    assert!(leg.verdict.is_complete);
}
