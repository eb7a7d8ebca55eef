//! Requests, answers and reloads that are meant to break copies.

use serde_json::json;
use shiftgate::api::sim::{self, Behaviour, Fault, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Adds records to a file's text; returns it and the records' path.
fn with_records(text: &str, content: bool) -> (String, tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let records = format!("[records]\npath = \"{}\"\ncontent = {content}\n[rollout]\n", path.display());
    (text.replace("[rollout]\n", &records), folder, path)
}

/// The results of all pairs, whatever their receiver.
fn results(status: &Value) -> Vec<(String, u64)> {
    let copies = status["shadow"]["copies"].as_array().unwrap();
    copies.iter().flat_map(|one| counted(&one["pairs"])).collect()
}

fn pairs(status: &Value) -> u64 {
    results(status).iter().map(|(_, count)| count).sum()
}

/// Starts a server that answers every request with these bytes, and closes.
async fn says(answer: String) -> String {
    let script = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = script.accept().await {
            if read_request(&mut stream).await.is_some() {
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    url
}

#[tokio::test]
async fn a_request_with_line_breaks_is_one_line_of_the_records() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let (text, _folder, path) = with_records(&shadowed(&openai, &qwen, 0.0, "qwen", ""), true);
    let running = launch(&text, false).await;
    let body =
        "{\n  \"model\": \"gpt-4o\",\r\n  \"messages\": [\n    {\"role\": \"user\", \"content\": \"a\\nb\"}\n  ]\n}\n";
    assert_eq!(ask(&running, body, "").await.status, 200);
    let line = until_records(&path, 1).await.remove(0);
    assert_eq!(line["content"]["request"]["messages"][0]["content"], "a\nb");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_copy_that_is_abandoned_after_it_was_sent_is_paid_for() {
    for (fault, stays) in [(Fault::HangBeforeHead, true), (Fault::ResetBeforeHead, true), (Fault::Html, true)] {
        let (openai, qwen) = pair(behaviour(fault)).await;
        let price = "family = \"qwen3\"\nprice = { input = 0, output = 1000 }";
        let more = "budget_usd_per_hour = 6.0\ntimeout = \"50ms\"";
        let text = shadowed(&openai, &qwen, 0.0, "qwen", more).replace("family = \"qwen3\"", price);
        let running = launch(&text, false).await;
        assert_eq!(ask(&running, &with(json!({"max_tokens": 1000})), "").await.status, 200);
        let status = until_pairs(&running, 1).await;
        let left = status["shadow"]["budget_left_usd"].as_f64().unwrap();
        assert_eq!(left < 0.0, stays, "{fault:?}: {left}");
    }
}

#[tokio::test]
async fn a_copy_that_was_refused_costs_nothing() {
    let (openai, qwen) = pair(Behaviour { status: Some((500, None)), ..Behaviour::default() }).await;
    // It is bound and does not listen, so that connections to it are refused and nobody else gets its port.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}/v1", closed.local_addr().unwrap());
    for url in [qwen.url(), nobody] {
        let price = "family = \"qwen3\"\nprice = { input = 0, output = 1000 }";
        let text = shadowed(&openai, &qwen, 0.0, "qwen", "budget_usd_per_hour = 6.0")
            .replace("family = \"qwen3\"", price)
            .replace(&qwen.url(), &url);
        let running = launch(&text, false).await;
        assert_eq!(ask(&running, &with(json!({"max_tokens": 1000})), "").await.status, 200);
        let status = until_pairs(&running, 1).await;
        assert!(status["shadow"]["budget_left_usd"].as_f64().unwrap() > 0.09, "{status}");
    }
}

#[tokio::test]
async fn a_request_that_began_before_the_section_went_is_not_copied_after() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "");
    let running = launch(&text, true).await;
    let request = post("/v1/chat/completions", &chat("x", false), "");
    let (head, last) = request.split_at(request.len() - 1);
    let mut stream = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(head).await.unwrap();
    until_status(&running, |status| status["in_flight"] == 1).await;
    let (before, rest) = text.split_once("[shadow]").unwrap();
    let (_, after) = rest.split_once("[rollout]").unwrap();
    std::fs::write(&running.file, format!("{before}[rollout]{after}")).unwrap();
    until_status(&running, |status| status["generation"] == 2).await;
    stream.write_all(last).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(parse(&answer).status, 200);
    // Offers are handled in their order, so that a copy of the first request would be counted by now.
    std::fs::write(&running.file, &text).unwrap();
    until_status(&running, |status| status["generation"] == 3).await;
    assert_eq!(ask(&running, &chat("later", false), "").await.status, 200);
    let is_later = |one: &sim::Received| String::from_utf8_lossy(&one.body).contains("later");
    let status = until_status(&running, |_| qwen.received().iter().any(is_later)).await;
    assert_eq!(counted(&copies(&status)["requests"]), [("sent".to_owned(), 1)]);
    assert_eq!(qwen.requests(), 1, "nobody gets what the file does not allow any more");
}

#[tokio::test]
async fn pairs_that_find_the_comparison_busy_keep_the_outcomes_of_their_legs() {
    const RECEIVERS: usize = 90;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let long = Behaviour { tokens: (4000, 4000), ..Behaviour::default() };
    let other = sim::start(SimConfig::new(Wire::Vllm), long.clone()).await.unwrap();
    openai.set(long);
    let names: Vec<String> = (0..RECEIVERS).map(|n| format!("r{n}")).collect();
    let mut text = shadowed(&openai, &qwen, 0.0, "qwen", "max_in_flight = 200")
        .replace("to = \"qwen\"", &format!("to = {names:?}"));
    for name in &names {
        let section = format!("engine = \"vllm\"\nurl = \"{}\"\napi_key = \"none\"\nfamily = \"qwen3\"\n", other.url());
        text.push_str(&format!("[backend.{name}]\n{section}"));
    }
    let (text, _folder, path) = with_records(&text, false);
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    let lines = until_records(&path, RECEIVERS).await;
    let is_full = |line: &&Value| line["scores"]["null"]["agreement"] == "compare_full";
    let full: Vec<&Value> = lines.iter().filter(is_full).collect();
    assert!(!full.is_empty() && full.len() < RECEIVERS, "{} of {RECEIVERS}", full.len());
    for line in full {
        let outcomes = (&line["baseline"]["outcome"], &line["candidate"]["outcome"]);
        assert_eq!(outcomes, (&"ok".into(), &"ok".into()), "{line}");
    }
}

#[tokio::test]
async fn a_body_is_accounted_for_until_its_pair_is_compared() {
    const BODY: usize = 900_000;
    let (openai, qwen) = pair(Behaviour { tokens: (900, 900), ..Behaviour::default() }).await;
    openai.set(Behaviour { tokens: (900, 900), ..Behaviour::default() });
    let running = launch(&shadowed(&openai, &qwen, 0.0, "qwen", ""), false).await;
    let text = "x".repeat(BODY);
    assert_eq!(ask(&running, &chat(&text, false), "").await.status, 200);
    until_status(&running, |status| {
        let shadow = &status["shadow"];
        let (bytes, has_ended) = (shadow["bytes"].as_u64().unwrap(), pairs(status) == 1);
        let is_sent = copies(status)["requests"]["sent"] == 1;
        // The counter of pairs rises before the last reference goes.
        assert!(has_ended || !is_sent || bytes >= BODY as u64, "{shadow}");
        has_ended
    })
    .await;
    until_status(&running, |status| status["shadow"]["bytes"] == 0).await;
}

#[tokio::test]
async fn a_noise_leg_that_has_no_pair_is_counted_with_the_reason() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("noise_percent = 0", "noise_percent = 100");
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &with(json!({"n": 2})), "").await.status, 200);
    let status = until_status(&running, |status| sum(&copies(status)["requests"]) == 1).await;
    assert_eq!(counted(&copies(&status)["requests"]), [("ineligible".to_owned(), 1)]);
    let status = until_status(&running, |status| sum(&status["shadow"]["noise"]["default"]) == 1).await;
    assert_eq!(counted(&status["shadow"]["noise"]["default"]), [("ineligible".to_owned(), 1)]);
    assert_eq!(openai.requests(), 1);
}

#[tokio::test]
async fn stateless_responses_are_copied_and_nothing_is_stored() {
    for stream in [false, true] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let text = shadowed(&openai, &qwen, 0.0, "qwen", "")
            .replace("family = \"qwen3\"", "family = \"qwen3\"\nresponses = true");
        let (text, _folder, path) = with_records(&text, false);
        let running = launch(&text, false).await;
        let body = json!({"model": "gpt-4o", "input": "hi", "store": false, "stream": stream}).to_string();
        assert_eq!(raw(running.address(), &post("/v1/responses", &body, "")).await.status, 200);
        let line = until_records(&path, 1).await.remove(0);
        assert_eq!((&line["operation"], &line["candidate"]["outcome"]), (&"responses".into(), &"ok".into()), "{line}");
        assert_eq!(line["baseline"]["outcome"], "ok", "{line}");
        assert_eq!(sent(&qwen)["store"], false);
        // A response that is stored is not copied: the receiver's would be stored too.
        let stored = json!({"model": "gpt-4o", "input": "hi"}).to_string();
        assert_eq!(raw(running.address(), &post("/v1/responses", &stored, "")).await.status, 200);
        assert_eq!(pairs(&running.status().await), 1);
        assert_eq!(qwen.requests(), 1);
    }
}

#[tokio::test]
async fn several_receivers_share_an_id_and_only_pairs_with_the_baseline_are_made() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let other = sim::start(SimConfig::new(Wire::Vllm), Behaviour::default()).await.unwrap();
    for percent in [0.0, 100.0] {
        let text = shadowed(&openai, &qwen, percent, "qwen", "")
            .replace("to = \"qwen\"", "to = [\"qwen\", \"other\", \"openai\"]")
            .replace("noise_percent = 0", "noise_percent = 100")
            + &format!(
                "[backend.other]\nengine = \"vllm\"\nurl = \"{}\"\napi_key = \"none\"\nfamily = \"qwen3\"\n",
                other.url()
            );
        let (text, _folder, path) = with_records(&text, false);
        let before = [openai.requests(), qwen.requests(), other.requests()];
        let running = launch(&text, false).await;
        assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
        let count = if percent == 0.0 { 2 } else { 1 };
        let lines = until_records(&path, count).await;
        let sides: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| (line["baseline"]["backend"].as_str().unwrap(), line["candidate"]["backend"].as_str().unwrap()))
            .collect();
        let after = [openai.requests(), qwen.requests(), other.requests()];
        let got: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        if percent == 0.0 {
            assert_eq!(lines[0]["id"], lines[1]["id"]);
            assert!(sides.contains(&("openai", "qwen")) && sides.contains(&("openai", "other")), "{sides:?}");
            assert_eq!(got, [2, 1, 1], "served and noise, and a copy to each");
        } else {
            assert_eq!(sides, [("openai", "qwen")]);
            assert_eq!(got, [1, 1, 0], "two candidates are not compared, and noise needs a served baseline");
        }
    }
}

#[tokio::test]
async fn a_baseline_that_refuses_a_copy_has_the_outcome_of_its_status() {
    for (status, outcome) in [(500, "status_5xx"), (429, "rate_limited"), (400, "status_4xx")] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        openai.set(Behaviour { status: Some((status, None)), ..Behaviour::default() });
        let (text, _folder, path) = with_records(&shadowed(&openai, &qwen, 100.0, "openai", ""), false);
        let running = launch(&text, false).await;
        assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
        let line = until_records(&path, 1).await.remove(0);
        assert_eq!(
            (&line["baseline"]["outcome"], &line["served_by"]),
            (&outcome.into(), &"candidate".into()),
            "{line}"
        );
        assert_eq!(results(&running.status().await), [("failed".to_owned(), 1)]);
    }
}

#[tokio::test]
async fn a_served_failure_without_failover_is_a_failed_pair() {
    let (openai, qwen) = pair(Behaviour { status: Some((500, None)), ..Behaviour::default() }).await;
    let (text, _folder, path) = with_records(&shadowed(&openai, &qwen, 100.0, "openai", ""), true);
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 500);
    let line = until_records(&path, 1).await.remove(0);
    assert_eq!((&line["candidate"]["outcome"], &line["baseline"]["outcome"]), (&"status_5xx".into(), &"ok".into()));
    assert!(line["content"]["candidate"].is_null() && line["content"]["baseline"]["text"].is_string(), "{line}");
    assert_eq!(results(&running.status().await), [("failed".to_owned(), 1)]);
}

#[tokio::test]
async fn a_baseline_of_another_engine_is_compared() {
    for percent in [0.0, 100.0] {
        let base = sim::start(SimConfig::new(Wire::Vllm), Behaviour::default()).await.unwrap();
        let (_openai, qwen) = pair(Behaviour::default()).await;
        let to = if percent > 0.0 { "openai" } else { "qwen" };
        let text = shadowed(&base, &qwen, percent, to, "")
            .replace("engine = \"openai\"", "engine = \"vllm\"\nfamily = \"qwen3\"")
            .replace("api_key = \"client\"", "api_key = \"none\"");
        let (text, _folder, path) = with_records(&text, false);
        let running = launch(&text, false).await;
        for stream in [false, true] {
            let body =
                json!({"model": "qwen-served", "stream": stream, "messages": [{"role": "user", "content": "x"}]});
            assert_eq!(ask(&running, &body.to_string(), "").await.status, 200);
        }
        for line in until_records(&path, 2).await {
            assert_eq!(
                (&line["candidate"]["outcome"], &line["baseline"]["outcome"]),
                (&"ok".into(), &"ok".into()),
                "{line}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_stays_encoded_is_served_and_not_compared() {
    let body = "\u{1f}not really gzip";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let url = says(answer).await;
    for percent in [0.0, 100.0] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let (to, scripted) = if percent > 0.0 { ("openai", openai.url()) } else { ("qwen", openai.url()) };
        let (text, _folder, path) = with_records(&shadowed(&openai, &qwen, percent, to, ""), false);
        let running = launch(&text.replace(&scripted, &url), false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!(answer.status, 200);
        let line = until_records(&path, 1).await.remove(0);
        assert_eq!(
            (&line["baseline"]["outcome"], &line["candidate"]["outcome"]),
            (&"bad_answer".into(), &"ok".into()),
            "{line}"
        );
        assert_eq!(results(&running.status().await), [("failed".to_owned(), 1)]);
    }
}

#[tokio::test]
async fn fields_that_occur_twice_are_not_copied_differently() {
    let (running, openai, qwen) = launch_shadowed(Behaviour::default(), "").await;
    let twice = r#"{"model":"gpt-4o","stream":false,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    ask(&running, twice, "").await;
    assert_eq!((openai.requests(), qwen.requests()), (1, 0), "it is not read, and not copied");
    let options = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false},"st\u006fre":true,"messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":false}}"#;
    assert_eq!(ask(&running, options, "").await.status, 200);
    until_pairs(&running, 1).await;
    let body = qwen.received().pop().unwrap().body;
    let text = String::from_utf8_lossy(&body);
    assert_eq!(text.matches("stream_options").count(), 1, "{text}");
    assert!(!text.contains("store") && text.contains("\"include_usage\":true"), "{text}");
}

#[tokio::test]
async fn an_answer_behind_an_early_head_is_compared_without_the_pings() {
    let (openai, qwen) = pair(Behaviour { ttft: Duration::from_millis(300), ..Behaviour::default() }).await;
    let text = shadowed(&openai, &qwen, 100.0, "openai", "")
        .replace("[failover]\nenabled = false", "[failover]\nenabled = true\nearly_head = \"100ms\"");
    let (text, _folder, path) = with_records(&text, true);
    let running = launch(&text, false).await;
    let answer = ask(&running, &chat("x", true), "x-stainless-read-timeout: 1\r\n").await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("early"));
    let line = until_records(&path, 1).await.remove(0);
    let outcomes = (&line["candidate"]["outcome"], &line["baseline"]["outcome"]);
    assert_eq!(outcomes, (&"ok".into(), &"ok".into()), "{line}");
    let served = line["content"]["candidate"]["text"].as_str().unwrap();
    assert!(!served.is_empty() && !served.contains("ping"), "{line}");
    assert_eq!(results(&running.status().await), [("compared".to_owned(), 1)]);
}

#[tokio::test]
async fn a_shutdown_cancels_copies_at_once_and_writes_their_lines() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let (text, _folder, path) = with_records(&shadowed(&openai, &qwen, 0.0, "qwen", ""), false);
    let running = launch(&text, false).await;
    for n in 0..3 {
        assert_eq!(ask(&running, &chat(&format!("{n}"), n % 2 == 0), "").await.status, 200);
    }
    until(qwen.in_flight(), |count| *count == 3).await;
    running.app.drain(PATIENCE, std::future::pending()).await;
    assert_eq!(*qwen.in_flight().borrow(), 0);
    let lines = until_records(&path, 3).await;
    for line in lines {
        let outcomes = (&line["candidate"]["outcome"], &line["baseline"]["outcome"]);
        assert_eq!(outcomes, (&"cancelled".into(), &"ok".into()), "{line}");
        assert_eq!(line["scores"]["null"]["agreement"], "cancelled");
    }
}

#[tokio::test]
async fn copies_by_http_2_are_compared_and_the_ones_that_hang_are_left() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    const ANSWER: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}"#;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
                if body.windows(4).any(|some| some == b"hang") {
                    std::future::pending::<()>().await;
                }
                let body = http_body_util::Full::new(bytes::Bytes::from_static(ANSWER.as_bytes()));
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "timeout = \"300ms\"").replacen("models", "h2 = true\nmodels", 1);
    let running = launch(&text.replace(&qwen.url(), &url), false).await;
    for text in ["hang", "a", "b", "c"] {
        assert_eq!(ask(&running, &chat(text, false), "").await.status, 200);
    }
    let status = until_pairs(&running, 4).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [("compared".to_owned(), 3), ("timeout".to_owned(), 1)]);
    until_status(&running, |status| status["shadow"]["in_flight"] == 0 && status["shadow"]["bytes"] == 0).await;
}
