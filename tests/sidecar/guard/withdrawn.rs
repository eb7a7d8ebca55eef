//! Events that withdraw a candidate, and events that do not.

use std::time::Duration;

use serde_json::Value;
use shiftgate::api::sim::{self, Behaviour};
use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn a_failing_candidate_is_withdrawn_and_no_key_of_the_other_moves() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 40, zeta = 40", QUICK, "");
    let running = launch(&text, true).await;
    let session = |n: u32| format!("x-session-id: user-{n}\r\n");
    let mut before = Vec::new();
    for n in 0..60 {
        before.push(by(&ask(&running, &chat("x", false), &session(n)).await));
    }
    let status = running.status().await;
    let guard = tripped(&running, &qwen).await;
    assert_eq!((&guard["state"], &guard["cause"]), (&"held".into(), &"errors".into()), "{guard}");
    assert!(guard["why"].as_str().unwrap().contains("qwen") && guard["until"].is_string(), "{guard}");
    assert!(guard["evidence"].as_f64().unwrap() >= 2.0 && guard["threshold"] == 2.0, "{guard}");
    let sent = qwen.requests();
    for (n, before) in before.iter().enumerate() {
        let after = by(&ask(&running, &chat("x", false), &session(n.try_into().unwrap())).await);
        let expected = match before.0.as_str() {
            "qwen" => ("openai".to_owned(), "rolled_back".to_owned()),
            _ => before.clone(),
        };
        assert_eq!(after, expected, "user-{n}");
    }
    assert_eq!(qwen.requests(), sent, "it gets nothing");
    let after = running.status().await;
    assert_eq!((&after["generation"], &after["hash"]), (&status["generation"], &status["hash"]));
    let route = &after["routes"][0];
    assert_eq!((&route["percent"]["qwen"], &route["effective"]["qwen"]), (&40.0.into(), &0.0.into()));
    assert_eq!(route["effective"]["zeta"], 40.0);
    let metrics = get(running.app.admin, "/metrics").await.text();
    for line in [
        "shiftgate_guard_state{candidate=\"qwen\",state=\"held\"} 1",
        "shiftgate_guard_state{candidate=\"qwen\",state=\"watching\"} 0",
        "shiftgate_guard_state{candidate=\"zeta\",state=\"watching\"} 1",
        "shiftgate_split_percent_effective{route=\"default\",candidate=\"qwen\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let faults = "shiftgate_guard_faults_total{candidate=\"qwen\",role=\"candidate\",cause=\"status\"} ";
    assert!(metrics.contains(faults), "{metrics}");
    let page: Value = serde_json::from_slice(&get(running.app.admin, "/history").await.body).unwrap();
    let history = page["history"].as_array().unwrap();
    let causes: Vec<&str> = history.iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["start", "guard"], "{page}");
    assert_eq!((&history[1]["from"], &history[1]["to"]), (&"watching".into(), &"held".into()));
    assert_eq!(history[0]["generation"], history[1]["generation"]);
}

#[tokio::test]
async fn an_alert_moves_nothing() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", "alpha = 0.5\naction = \"alert\"", "");
    let running = launch(&text, false).await;
    for n in 0..120 {
        qwen.set(if n % 2 == 0 { fails() } else { Behaviour::default() });
        assert_ne!(by(&ask(&running, &chat("x", true), "").await).1, "rolled_back");
    }
    let guard = guard_of(running.app.admin, "qwen").await;
    assert_eq!((&guard["state"], &guard["verdict"]), (&"watching".into(), &"suspicious".into()), "{guard}");
    assert!(guard["why"].as_str().unwrap().ends_with("so nothing is withdrawn") && guard["until"].is_null(), "{guard}");
    assert!(guard["next"].as_str().unwrap().starts_with("qwen goes on serving"), "{guard}");
    assert_eq!(running.status().await["routes"][0]["effective"]["qwen"], 50.0);
    let page: Value = serde_json::from_slice(&get(running.app.admin, "/history").await.body).unwrap();
    let told = page["history"].as_array().unwrap().iter().filter(|one| one["cause"] == "guard").count();
    assert_eq!(told, 1, "once in an epoch: {page}");
}

#[tokio::test]
async fn a_breaker_that_opens_five_times_beside_a_well_baseline_withdraws() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", "", "");
    let text = text.replacen("failures = 1000, min", "open = \"100ms\", failures = 1, min", 1);
    let running = launch(&text, false).await;
    let draw = async |until: &str| {
        for _ in 0..2_000 {
            let status = running.status().await;
            let breaker = status["backends"][1]["breaker"].clone();
            if breaker == until || status["backends"][1]["guard"]["state"] != "watching" {
                return;
            }
            ask(&running, &chat("x", true), "").await;
        }
        panic!("the breaker is not {until}");
    };
    for _ in 0..5 {
        qwen.set(fails());
        draw("open").await;
        qwen.set(Behaviour::default());
        draw("closed").await;
    }
    becomes(&running, ("rolled_back", "breaker_opened")).await;
    let guard = guard_of(running.app.admin, "qwen").await;
    assert!(guard["next"].as_str().unwrap().contains("shiftgate resume"), "{guard}");
    assert!(guard["until"].is_null());
}

#[tokio::test]
async fn aborts_and_retries_are_counted_by_side_and_nothing_acts_on_them() {
    let [openai, qwen, other] = sims().await;
    let running = launch(&guarded(&[&openai, &qwen, &other], "qwen = 100", "", ""), false).await;
    let session = "x-session-id: one\r\n";
    assert_eq!(by(&ask(&running, &chat("x", false), session).await).0, "qwen");
    let retry = ask(&running, &chat("x", false), &format!("{session}x-stainless-retry-count: 1\r\n")).await;
    assert_eq!(by(&retry), ("openai".to_owned(), "pinned:retry".to_owned()));
    ask(&running, &chat("x", false), "x-stainless-retry-count: 1\r\n").await;
    qwen.set(behaviour(sim::Fault::HangAfter(3)));
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post("/v1/chat/completions", &chat("x", true), session)).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"content\"") {
        use tokio::io::AsyncReadExt;
        let mut buffer = [0; 4096];
        let n = tokio::time::timeout(PATIENCE, client.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..n]);
    }
    drop(client);
    eventually_async(async || running.status().await["routes"][0]["signals"]["qwen"]["abort"] == 1).await;
    let signals = running.status().await["routes"][0]["signals"].clone();
    assert_eq!(signals["qwen"], serde_json::json!({"abort": 1, "retry": 1}), "{signals}");
    assert_eq!(signals["openai"], serde_json::json!({"abort": 0, "retry": 0}), "{signals}");
    let metrics = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_signals_total{route=\"default\",backend=\"qwen\",signal=\"retry\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let guard = guard_of(running.app.admin, "qwen").await;
    assert_eq!(guard["counted"], serde_json::json!({"candidate": 0, "baseline": 0}), "{guard}");
}

#[tokio::test]
async fn a_hung_candidate_counts_before_its_request_ends() {
    let [openai, qwen, other] = sims().await;
    let guard = "alpha = 0.01\nerrors = { overdue = \"100ms\" }";
    let running = launch(&guarded(&[&openai, &qwen, &other], "qwen = 100", guard, ""), false).await;
    qwen.set(Behaviour { ttft: Duration::from_secs(3600), ..Behaviour::default() });
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    eventually_async(async || guard_of(running.app.admin, "qwen").await["trials"]["candidate"] == 1).await;
    let metrics = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_guard_faults_total{candidate=\"qwen\",role=\"candidate\",cause=\"overdue\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(guard_of(running.app.admin, "qwen").await["verdict"], "blind", "the baseline has no share");
    drop(client);
}

#[tokio::test]
async fn copies_go_on_and_show_when_it_is_well_again() {
    let [openai, qwen, other] = sims().await;
    let shadow = "[shadow]\nto = [\"qwen\"]\npercent = 100\nnoise_percent = 0\nbudget_usd_per_hour = 1000\n";
    let text =
        guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "").replace("[guard]", &format!("{shadow}[guard]"));
    let running = launch(&text, false).await;
    tripped(&running, &qwen).await;
    let answer = ask(&running, &chat("x", true), "x-session-id: one\r\n").await;
    assert_eq!(by(&answer).0, "openai");
    eventually_async(async || {
        let answer = ask(&running, &chat("x", true), "").await;
        assert_eq!(by(&answer).0, "openai");
        let guard = guard_of(running.app.admin, "qwen").await;
        guard["next"].as_str().unwrap().contains("copies since")
    })
    .await;
}

#[tokio::test]
async fn without_failover_a_failure_counts_without_a_word_of_the_baseline() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "");
    let running = launch(&text.replace("retry_budget = 1.0", "enabled = false"), false).await;
    for n in 0..200 {
        qwen.set(if n % 2 == 0 { fails() } else { Behaviour::default() });
        ask(&running, &chat("x", true), "").await;
        if state(&running).await.0 == "held" {
            let status = running.status().await;
            assert_eq!(status["routes"][0]["effective"]["qwen"], 0.0, "{status}");
            return;
        }
    }
    panic!("{}", guard_of(running.app.admin, "qwen").await);
}
