//! Regression tests: misattributed faults, tokens and time, leaked headers, false refusals, a dropped pool.

use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::candidate::{CONTENT, DONE, STOP, Then, says, stream, whole};
use crate::exposition::Page;
use crate::metrics::{page, page_when, priced};
use crate::process::Process;
use crate::reload::eventually;
use crate::support::*;

/// A stripped thought, with usage as vLLM's `continuous_usage_stats` gives it.
const THOUGHT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"}}],\
                       \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n";

/// Asks for a stream of a model that thinks.
async fn ask_for_thought(running: &Running) -> Answer {
    ask(running, &chat("x", true).replace("gpt-4o", "o3"), "").await
}

#[tokio::test]
async fn a_candidate_that_fails_after_a_stripped_thought_keeps_what_it_told() {
    for (then, fault) in [(Then::Stalls, "idle_timeout"), (Then::Cuts, "upstream_reset")] {
        let (running, _openai) = says(stream(&[THOUGHT], then), then).await;
        let answer = ask_for_thought(&running).await;
        assert_eq!(
            (answer.status, answer.header("x-shiftgate-backend")),
            (200, Some("openai")),
            "{fault}: {}",
            answer.text()
        );
        let duration = "gen_ai_client_inference_duration_seconds_count";
        let page = page_when(&running, |page| page.all(duration, &[]).len() == 2).await;
        let calls = page.samples.iter().filter(|one| one.name == duration && one.labels["backend"] == "qwen");
        assert_eq!(calls.map(|one| one.labels["error_type"].as_str()).collect::<Vec<_>>(), [fault]);
        let failed = [("backend", "qwen"), ("error_type", fault)];
        let first_chunk = "gen_ai_client_inference_time_to_first_chunk_seconds_count";
        assert_eq!(page.all(first_chunk, &failed), [1.0], "{fault}: its first content");
        let tokens = |kind| page.all("gen_ai_client_token_usage_sum", &[failed[0], ("gen_ai_token_type", kind)]);
        assert_eq!((tokens("input"), tokens("output")), (vec![7.0], vec![2.0]), "{fault}: its tokens");
    }
}

/// Least time of the sidecar's own, in seconds, that one of a few requests took up to its answer's head.
async fn least_overhead(answer: Vec<u8>, streamed: bool) -> f64 {
    let (running, _openai) = says(answer, Then::Ends).await;
    let (mut least, mut before) = (f64::INFINITY, 0.0);
    for count in 1..=5 {
        let answer =
            if streamed { ask_for_thought(&running).await } else { ask(&running, &chat("x", false), "").await };
        assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")));
        let until_head = [("phase", "first_byte")];
        let overhead = "shiftgate_overhead_duration_seconds";
        let counted = format!("{overhead}_count");
        let page = page_when(&running, |page| page.one(&counted, &until_head) == f64::from(count)).await;
        let sum = page.one(&format!("{overhead}_sum"), &until_head);
        least = f64::min(least, sum - before);
        before = sum;
    }
    least
}

#[tokio::test]
async fn translating_an_answer_is_the_sidecars_own_time() {
    /// Rewriting 1 MiB takes at least this many times as long as everything else about a request.
    const RATIO: f64 = 10.0;
    let message = |content: String| {
        serde_json::json!({"id": "1", "object": "chat.completion", "created": 1, "model": "qwen-served",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]})
        .to_string()
    };
    let tiny = least_overhead(whole(&message("x".to_owned()), ""), false).await;
    let huge = least_overhead(whole(&message("a \"line\"\n".repeat(120_000)), ""), false).await;
    assert!(huge > RATIO * tiny, "unstreamed: {huge} s for 1 MiB, {tiny} s for next to nothing");
    // Nothing of a stripped thought leaves: it is all read before the head does.
    let thought = THOUGHT.replace("hm", &"a \\\"line\\\"\\n".repeat(5_000));
    let thoughts: Vec<&str> = std::iter::repeat_n(thought.as_str(), 20).chain([CONTENT, STOP, DONE]).collect();
    let tiny = least_overhead(stream(&[THOUGHT, CONTENT, STOP, DONE], Then::Ends), true).await;
    let huge = least_overhead(stream(&thoughts, Then::Ends), true).await;
    assert!(huge > RATIO * tiny, "held: {huge} s for 1 MiB, {tiny} s for next to nothing");
}

#[tokio::test]
async fn a_candidate_named_on_an_upgrade_gets_no_cookie_and_no_openai_header() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 0.0)
        .replace("[server]", "[server]\nallow_override = true")
        .replace(&format!("{{ file = \"{}\" }}", secret_file().display()), "\"client\"");
    let running = launch(&text, false).await;
    for (named, asked, others) in [("qwen", &qwen, 0), ("openai", &openai, 1)] {
        let request = format!(
            "GET /v1/realtime?model=m HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-kept: 1\r\n\
             authorization: Bearer sk-app-canary\r\ncookie: a=1\r\nopenai-beta: realtime=v1\r\n\
             openai-organization: org-1\r\nx-shiftgate-backend: {named}\r\n\r\n"
        );
        let mut client = TcpStream::connect(running.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let answer = parse(&head);
        assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (101, Some(named)));
        let got = &asked.received()[0].headers;
        assert!(got["authorization"] == "Bearer sk-app-canary" && got["x-kept"] == "1", "{got:?}");
        for name in ["cookie", "openai-beta", "openai-organization"] {
            assert_eq!(got.get_all(name).iter().count(), others, "{name} to {named}");
        }
    }
}

/// A baseline that cannot give two choices, and a candidate that can.
async fn before_tgi(more: &str) -> (Running, Sim, Sim) {
    let tgi = sim::start(SimConfig::new(Wire::Tgi).key("sk-app-canary"), Behaviour::default()).await.unwrap();
    let (_, qwen) = pair(Behaviour::default()).await;
    let text = file(&tgi, &qwen, 100.0)
        .replace("engine = \"openai\"", "engine = \"tgi\"")
        .replace("enabled = false", "enabled = true")
        .replace("family =", &format!("{more}\nfamily ="));
    (launch(&text, false).await, tgi, qwen)
}

#[tokio::test]
async fn nothing_is_moved_to_a_baseline_that_cannot_take_it() {
    let two = chat("x", false).replace("\"stream\":false", "\"n\":2");
    for (unfit, reason) in [
        (behaviour(Fault::ResetBeforeHead), "breaker"),
        (Behaviour { status: Some((429, Some(30))), ..Behaviour::default() }, "cooldown"),
    ] {
        let (running, tgi, qwen) = before_tgi("breaker = { failures = 1 }").await;
        qwen.set(unfit);
        ask(&running, &chat("x", false), "").await;
        // What the baseline can take is moved there.
        let moved = ask(&running, &chat("x", false), "").await;
        assert_eq!((moved.status, moved.header("x-shiftgate-reason")), (200, Some(reason)));
        let by_tgi = tgi.requests();
        qwen.set(Behaviour::default());
        let answer = ask(&running, &two, "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")), "{}", answer.text());
        assert_eq!(answer.header("x-shiftgate-reason"), Some("split"));
        assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 2);
        assert_eq!(tgi.requests(), by_tgi);
        let page = page(&running).await;
        assert_eq!(page.one("shiftgate_shed_total", &[("reason", "max_in_flight")]), 0.0);
        assert_eq!(page.one("shiftgate_refused_total", &[("reason", "refused:overload")]), 0.0);
    }
}

#[tokio::test]
async fn a_candidate_that_nobody_can_stand_in_for_tells_its_own_failure() {
    let two = chat("x", false).replace("\"stream\":false", "\"n\":2");
    let (running, _tgi, qwen) = before_tgi("breaker = { failures = 1 }").await;
    qwen.set(Behaviour { status: Some((500, None)), ..Behaviour::default() });
    ask(&running, &chat("x", false), "").await;
    for asked in 2..4 {
        let answer = ask(&running, &two, "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (500, Some("qwen")), "{}", answer.text());
        assert_eq!((answer.json()["error"]["code"].as_str(), qwen.requests()), (Some("upstream_error"), asked));
    }
    let shed = page(&running).await.one("shiftgate_shed_total", &[("reason", "max_in_flight")]);
    assert_eq!(shed, 0.0);
}

/// A body that does not come.
struct Stalled;

impl http_body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[derive(Debug, Clone, Copy)]
enum Leaves {
    Closes,
    Resets,
    /// One stream of an HTTP/2 connection.
    Cancels,
}

/// Sends a request without the end of its body, waits until it is being read, and leaves.
async fn leave(listen: std::net::SocketAddr, how: Leaves, is_read: impl Future<Output = ()>) {
    let mut stream = TcpStream::connect(listen).await.unwrap();
    if matches!(how, Leaves::Cancels) {
        let (executor, io) = (hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("http://h/v1/chat/completions").body(Stalled).unwrap();
        let request = tokio::spawn(sender.send_request(request));
        is_read.await;
        request.abort();
        return drop(request.await);
    }
    let request = post("/v1/chat/completions", &chat("x", false), "");
    stream.write_all(&request[..request.len() - 1]).await.unwrap();
    is_read.await;
    if matches!(how, Leaves::Resets) {
        stream.set_zero_linger().unwrap();
    }
}

/// A sidecar in a process of its own, before a pair, with its request log on.
fn logging(runtime: &tokio::runtime::Runtime) -> (Process, [Sim; 2]) {
    let (openai, qwen) = runtime.block_on(pair(Behaviour::default()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, file(&openai, &qwen, 100.0).replace("request_log = false", "request_log = true")).unwrap();
    (Process::start(&path), [openai, qwen])
}

async fn is_reading(admin: std::net::SocketAddr) {
    let is_active = async || {
        let page = Page::read(&get(admin, "/metrics").await.text(), false);
        page.one("http_server_active_requests", &[("http_request_method", "POST")]) == 1.0
    };
    tokio::time::timeout(PATIENCE, async { while !is_active().await {} }).await.expect("the request never begins");
}

#[track_caller]
fn assert_undecided(line: &serde_json::Value, end: &str) {
    let null = &serde_json::Value::Null;
    let told = (&line["end"], &line["reason"], &line["route"], &line["backend"]);
    assert_eq!(told, (&serde_json::json!(end), null, null, null), "{line}");
}

#[test]
fn who_leaves_while_sending_the_body_was_not_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut process, _sims) = logging(&runtime);
    let admin = process.admin.parse().unwrap();
    for how in [Leaves::Closes, Leaves::Resets, Leaves::Cancels] {
        runtime.block_on(leave(process.listen, how, is_reading(admin)));
        assert_undecided(&process.line("request"), "client_gone");
    }
    let page = Page::read(&runtime.block_on(get(admin, "/metrics")).text(), false);
    let ended = |end| page.one("shiftgate_requests_ended_total", &[("end", end)]);
    let refused = page.one("shiftgate_refused_total", &[("reason", "refused:request")]);
    assert_eq!((ended("client_gone"), ended("refused"), refused), (3.0, 0.0, 0.0));
}

#[test]
fn what_a_drain_cuts_while_the_body_comes_was_not_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut process, _sims) = logging(&runtime);
    let request = post("/v1/chat/completions", &chat("x", false), "");
    let _stream = runtime.block_on(async {
        let mut stream = TcpStream::connect(process.listen).await.unwrap();
        stream.write_all(&request[..request.len() - 1]).await.unwrap();
        is_reading(process.admin.parse().unwrap()).await;
        stream
    });
    process.signal("-TERM");
    process.line("draining");
    process.signal("-TERM");
    assert_undecided(&process.line("request"), "drained");
}

#[tokio::test]
async fn a_price_that_changes_keeps_the_connections() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0).replace("family =", "keepalive = \"10m\"\nfamily =");
    let running = launch(&text, true).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    for (generation, text) in [(2, priced(&text)), (3, text)] {
        std::fs::write(&running.file, text).unwrap();
        eventually(|| running.app.store.current().snapshot.generation == generation).await;
        assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
        assert_eq!(qwen.opened(), 1, "generation {generation}");
    }
}

#[tokio::test]
async fn a_4xx_about_one_request_is_no_sample_for_the_breaker() {
    for (status, opened) in [(400, 0), (413, 0), (415, 0), (422, 0), (401, 1), (403, 1), (404, 1), (405, 1)] {
        let (openai, qwen) = pair(Behaviour { status: Some((status, None)), ..Behaviour::default() }).await;
        let text = file(&openai, &qwen, 100.0)
            .replace("enabled = false", "enabled = true")
            .replace("family =", "breaker = { failures = 5 }\nfamily =");
        let running = launch(&text, false).await;
        for count in 1..=5 {
            // The baseline takes it, so it was the candidate's error.
            let answer = ask(&running, &chat("x", false), "").await;
            assert_eq!(
                (answer.status, answer.header("x-shiftgate-reason")),
                (200, Some("failover:status")),
                "{status}"
            );
            let errors = running.status().await["backends"][1]["errors"].as_u64();
            assert_eq!(errors, Some(count), "{status}");
        }
        let page = page(&running).await;
        let of = [("backend", "qwen")];
        assert_eq!(page.one("shiftgate_breaker_opened_total", &of), opened as f64, "{status}");
        let answer = ask(&running, &chat("x", false), "").await;
        let reason = if opened == 0 { "failover:status" } else { "breaker" };
        assert_eq!((answer.header("x-shiftgate-reason"), qwen.requests()), (Some(reason), 6 - opened), "{status}");
    }
}
