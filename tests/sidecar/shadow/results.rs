//! How pairs end, and their line in the records.

use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A sidecar that writes records into a folder.
async fn recorded(
    behaviour: Behaviour,
    percent: f64,
    more: &str,
    content: bool,
) -> (Running, Sim, Sim, tempfile::TempDir) {
    let (openai, qwen) = pair(behaviour).await;
    let folder = tempfile::tempdir().unwrap();
    let to = if percent > 0.0 { "openai" } else { "qwen" };
    let records =
        format!("[records]\npath = \"{}\"\ncontent = {content}\n", folder.path().join("records.jsonl").display());
    let text = shadowed(&openai, &qwen, percent, to, more).replace("[rollout]\n", &format!("{records}[rollout]\n"));
    (launch(&text, false).await, openai, qwen, folder)
}

#[tokio::test]
async fn a_pair_is_one_line_without_content() {
    for (percent, served, stream) in [(0.0, "baseline", false), (0.0, "baseline", true), (100.0, "candidate", true)] {
        let (running, _openai, _qwen, folder) = recorded(Behaviour::default(), percent, "", false).await;
        let answer = ask(&running, &chat("prompt-canary", stream), "x-session-id: key-canary\r\n").await;
        let lines = until_records(&folder.path().join("records.jsonl"), 1).await;
        let line = &lines[0];
        assert_eq!((&line["v"], &line["served_by"], &line["stream"]), (&1.into(), &served.into(), &stream.into()));
        assert_eq!((&line["baseline"]["backend"], &line["candidate"]["backend"]), (&"openai".into(), &"qwen".into()));
        for side in ["baseline", "candidate"] {
            let leg = &line[side];
            assert_eq!(
                (&leg["outcome"], &leg["mode"], &leg["status"]),
                (&"ok".into(), &"text".into(), &200.into()),
                "{line}"
            );
            if leg["leg"] == "shadow" {
                assert!(leg["output_tokens"].as_u64().unwrap() > 0, "copies ask for their usage: {line}");
            }
        }
        assert_eq!((&line["scores"]["kind"], &line["content"]), (&"text".into(), &Value::Null));
        assert_eq!(line["trace_id"].as_str(), answer.header("x-shiftgate-trace-id"));
        assert_eq!((line["key"].as_str().unwrap().len(), line["id"].as_str().unwrap().len()), (16, 16));
        let text = line.to_string();
        assert!(!text.contains("canary") && text.len() < 4096, "{text}");
        let status = running.status().await;
        assert_eq!(
            status["shadow"]["copies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["pairs"]["compared"].as_u64().unwrap())
                .sum::<u64>(),
            1
        );
    }
}

#[tokio::test]
async fn content_is_written_only_when_asked_for() {
    let (running, _openai, _qwen, folder) = recorded(Behaviour::default(), 0.0, "", true).await;
    let answer = ask(&running, &chat("prompt-canary", false), "").await;
    let lines = until_records(&folder.path().join("records.jsonl"), 1).await;
    let content = &lines[0]["content"];
    assert_eq!(content["request"]["messages"][0]["content"], "prompt-canary");
    assert_eq!(content["baseline"]["text"], answer.json()["choices"][0]["message"]["content"]);
    assert!(content["candidate"]["text"].is_string() && content["noise"].is_null());
}

/// Sends requests whose copies end in this way, and returns the first line.
async fn ends(behaviour: Behaviour, more: &str, result: &str) -> Value {
    let (running, _openai, _qwen, folder) = recorded(behaviour, 0.0, more, false).await;
    assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
    let status = until_pairs(&running, 1).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [(result.to_owned(), 1)]);
    until_records(&folder.path().join("records.jsonl"), 1).await.remove(0)
}

#[tokio::test]
async fn copies_that_fail_have_their_outcome() {
    let status = |code| Behaviour { status: Some((code, None)), ..Behaviour::default() };
    for (behaviour, outcome) in [
        (status(500), "status_5xx"),
        (status(400), "status_4xx"),
        (status(429), "rate_limited"),
        (behaviour(Fault::ResetBeforeHead), "reset"),
        (behaviour(Fault::Html), "bad_answer"),
        (behaviour(Fault::ErrorEventFirst), "bad_answer"),
    ] {
        let line = ends(behaviour.clone(), "", "failed").await;
        assert_eq!(line["candidate"]["outcome"], outcome, "{line}");
        assert_eq!(
            (&line["baseline"]["outcome"], &line["scores"]["null"]["agreement"]),
            (&"ok".into(), &"outcome".into())
        );
    }
}

#[tokio::test]
async fn a_copy_that_takes_too_long_is_a_timeout() {
    let line = ends(behaviour(Fault::HangBeforeHead), "timeout = \"100ms\"", "timeout").await;
    assert_eq!(line["candidate"]["outcome"], "timeout");
    let line = ends(behaviour(Fault::HangAfter(3)), "timeout = \"100ms\"", "timeout").await;
    assert_eq!(line["candidate"]["outcome"], "timeout");
}

#[tokio::test]
async fn an_answer_over_its_cap_is_not_compared() {
    let line = ends(Behaviour { tokens: (60_000, 60_000), ..Behaviour::default() }, "", "over_cap").await;
    assert_eq!(
        (&line["candidate"]["outcome"], &line["scores"]["null"]["agreement"]),
        (&"ok".into(), &"over_cap".into())
    );
}

#[tokio::test]
async fn long_streams_are_compared_by_their_content() {
    let long = Behaviour { tokens: (2000, 2000), ..Behaviour::default() };
    let (running, openai, _qwen) = launch_shadowed(long.clone(), "").await;
    openai.set(long);
    let answer = ask(&running, &chat("x", true), "").await;
    assert!(answer.body.len() > 300 << 10, "its events alone are above the limit: {}", answer.body.len());
    let status = until_pairs(&running, 1).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [("compared".to_owned(), 1)]);
}

#[tokio::test]
async fn an_application_that_leaves_cancels_the_copy() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    openai.set(Behaviour { tokens: (2000, 2000), tokens_per_second: 100.0, ..Behaviour::default() });
    let running = launch(&shadowed(&openai, &qwen, 0.0, "qwen", ""), false).await;
    let mut stream = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    until(qwen.in_flight(), |count| *count == 1).await;
    assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
    drop(stream);
    until(qwen.in_flight(), |count| *count == 0).await;
    let status = until_pairs(&running, 1).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [("cancelled".to_owned(), 1)]);
}

#[tokio::test]
async fn a_failover_cancels_the_copy_of_the_failed_attempt() {
    let (openai, qwen) = pair(Behaviour { status: Some((500, None)), ..Behaviour::default() }).await;
    openai.set(behaviour(Fault::HangBeforeHead));
    let text = shadowed(&openai, &qwen, 100.0, "openai", "").replace("enabled = false", "enabled = true");
    let running = launch(&text, false).await;
    let asked = tokio::spawn({
        let (address, request) = (running.address(), post("/v1/chat/completions", &chat("x", false), ""));
        async move { raw(address, &request).await }
    });
    // The copy and the failover are both at the baseline, and the copy goes.
    let status = until_status(&running, |status| status["backends"][1]["failovers"] == 1).await;
    assert_eq!(status["backends"][1]["failovers"], 1);
    until_status(&running, |status| status["shadow"]["in_flight"] == 0).await;
    openai.set(Behaviour::default());
    asked.abort();
    let result = |status: &Value| {
        let copies = status["shadow"]["copies"].as_array().unwrap().clone();
        copies.into_iter().find(|one| one["backend"] == "openai").unwrap()["pairs"]["cancelled"].clone()
    };
    until_status(&running, |status| result(status) == 1).await;
}

#[tokio::test]
async fn a_section_that_is_gone_ends_its_copies_at_once() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "");
    let running = launch(&text, true).await;
    ask(&running, &chat("x", false), "").await;
    until(qwen.in_flight(), |count| *count == 1).await;
    let (before, rest) = text.split_once("[shadow]").unwrap();
    let (_, after) = rest.split_once("[rollout]").unwrap();
    std::fs::write(&running.file, format!("{before}[rollout]{after}")).unwrap();
    until(qwen.in_flight(), |count| *count == 0).await;
    let status = until_pairs(&running, 1).await;
    assert_eq!(counted(&copies(&status)["pairs"]), [("cancelled".to_owned(), 1)]);
}

#[tokio::test]
async fn the_last_lines_are_the_counts_of_each_route() {
    let (running, _openai, _qwen, folder) = recorded(Behaviour::default(), 0.0, "", false).await;
    for n in 0..3 {
        assert_eq!(ask(&running, &chat(&format!("{n}"), false), "").await.status, 200);
    }
    until_pairs(&running, 3).await;
    running.app.drain(Duration::from_secs(5), std::future::pending()).await;
    let text = std::fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let counts: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "counts").collect();
    assert_eq!((lines.len(), counts.len()), (4, 1), "{text}");
    let (line, pair) = (counts[0], &lines[0]);
    assert_eq!(
        (&line["route"], &line["instance"], &line["hash"]),
        (&"default".into(), &pair["instance"], &pair["hash"])
    );
    let openai = &line["backends"]["openai"];
    assert_eq!((&openai["chosen"], &openai["served"], &openai["failed"]), (&3.into(), &3.into(), &0.into()));
    assert_eq!(line["shadow"]["qwen"]["sent"], 3);
    assert_eq!(line["noise"]["sent"], 0);
}

#[tokio::test]
async fn no_content_and_no_key_is_anywhere_without_being_asked_for() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    tokio::spawn(async move {
        let failure = r#"{"error":{"message":"failure-canary","type":"failure-canary","code":"failure-canary"}}"#;
        while let Ok((mut stream, _)) = script.accept().await {
            if read_request(&mut stream).await.is_none() {
                continue;
            }
            let head = "HTTP/1.1 500 failure-canary\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{failure}", failure.len());
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let more = format!("[records]\npath = \"{}\"\n", path.display());
    let text = shadowed(&openai, &qwen, 0.0, "qwen", &more).replace("noise_percent = 0", "noise_percent = 100");
    let failing = launch(&text.replace(&qwen.url(), &url), false).await;
    let tools = serde_json::json!([{"type": "function", "function": {"name": "tool-canary", "parameters": {
        "type": "object", "properties": {"argument-canary": {"type": "string"}}, "required": ["argument-canary"]}}}]);
    let request = with(serde_json::json!({
        "messages": [{"role": "system", "content": "system-canary"}, {"role": "user", "content": "prompt-canary"}],
        "tools": tools, "tool_choice": "required", "user": "user-canary", "metadata": {"a": "metadata-canary"}
    }));
    let more = "x-session-id: session-canary\r\ncookie: cookie-canary\r\n";
    assert_eq!(ask(&failing, &request, more).await.status, 200);
    let line = until_records(&path, 1).await.remove(0);
    assert_eq!(
        (&line["candidate"]["error_type"], &line["candidate"]["outcome"]),
        (&"500".into(), &"status_5xx".into())
    );
    assert_eq!((&line["request"]["tools"], &line["baseline"]["calls"]), (&1.into(), &1.into()));
    drop(failing);
    std::fs::remove_file(&path).unwrap();
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &request, more).await.status, 200);
    let lines = until_records(&path, 1).await;
    assert_eq!(lines[0]["scores"]["kind"], "tools");
    let page = get(running.app.admin, "/metrics").await.text();
    for text in [line.to_string(), lines[0].to_string(), page, running.status().await.to_string()] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn nothing_stays_held_after_the_last_pair() {
    for fault in [Fault::None, Fault::ResetBeforeHead, Fault::HangAfter(3), Fault::OneByteAtATime] {
        let (running, openai, _qwen) = launch_shadowed(behaviour(fault), "timeout = \"200ms\"").await;
        openai.set(Behaviour { tokens: (400, 400), ..Behaviour::default() });
        for stream in [true, false] {
            assert_eq!(ask(&running, &chat("x", stream), "").await.status, 200);
        }
        until_pairs(&running, 2).await;
        until_status(&running, |status| status["shadow"]["in_flight"] == 0 && status["shadow"]["bytes"] == 0).await;
    }
}
