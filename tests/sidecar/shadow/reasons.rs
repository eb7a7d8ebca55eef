//! Why a copy is not sent: the closed list, each with its counter.

use serde_json::json;
use shiftgate::api::sim::{Behaviour, Fault, Load};

use super::*;

/// Sends one request, and returns the counted results of its copy.
async fn result_of(running: &Running, body: &str, more: &str) -> Vec<(String, u64)> {
    let answer = ask(running, body, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let status = until_status(running, |status| sum(&copies(status)["requests"]) > 0).await;
    counted(&copies(&status)["requests"])
}

fn one(name: &str) -> Vec<(String, u64)> {
    vec![(name.to_owned(), 1)]
}

#[tokio::test]
async fn the_application_may_decline() {
    let (running, _openai, qwen) = launch_shadowed(Behaviour::default(), "").await;
    assert_eq!(result_of(&running, &chat("x", false), "x-shiftgate-shadow: off\r\n").await, one("opted_out"));
    assert_eq!(qwen.requests(), 0);
}

#[tokio::test]
async fn several_choices_images_and_large_bodies_are_ineligible() {
    let image = json!([{"role": "user", "content": [
        {"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]);
    for body in [with(json!({"n": 2})), with(json!({"messages": image})), chat(&"x".repeat(1 << 20), false)] {
        let (running, _openai, qwen) = launch_shadowed(Behaviour::default(), "").await;
        assert_eq!(result_of(&running, &body, "").await, one("ineligible"));
        assert_eq!(qwen.requests(), 0);
    }
}

#[tokio::test]
async fn residency_keeps_a_request_from_the_receiver() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let rule =
        "[[residency]]\nname = \"eu\"\nmatch = { header = { x-region = \"eu\" } }\nallow = [\"eu\"]\n[rollout]\n";
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("[rollout]\n", rule);
    let running = launch(&text.replace("engine = \"openai\"", "engine = \"openai\"\ntags = [\"eu\"]"), false).await;
    assert_eq!(result_of(&running, &chat("x", false), "x-region: eu\r\n").await, one("residency"));
    assert_eq!(qwen.requests(), 0);
}

#[tokio::test]
async fn what_the_receiver_cannot_serve_is_untranslatable() {
    let (running, _openai, qwen) = launch_shadowed(Behaviour::default(), "").await;
    let tools = json!([{"type": "custom", "custom": {"name": "x"}}]);
    assert_eq!(result_of(&running, &with(json!({"tools": tools})), "").await, one("untranslatable"));
    assert_eq!(qwen.requests(), 0);
}

#[tokio::test]
async fn a_429_stops_copies_for_its_retry_after() {
    let status = Some((429, Some(30)));
    let (running, _openai, qwen) = launch_shadowed(Behaviour { status, ..Behaviour::default() }, "").await;
    ask(&running, &chat("x", false), "").await;
    until_pairs(&running, 1).await;
    ask(&running, &chat("y", false), "").await;
    let status = until_status(&running, |status| sum(&copies(status)["requests"]) == 2).await;
    assert_eq!(counted(&copies(&status)["requests"]), [("sent".to_owned(), 1), ("unwell".to_owned(), 1)]);
    assert_eq!(qwen.requests(), 1);
}

#[tokio::test]
async fn a_busy_receiver_gets_no_copies() {
    let load = Load { waiting: 6, ..Load::default() };
    let (openai, qwen) = pair(Behaviour { load, ..Behaviour::default() }).await;
    let metrics =
        format!("family = \"qwen3\"\nmetrics = [\"{}\"]\nmax_waiting = 10", qwen.url().replace("/v1", "/metrics"));
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("family = \"qwen3\"", &metrics);
    let options = shiftgate::api::app::Options {
        ask: Some(shiftgate::api::fleet::PollIntervals::default()),
        ..shiftgate::api::app::Options::default()
    };
    let running = launch_as(&text, options).await;
    until_status(&running, |status| status["backends"][1]["fleet"]["waiting"] == 6).await;
    assert_eq!(result_of(&running, &chat("x", false), "").await, one("unwell"));
}

#[tokio::test]
async fn a_baseline_near_its_rate_limit_gets_neither_copies_nor_noise() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("noise_percent = 0", "noise_percent = 100");
    let running = launch(&text.replace(&openai.url(), &url), false).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = script.accept().await {
            if read_request(&mut stream).await.is_none() {
                continue;
            }
            let body =
                r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ratelimit-limit-tokens: 1000\r\n\
                 x-ratelimit-remaining-tokens: 100\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await);
        }
    });
    for text in ["first", "second"] {
        assert_eq!(ask(&running, &chat(text, false), "").await.status, 200);
        until_status(&running, |status| {
            status["shadow"]["in_flight"] == 0 && sum(&status["shadow"]["noise"]["default"]) > 0
        })
        .await;
    }
    let status = until_status(&running, |status| sum(&status["shadow"]["noise"]["default"]) == 2).await;
    let noise = counted(&status["shadow"]["noise"]["default"]);
    // The first one may be decided before or after its own answer has told the limit.
    assert!(noise.iter().any(|(name, count)| name == "unwell" && *count >= 1), "{noise:?}");
}

#[tokio::test]
async fn a_429_of_a_translated_baseline_is_noted_too() {
    let (openai, qwen) = pair(Behaviour { status: Some((429, None)), ..Behaviour::default() }).await;
    let text = shadowed(&openai, &qwen, 0.0, "openai", "")
        .replace("baseline = \"openai\"", "baseline = \"qwen\"")
        .replace("qwen = 0.0", "openai = 0.0")
        .replace("noise_percent = 0", "noise_percent = 100");
    let running = launch(&text, false).await;
    // No copy of it is sent that could find out.
    ask(&running, &chat("x", false), "x-shiftgate-shadow: off\r\n").await;
    qwen.set(Behaviour::default());
    assert_eq!(ask(&running, &chat("y", false), "").await.status, 200);
    let status = until_status(&running, |status| sum(&status["shadow"]["noise"]["default"]) == 2).await;
    let noise = counted(&status["shadow"]["noise"]["default"]);
    assert_eq!(noise, [("opted_out".to_owned(), 1), ("unwell".to_owned(), 1)]);
}

#[tokio::test]
async fn copies_in_flight_have_a_limit() {
    let (running, _openai, qwen) = launch_shadowed(behaviour(Fault::HangBeforeHead), "max_in_flight = 1").await;
    ask(&running, &chat("x", false), "").await;
    until(qwen.in_flight(), |count| *count == 1).await;
    ask(&running, &chat("y", false), "").await;
    let status = until_status(&running, |status| sum(&copies(status)["requests"]) == 2).await;
    assert_eq!(counted(&copies(&status)["requests"]), [("in_flight".to_owned(), 1), ("sent".to_owned(), 1)]);
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_not_sent() {
    let (running, _openai, qwen) = launch_shadowed(Behaviour::default(), "max_bytes = \"64KiB\"").await;
    assert_eq!(result_of(&running, &chat(&"x".repeat(100_000), false), "").await, one("bytes"));
    assert_eq!(qwen.requests(), 0);
}

#[tokio::test]
async fn the_budget_bounds_copies() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let price = "family = \"qwen3\"\nprice = { input = 0, output = 1000 }";
    let more = "budget_usd_per_hour = 1.0";
    let text = shadowed(&openai, &qwen, 0.0, "qwen", more).replace("family = \"qwen3\"", price);
    let running = launch(&text, false).await;
    // 1,000 tokens at 1,000 USD a million are 1 USD: dearer than the bucket, which holds a minute's worth.
    for n in 0..3 {
        ask(&running, &with(json!({"max_tokens": 1000, "user": n.to_string()})), "").await;
    }
    let status = until_status(&running, |status| sum(&copies(status)["requests"]) == 3).await;
    assert_eq!(
        copies(&status)["requests"]["sent"].as_u64().unwrap() + copies(&status)["requests"]["budget"].as_u64().unwrap(),
        3
    );
    assert!(copies(&status)["requests"]["budget"].as_u64().unwrap() >= 1);
    let left =
        until_status(&running, |status| sum(&copies(status)["pairs"]) >= 1).await["shadow"]["budget_left_usd"].clone();
    assert!(left.as_f64().unwrap() <= 1.0 / 60.0, "{left}");
}

#[tokio::test]
async fn a_route_may_be_left_out_and_an_override_is_not_copied() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let route = "[[route]]\nname = \"quiet\"\nmatch = { header = { x-quiet = \"yes\" } }\npercent = { qwen = 0 }\nshadow = false\n[backend.openai]";
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "")
        .replace("[backend.openai]", route)
        .replace("request_log = false", "request_log = false\nallow_override = true");
    let running = launch(&text, false).await;
    for more in ["x-quiet: yes\r\n", "x-quiet: yes\r\nx-shiftgate-shadow: on\r\n", "x-shiftgate-backend: openai\r\n"] {
        assert_eq!(ask(&running, &chat("x", false), more).await.status, 200);
    }
    let status = running.status().await;
    assert_eq!(status["shadow"]["copies"].as_array().unwrap().iter().map(|one| sum(&one["requests"])).sum::<u64>(), 0);
    assert_eq!(qwen.requests(), 0);
}

#[tokio::test]
async fn a_wish_for_a_copy_counts_where_overrides_are_allowed() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("percent = 100\n", "percent = 0\n");
    let running = launch(&text, false).await;
    ask(&running, &chat("x", false), "x-shiftgate-shadow: on\r\n").await;
    assert_eq!(sum(&copies(&running.status().await)["requests"]), 0);
    let allowed = text.replace("request_log = false", "request_log = false\nallow_override = true");
    let running = launch(&allowed, false).await;
    assert_eq!(result_of(&running, &chat("x", false), "x-shiftgate-shadow: on\r\n").await, one("sent"));
}

#[tokio::test]
async fn the_first_reason_of_the_list_counts() {
    let (running, _openai, _qwen) = launch_shadowed(Behaviour::default(), "max_bytes = \"1KiB\"").await;
    let large = chat(&"x".repeat(2000), false).replace("\"stream\"", "\"n\":2,\"stream\"");
    assert_eq!(result_of(&running, &large, "").await, one("ineligible"));
    let (running, _openai, _qwen) = launch_shadowed(Behaviour::default(), "").await;
    assert_eq!(result_of(&running, &chat("x", false), "x-shiftgate-shadow: OFF, x\r\n").await, one("opted_out"));
}

#[tokio::test]
async fn a_receiver_without_a_price_is_not_bound_by_the_budget() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let price = "api_key = \"client\"\nprice = { input = 0, output = 100000 }";
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "budget_usd_per_hour = 0.6")
        .replace("noise_percent = 0", "noise_percent = 100")
        .replace("api_key = \"client\"", price);
    let running = launch(&text, false).await;
    for n in 0..3 {
        ask(&running, &chat(&n.to_string(), false), "").await;
        until_pairs(&running, n + 1).await;
    }
    let status = running.status().await;
    assert!(status["shadow"]["budget_left_usd"].as_f64().unwrap() < 0.0, "{status}");
    assert_eq!(counted(&copies(&status)["requests"]), [("sent".to_owned(), 3)]);
    assert!(status["shadow"]["noise"]["default"]["budget"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn a_baseline_whose_servers_are_busy_gets_no_copies() {
    let (_openai, qwen) = pair(Behaviour::default()).await;
    let load = Load { waiting: 6, ..Load::default() };
    let busy = shiftgate::api::sim::SimConfig::new(shiftgate::api::sim::Wire::Vllm);
    let busy = shiftgate::api::sim::start(busy, Behaviour { load, ..Behaviour::default() }).await.unwrap();
    let metrics =
        format!("engine = \"vllm\"\nmetrics = [\"{}\"]\nmax_waiting = 10", busy.url().replace("/v1", "/metrics"));
    let text = shadowed(&busy, &qwen, 100.0, "openai", "")
        .replace("engine = \"openai\"", &metrics)
        .replace("api_key = \"client\"", "api_key = \"none\"\nfamily = \"qwen3\"");
    let options = shiftgate::api::app::Options {
        ask: Some(shiftgate::api::fleet::PollIntervals::default()),
        ..shiftgate::api::app::Options::default()
    };
    let running = launch_as(&text, options).await;
    until_status(&running, |status| status["backends"][0]["fleet"]["waiting"] == 6).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.header("x-shiftgate-backend"), Some("qwen"));
    let result = |status: &Value| {
        let copies = status["shadow"]["copies"].as_array().unwrap().clone();
        copies.into_iter().find(|one| one["backend"] == "openai").unwrap()["requests"]["unwell"].clone()
    };
    until_status(&running, |status| result(status) == 1).await;
}
