//! Failover: if a candidate fails before its first content, the baseline answers and every counter agrees.

use std::time::Duration;

use crate::support::*;
use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};

/// Returns a file with failover on; `more` goes into the candidate's section.
fn failing_over(openai: &Sim, qwen: &Sim, more: &str) -> String {
    file(openai, qwen, 100.0)
        .replace("enabled = false", "enabled = true")
        .replace("timeout = { total = \"20s\" }", &format!("timeout = {{ total = \"20s\" }}\n{more}"))
}

const NO_BREAKER: &str = "breaker = { enabled = false }";

/// Returns `(errors, failovers, served)` of a backend in `/status`.
async fn counts(running: &Running, backend: usize) -> (u64, u64, u64) {
    let status = running.status().await;
    let count = |name: &str| status["backends"][backend][name].as_u64().unwrap();
    (count("errors"), count("failovers"), count("served"))
}

#[tokio::test]
async fn every_failure_before_content_is_answered_by_the_baseline() {
    let slow = "ttft = \"80ms\", total = \"100ms\"";
    for (fault, status, streams, cause) in [
        (Fault::ResetBeforeHead, None, [false, true].as_slice(), "reset"),
        (Fault::CutAfterBytes(20), None, &[false, true], "reset"),
        (Fault::CutAfterBytes(500), None, &[false], "reset"),
        (Fault::Garbage, None, &[false, true], "bad_answer"),
        (Fault::Html, None, &[false, true], "bad_answer"),
        (Fault::WrongLength, None, &[false], "reset"),
        (Fault::ErrorEventFirst, None, &[true], "error_event"),
        (Fault::HangBeforeHead, None, &[false, true], "timeout"),
        (Fault::HangAfter(1), None, &[true], "timeout"),
        (Fault::None, Some(500), &[false, true], "status"),
        (Fault::None, Some(503), &[false, true], "status"),
        (Fault::None, Some(401), &[false], "status"),
        (Fault::None, Some(404), &[false], "status"),
    ] {
        let (openai, qwen) = pair(Behaviour { status: status.map(|s| (s, None)), ..behaviour(fault) }).await;
        let mut text = failing_over(&openai, &qwen, NO_BREAKER);
        if cause == "timeout" {
            text = text.replace("total = \"20s\"", slow);
        }
        let running = launch(&text, false).await;
        for (before, stream) in streams.iter().enumerate() {
            let what = format!("{fault:?} {status:?} streamed={stream}");
            let answer = ask(&running, &chat("x", *stream), "").await;
            assert_eq!((answer.status, answer.whole), (200, true), "{what}: {}", answer.text());
            assert_eq!(answer.header("x-shiftgate-backend"), Some("openai"), "{what}");
            assert_eq!(answer.header("x-shiftgate-reason"), Some(format!("failover:{cause}").as_str()), "{what}");
            assert_eq!(answer.text().contains("[DONE]"), *stream, "{what}");
            let done = before as u64 + 1;
            assert_eq!(counts(&running, 1).await, (done, done, 0), "{what}");
            assert_eq!(counts(&running, 0).await, (0, 0, done), "{what}");
            assert_eq!(running.app.stats.ended().get("complete"), Some(&done), "{what}");
        }
        let stats = &running.app.stats;
        assert_eq!((stats.in_flight.get(), stats.body_bytes.get()), (0, 0), "{fault:?}");
        assert_eq!(running.app.store.current().targets_off_path()[1].stats.in_flight.get(), 0);
        // Each backend got its own key only.
        assert!(openai.received().iter().all(|got| got.headers["authorization"] == "Bearer sk-app-canary"));
        assert!(qwen.received().iter().all(|got| got.headers["authorization"] == "Bearer qwen-key-canary"));
    }
}

#[tokio::test]
async fn a_dead_port_and_a_name_that_is_nobodys_are_failures_to_connect() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    // A bound socket that does not listen keeps the port from other processes.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = taken.local_addr().unwrap();
    for url in [format!("http://{dead}/v1"), "http://nobody.invalid:1/v1".to_owned()] {
        let running = launch(&failing_over(&openai, &qwen, NO_BREAKER).replace(&qwen.url(), &url), false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:connect")));
    }
}

#[tokio::test]
async fn whose_fault_a_4xx_is_the_baseline_decides() {
    for (baseline, errors) in [(Some((400, None)), 0), (None, 1), (Some((500, None)), 1)] {
        let (openai, qwen) = pair(Behaviour { status: Some((400, None)), ..Behaviour::default() }).await;
        openai.set(Behaviour { status: baseline, ..Behaviour::default() });
        let running = launch(&failing_over(&openai, &qwen, ""), false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!(answer.status, baseline.map_or(200, |(status, _)| status));
        assert_eq!(answer.header("x-shiftgate-reason"), Some("failover:status"));
        assert_eq!(counts(&running, 1).await, (errors, 1, 0), "{baseline:?}");
    }
}

#[tokio::test]
async fn after_a_429_the_candidate_is_left_alone() {
    let (openai, qwen) = pair(Behaviour { status: Some((429, Some(30))), ..Behaviour::default() }).await;
    let running = launch(&failing_over(&openai, &qwen, ""), false).await;
    for expected in ["failover:status", "cooldown", "cooldown"] {
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some(expected)));
    }
    assert_eq!(qwen.requests(), 1);
    assert_eq!(running.status().await["backends"][1]["breaker"], "closed");
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_cooldown_active{backend=\"qwen\"} 1"), "{page}");
}

#[tokio::test]
async fn the_breaker_opens_spares_the_candidate_and_closes_after_a_good_probe() {
    let (openai, qwen) = pair(behaviour(Fault::ResetBeforeHead)).await;
    let text = failing_over(&openai, &qwen, "breaker = { failures = 3, open = \"40ms\" }");
    let running = launch(&text, false).await;
    for _ in 0..3 {
        assert_eq!(ask(&running, &chat("x", false), "").await.header("x-shiftgate-reason"), Some("failover:reset"));
    }
    assert_eq!(running.app.store.current().targets_off_path()[1].health.report(std::time::Instant::now()).opened, 1);
    let asked = qwen.requests();
    qwen.set(Behaviour::default());
    let mut reasons = std::collections::BTreeSet::new();
    tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = ask(&running, &chat("x", true), "").await;
            assert!(answer.whole && answer.status == 200);
            reasons.insert(answer.header("x-shiftgate-reason").unwrap().to_owned());
            if answer.header("x-shiftgate-backend") == Some("qwen") {
                return;
            }
        }
    })
    .await
    .expect("a probe goes out and closes the breaker");
    assert!(reasons.iter().all(|reason| reason == "breaker" || reason == "split"), "{reasons:?}");
    assert_eq!(qwen.requests(), asked + 1);
    assert_eq!(running.status().await["backends"][1]["breaker"], "closed");
}

#[tokio::test]
async fn beyond_the_retry_budget_the_failure_itself_is_told_in_openais_shape() {
    let (openai, qwen) = pair(Behaviour { status: Some((500, None)), ..Behaviour::default() }).await;
    let text = failing_over(&openai, &qwen, NO_BREAKER).replace("enabled = true", "enabled = true\nretry_budget = 0.0");
    let running = launch(&text, false).await;
    let (mut saved, mut told) = (0, 0);
    for _ in 0..200 {
        let answer = ask(&running, &chat("x", false), "").await;
        match answer.status {
            200 => saved += 1,
            500 => {
                told += 1;
                assert_eq!(answer.json()["error"]["type"], "server_error");
                assert_eq!(answer.header("x-shiftgate-backend"), Some("qwen"));
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(saved >= 10 && told > 0, "ten a second are always allowed: {saved} saved, {told} told");
    assert_eq!(running.app.stats.over_budget.get(), told);
    assert_eq!(counts(&running, 1).await, (200, saved, told));
}

#[tokio::test]
async fn with_failover_off_nothing_is_moved_and_the_failure_keeps_its_status() {
    for (said, told, code) in [
        (400, 400, None),
        (429, 429, Some("rate_limit_exceeded")),
        (500, 500, Some("upstream_error")),
        (503, 503, Some("upstream_error")),
        (401, 502, Some("upstream_misconfigured")),
        (403, 502, Some("upstream_misconfigured")),
        (404, 502, Some("upstream_misconfigured")),
        (302, 502, Some("upstream_misconfigured")),
    ] {
        let (openai, qwen) = pair(Behaviour { status: Some((said, Some(9))), ..Behaviour::default() }).await;
        let running = launch(&file(&openai, &qwen, 100.0), false).await;
        for _ in 0..8 {
            let answer = ask(&running, &chat("x", false), "").await;
            assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (told, code), "{said}");
            assert!(answer.json()["error"]["message"].is_string());
            if said == 429 {
                assert_eq!(answer.header("retry-after"), Some("9"));
            }
        }
        assert_eq!((openai.requests(), qwen.requests()), (0, 8), "{said}");
    }
}

#[tokio::test]
async fn what_is_not_safe_to_send_twice_does_not_fail_over() {
    let (openai, qwen) = pair(behaviour(Fault::ResetBeforeHead)).await;
    let text = failing_over(&openai, &qwen, NO_BREAKER).replace("[server]", "[server]\nallow_override = true");
    let running = launch(&text, false).await;
    let answer = raw(running.address(), &post("/v1/files", "x", "x-shiftgate-backend: qwen\r\n")).await;
    assert_eq!((answer.status, openai.requests(), qwen.requests()), (502, 0, 1), "{}", answer.text());
}

/// The candidate is killed and restarted repeatedly at the same address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_loses_a_request_when_the_candidate_is_killed_and_restarted() {
    const REQUESTS: usize = 3000;
    let (openai, first) = pair(Behaviour::default()).await;
    let address = first.address();
    let text =
        failing_over(&openai, &first, NO_BREAKER).replace("enabled = true", "enabled = true\nretry_budget = 1.0");
    let running = launch(&text, false).await;
    drop(first);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let restarts = tokio::spawn(async move {
        let again = async {
            let mut served = 0;
            loop {
                let config = SimConfig::new(Wire::Vllm).model("qwen-served").key("qwen-key-canary");
                let Ok(qwen) = sim::start_at(address, config, Behaviour::default()).await else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                // Drops the server after a few answers, with requests in flight.
                while qwen.answered() < 40 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                served += qwen.answered();
                drop(qwen);
                SERVED.store(served, std::sync::atomic::Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! { () = again => {}, _ = stopped => {} }
    });
    let mut clients = tokio::task::JoinSet::new();
    let listen = running.address();
    for _ in 0..8 {
        clients.spawn(async move {
            for number in 0..REQUESTS / 8 {
                let answer = raw(listen, &post("/v1/chat/completions", &chat("x", false), "")).await;
                assert_eq!((answer.status, answer.whole), (200, true), "request {number}: {}", answer.text());
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    drop(stop);
    restarts.await.unwrap();
    assert!(SERVED.load(std::sync::atomic::Ordering::Relaxed) >= 80, "the candidate was killed at least twice");
    let (_, failovers, _) = counts(&running, 1).await;
    assert!(failovers > 0, "some requests met a dead candidate");
}

static SERVED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Answers every connection's first request with these bytes, and closes it.
async fn say(script: tokio::net::TcpListener, answer: String) {
    while let Ok((mut stream, _)) = script.accept().await {
        if read_request(&mut stream).await.is_some() {
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await);
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_a_candidate_refuses_counts_as_any_rejection() {
    let body = "{\"error\":{\"message\":\"not here\",\"type\":\"x\"}}";
    for (line, told, errors, breaker, then) in [
        ("404 Not Found", (502, None), 3, "open", "breaker"),
        ("401 Unauthorized", (502, None), 3, "open", "breaker"),
        ("500 Internal Server Error", (500, None), 3, "open", "breaker"),
        ("400 Bad Request", (400, None), 0, "closed", "split"),
        ("429 Too Many Requests\r\nretry-after: 7", (429, Some("7")), 1, "closed", "cooldown"),
    ] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let script = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", script.local_addr().unwrap());
        let length = body.len();
        let answer = format!("HTTP/1.1 {line}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        tokio::spawn(say(script, answer));
        let text = failing_over(&openai, &qwen, "breaker = { failures = 3, open = \"60s\" }")
            .replace(&qwen.url(), &url)
            .replace("[server]", "[server]\nallow_override = true");
        let running = launch(&text, false).await;
        let asked = if told.0 == 429 { 1 } else { 3 };
        for _ in 0..asked {
            let upgrade = "GET /v1/realtime?model=m HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
                           sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           x-shiftgate-backend: qwen\r\n\r\n";
            let answer = raw(running.address(), upgrade.as_bytes()).await;
            assert_eq!((answer.status, answer.header("retry-after")), told, "{line}: {}", answer.text());
            assert_eq!(answer.header("x-shiftgate-backend"), Some("qwen"), "{line}");
            assert!(answer.whole);
        }
        assert_eq!(counts(&running, 1).await.0, errors, "{line}");
        assert_eq!(running.status().await["backends"][1]["breaker"], breaker, "{line}");
        if then != "split" {
            let next = ask(&running, &chat("x", false), "").await;
            assert_eq!((next.status, next.header("x-shiftgate-reason")), (200, Some(then)), "{line}");
        }
        assert_eq!(running.app.stats.in_flight.get(), 0);
    }
}
