//! Translation through the running proxy: the bytes that each side receives, and the counters.

use crate::support::*;
use serde_json::{Value, json};
use shiftgate::api::proxy::ClientTimeouts;
use shiftgate::api::sim::{Behaviour, Sim};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const CHAT: &str = "/v1/chat/completions";

async fn at(percent: f64) -> (Running, Sim, Sim) {
    let (openai, qwen) = pair(Behaviour::default()).await;
    (launch(&file(&openai, &qwen, percent), false).await, openai, qwen)
}

fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn what_a_candidate_cannot_do_is_pinned_before_the_draw_and_counted() {
    let (running, _openai, qwen) = at(100.0).await;
    let image =
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]);
    for (fields, reason) in [
        (json!({"messages": image}), "pinned:vision"),
        (json!({"web_search_options": {}}), "pinned:hosted"),
        (json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}), "pinned:tools"),
        (json!({"logit_bias": {"1": 100}}), "pinned:logit_bias"),
        (json!({"modalities": ["text", "audio"]}), "pinned:audio"),
    ] {
        let answer = ask(&running, &with(fields), "").await;
        assert_eq!(
            (answer.header("x-shiftgate-backend"), answer.header("x-shiftgate-reason")),
            (Some("openai"), Some(reason))
        );
    }
    assert_eq!(qwen.requests(), 0);
    let route = &running.status().await["routes"][0];
    assert_eq!(route["pinned"], json!({"audio": 1, "hosted": 1, "logit_bias": 1, "tools": 1, "vision": 1}));
    assert_eq!((&route["pinned_late"], &route["got"]), (&json!({}), &Value::Null), "outside the split");
}

#[tokio::test]
async fn what_only_shows_while_translating_is_pinned_after_the_draw_and_counted_apart() {
    let (running, _openai, qwen) = at(100.0).await;
    let part = json!([{"role": "user", "content": [{"type": "hologram", "hologram": {}}]}]);
    // Spelled like this, the content type shows only when the messages are parsed.
    let hidden = with(json!({"messages": part})).replace("\"type\"", "\"ty\\u0070e\"");
    let answer = ask(&running, &hidden, "").await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("pinned:unknown_field"));
    assert_eq!(qwen.requests(), 0);
    let route = &running.status().await["routes"][0];
    assert_eq!((&route["pinned_late"], &route["got"]), (&json!({"unknown_field": 1}), &Value::Null));
    let page = get(running.app.admin, "/metrics").await.text();
    for line in [
        "shiftgate_split_late_pins_total{route=\"default\",reason=\"pinned:unknown_field\"} 1",
        "shiftgate_translate_total{backend=\"qwen\",field=\"messages\",action=\"pinned\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn where_no_backend_can_the_application_is_told_the_field() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 0.0)
        .replace("baseline = \"openai\"", "baseline = \"qwen\"")
        .replace("percent = { qwen = 0.0 }", "percent = {}");
    let running = launch(&text, false).await;
    let content = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    let answer = ask(&running, &with(json!({"messages": [{"role": "user", "content": content}]})), "").await;
    let error = &answer.json()["error"];
    assert_eq!(answer.status, 400);
    assert_eq!(
        (&error["param"], &error["code"], &error["type"]),
        (&json!("messages[0].content[1]"), &json!("unsupported_feature"), &json!("invalid_request_error"))
    );
    // A baseline of another engine is translated like a candidate.
    let answer = ask(&running, &with(json!({"max_completion_tokens": 7, "store": true})), "").await;
    assert_eq!(answer.json()["model"], "gpt-4o", "{}", answer.text());
    assert_eq!((&sent(&qwen)["max_tokens"], &sent(&qwen)["store"]), (&json!(7), &Value::Null));
    assert_eq!(openai.requests(), 0);
    for (fields, param) in
        [(json!({"guided_json": {}}), "guided_json"), (json!({"tools": [], "tool_choice": "required"}), "tool_choice")]
    {
        let answer = ask(&running, &with(fields), "").await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
}

#[tokio::test]
async fn streams_ask_for_usage_and_only_who_asked_sees_it() {
    let (running, openai, qwen) = at(100.0).await;
    for (options, chunks) in
        [(Value::Null, 0), (json!({"include_usage": false}), 0), (json!({"include_usage": true}), 1)]
    {
        let answer = ask(&running, &with(json!({"stream": true, "stream_options": options})), "").await;
        assert_eq!(sent(&qwen)["stream_options"], json!({"include_usage": true}));
        let events = events(&answer);
        let told = events.iter().filter(|event| event["choices"] == json!([])).count();
        assert_eq!((told, answer.text().matches("data: [DONE]\n\n").count()), (chunks, 1), "{}", answer.text());
        assert_eq!(events.iter().filter(|event| event["usage"].is_object()).count(), chunks);
        assert!(events.iter().all(|event| event["model"] == "gpt-4o"));
    }
    assert!(running.status().await["backends"][1]["tokens"]["output"].as_u64().unwrap() > 0);
    // OpenAI's stream is priced from injected usage that the application does not see.
    let text = file(&openai, &qwen, 0.0).replace("engine = \"openai\"", "engine = \"openai\"\ninject_usage = true");
    let running = launch(&text, false).await;
    let answer = ask(&running, &with(json!({"stream": true})), "").await;
    assert_eq!(sent(&openai)["stream_options"], json!({"include_usage": true}));
    assert!(!answer.text().contains("usage") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert!(running.status().await["backends"][0]["tokens"]["output"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_tools_result_goes_home_while_its_owner_serves_at_all() {
    let (running, openai, qwen) = at(100.0).await;
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let asked = json!([{"role": "user", "content": "weather?"}]);
    let answer = ask(&running, &with(json!({"tools": tools, "messages": asked})), "").await.json();
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("call_q_") && id.len() <= 40, "{answer}");
    let turn = with(json!({"tools": tools, "messages": [
        {"role": "user", "content": "hi"}, message, {"role": "tool", "tool_call_id": id, "content": "18 C"}]}));
    // Each request is drawn anew and almost never goes to the candidate.
    let seldom = file(&openai, &qwen, 0.01).replace("name = \"test\"", "name = \"test\"\nsticky = []");
    let running = launch(&seldom, false).await;
    for _ in 0..5 {
        let answer = ask(&running, &turn, "").await;
        assert_eq!(
            (answer.header("x-shiftgate-backend"), answer.header("x-shiftgate-reason")),
            (Some("qwen"), Some("affinity"))
        );
    }
    let never = launch(&file(&openai, &qwen, 0.0), false).await;
    let answer = ask(&never, &turn, "").await;
    assert_eq!(
        (answer.header("x-shiftgate-backend"), answer.header("x-shiftgate-reason")),
        (Some("openai"), Some("split"))
    );
}

#[tokio::test]
async fn the_ledger_is_told_in_the_answers_head_and_counted() {
    let (running, _openai, qwen) = at(100.0).await;
    let body = with(json!({"max_completion_tokens": 9, "logit_bias": {"1": 5}, "store": true, "x-evil\r\n": 1}));
    let answer = ask(&running, &body, "").await;
    assert_eq!(
        answer.header("x-shiftgate-translated"),
        Some("renamed=max_completion_tokens dropped=logit_bias,store,other rewritten=model,chat_template_kwargs")
    );
    assert_eq!(answer.header("x-shiftgate-model"), Some("qwen-served"));
    assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")));
    assert!(answer.header("openai-processing-ms").is_some_and(|ms| ms.parse::<u64>().is_ok()));
    assert_eq!(qwen.received()[0].headers["content-type"], "application/json");
    let page = get(running.app.admin, "/metrics").await.text();
    for (field, action) in [("max_completion_tokens", "renamed"), ("store", "dropped"), ("other", "dropped")] {
        let line = format!("shiftgate_translate_total{{backend=\"qwen\",field=\"{field}\",action=\"{action}\"}} 1");
        assert!(page.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn a_stored_response_is_its_owners_whatever_the_percent() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0).replace("family = \"qwen3\"", "responses = true");
    let body = json!({"model": "gpt-4o", "input": "hi", "store": false}).to_string();
    let shifted = launch(&text, false).await;
    let answer = raw(shifted.address(), &post("/v1/responses", &body, "")).await.json();
    let id = answer["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("resp_q_"), "{answer}");
    // The percent goes back to 0 between two turns.
    let back = launch(&text.replace("qwen = 100.0", "qwen = 0.0"), false).await;
    let next = json!({"model": "gpt-4o", "input": "and?", "previous_response_id": id}).to_string();
    let answer = raw(back.address(), &post("/v1/responses", &next, "")).await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("affinity"));
    assert!(id.ends_with(sent(&qwen)["previous_response_id"].as_str().unwrap()), "{}", sent(&qwen));
    get(back.address(), &format!("/v1/responses/{id}")).await;
    let target = qwen.received().last().unwrap().target.clone();
    assert!(!target.contains("resp_q_") && target.starts_with("/v1/responses/resp_"), "{target}");
    let foreign = next.replace(&id, "resp_68aa");
    let answer = raw(back.address(), &post("/v1/responses", &foreign, "")).await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("pinned:stateful"));
}

/// Starts a sidecar whose candidate sends `answer` and, if it `stalls`, keeps the connection open in silence.
async fn playing(answer: String, stalls: bool, options: &str, timeouts: ClientTimeouts) -> Running {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0)
        .replace(&qwen.url(), &player(answer, stalls).await)
        .replace("family = \"qwen3\"", options);
    launch_with(&text, false, timeouts).await
}

/// Starts such a backend and returns its URL.
async fn player(answer: String, stalls: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                if read_request(&mut stream).await.is_some() {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if stalls {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    url
}

fn streamed(events: &[Value]) -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for event in events {
        let event = format!("data: {event}\n\n");
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    }
    text
}

fn delta(delta: Value) -> Value {
    json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "q", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

#[tokio::test]
async fn while_thoughts_are_kept_back_the_stream_says_that_it_goes_on() {
    let answer = streamed(&[delta(json!({"content": "word"})), delta(json!({"reasoning": "hm"}))]);
    let timeouts = ClientTimeouts { quiet: Duration::from_millis(20), ..ClientTimeouts::default() };
    let running = playing(answer, true, "family = \"qwen3\"", timeouts).await;
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post(CHAT, &chat("x", true), "")).await.unwrap();
    let mut got = Vec::new();
    while got.windows(16).filter(|window| window == b": keep-alive\n\n\r\n").count() < 2 {
        let read = tokio::io::AsyncReadExt::read_buf(&mut client, &mut got);
        assert!(tokio::time::timeout(PATIENCE, read).await.expect("it never says so").unwrap() > 0);
    }
    let text = String::from_utf8_lossy(&got).into_owned();
    assert!(text.contains("word") && !text.contains("hm"), "{text}");
}

#[tokio::test]
async fn a_thinking_models_stop_strings_are_enforced_here_and_the_server_is_left() {
    let words = ["one ", "two EN", "D three", " four"].map(|word| delta(json!({"content": word})));
    let answer = streamed(&[vec![delta(json!({"reasoning": "is END near?"}))], words.to_vec()].concat());
    let running = playing(answer, true, "family = \"qwen3\"", ClientTimeouts::default()).await;
    let body = with(json!({"model": "gpt-5", "stop": "END", "stream": true}));
    let answer = ask(&running, &body, "").await;
    let said: String = events(&answer)
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, "one two ", "{}", answer.text());
    assert!(answer.text().contains("\"finish_reason\":\"stop\"") && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(running.app.stats.ended().get("complete"), Some(&1), "though the server never ended");
}

#[tokio::test]
async fn an_answer_that_begins_with_its_stop_string_is_an_empty_one_at_once() {
    for (reasoning, words) in [(true, vec!["END", " and", " more"]), (false, vec!["<think>x</think>\n\nEND and"])] {
        let mut said: Vec<Value> = words.iter().map(|word| delta(json!({"content": word}))).collect();
        if reasoning {
            said.insert(0, delta(json!({"reasoning": "hm"})));
        }
        let running = playing(streamed(&said), true, "family = \"qwen3\"", ClientTimeouts::default()).await;
        let answer = ask(&running, &with(json!({"model": "gpt-5", "stop": "END", "stream": true})), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")), "{}", answer.text());
        let reasons: Vec<Value> =
            events(&answer).iter().map(|event| event["choices"][0]["finish_reason"].clone()).collect();
        assert_eq!(reasons.last(), Some(&json!("stop")), "{}", answer.text());
        assert!(answer.text().ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn a_stop_string_in_the_first_words_ends_the_answer_without_waiting_for_more() {
    let answer = streamed(&[delta(json!({"content": "one END two"}))]);
    let running = playing(answer, true, "family = \"qwen3\"", ClientTimeouts::default()).await;
    let answer = ask(&running, &with(json!({"model": "gpt-5", "stop": "END", "stream": true})), "").await;
    assert!(answer.text().contains("\"one \"") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}

#[tokio::test]
async fn a_choice_that_met_its_stop_string_does_not_end_the_others() {
    let second = |delta: Value, reason: Value| {
        json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "q",
        "choices": [{"index": 1, "delta": delta, "finish_reason": reason}]})
    };
    let said = [
        delta(json!({"content": "one"})),
        delta(json!({"content": " END"})),
        second(json!({"content": "two"}), Value::Null),
        second(json!({}), json!("stop")),
    ];
    let running = playing(streamed(&said), true, "family = \"qwen3\"", ClientTimeouts::default()).await;
    let answer = ask(&running, &with(json!({"model": "gpt-5", "n": 2, "stop": "END", "stream": true})), "").await;
    assert!(answer.text().contains("\"two\"") && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}

#[tokio::test]
async fn nothing_is_said_in_openais_own_stream() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let url = player(streamed(&[delta(json!({"content": "word"}))]), true).await;
    let text = file(&openai, &qwen, 0.0)
        .replace(&openai.url(), &url)
        .replace("engine = \"openai\"", "engine = \"openai\"\ninject_usage = true");
    let timeouts = ClientTimeouts { quiet: Duration::from_millis(10), ..ClientTimeouts::default() };
    let running = launch_with(&text, false, timeouts).await;
    for options in [Value::Null, json!({"include_usage": true})] {
        let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
        let body = with(json!({"stream": true, "stream_options": options}));
        client.write_all(&post(CHAT, &body, "")).await.unwrap();
        let mut got = Vec::new();
        let reading = async { while tokio::io::AsyncReadExt::read_buf(&mut client, &mut got).await.unwrap() > 0 {} };
        assert!(tokio::time::timeout(Duration::from_millis(300), reading).await.is_err(), "it goes on");
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(got.contains("word") && !got.contains("keep-alive"), "{got}");
    }
}

#[tokio::test]
async fn after_an_error_event_nothing_follows_whatever_came_with_it() {
    let error = "data: {\"error\":{\"message\":\"died\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
    let together = format!("{error}data: [DONE]\n\n");
    let answer =
        streamed(&[delta(json!({"content": "word"}))]) + &format!("{:x}\r\n{together}\r\n0\r\n\r\n", together.len());
    for options in ["family = \"qwen3\"", "inject_usage = true"] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let engine = if options.starts_with("inject") { "engine = \"openai\"" } else { "engine = \"vllm\"" };
        let text = file(&openai, &qwen, 100.0)
            .replace(&qwen.url(), &player(answer.clone(), false).await)
            .replace("engine = \"vllm\"", engine)
            .replace("family = \"qwen3\"", options);
        let running = launch(&text, false).await;
        let answer = ask(&running, &chat("x", true), "").await;
        assert!(answer.text().contains("word") && answer.text().contains("died"), "{}", answer.text());
        assert!(!answer.text().contains("[DONE]") && answer.whole, "{}", answer.text());
    }
}

#[tokio::test]
async fn after_the_end_nothing_is_said_though_the_backend_stays() {
    let mut answer = streamed(&[delta(json!({"content": "word"}))]);
    answer.push_str("e\r\ndata: [DONE]\n\n\r\n");
    let timeouts = ClientTimeouts { quiet: Duration::from_millis(10), ..ClientTimeouts::default() };
    let running = playing(answer, true, "family = \"qwen3\"", timeouts).await;
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post(CHAT, &chat("x", true), "")).await.unwrap();
    let mut got = Vec::new();
    let reading = async { while tokio::io::AsyncReadExt::read_buf(&mut client, &mut got).await.unwrap() > 0 {} };
    assert!(tokio::time::timeout(Duration::from_millis(300), reading).await.is_err(), "the body has not ended");
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.ends_with("data: [DONE]\n\n\r\n") && !got.contains("keep-alive"), "{got}");
}

#[tokio::test]
async fn what_an_engine_refuses_is_told_in_openais_words() {
    let long = "This model's maximum context length is 32768 tokens. However, you requested 40000 tokens.";
    for (status, body, told, code) in [
        (
            400,
            json!({"error": {"message": long, "type": "BadRequestError", "param": null, "code": 400}}),
            400,
            json!("context_length_exceeded"),
        ),
        (422, json!({"error": {"message": "a\nb", "code": 422}}), 400, Value::Null),
        (401, json!({"error": "Unauthorized"}), 502, json!("upstream_misconfigured")),
        (404, json!({"detail": "Not Found"}), 502, json!("upstream_misconfigured")),
        (503, json!({"error": {"message": "full", "code": 503}}), 503, json!("upstream_error")),
    ] {
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-engine: v\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let running = playing(head + &body, false, "", ClientTimeouts::default()).await;
        let answer = ask(&running, &chat("x", false), "").await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["code"]), (told, &code), "{body}");
        assert!(!error["message"].as_str().unwrap().contains('\n'));
        let fields: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["message", "type", "param", "code"]);
        assert_eq!(answer.header("x-engine"), None);
        let again = (answer.header("retry-after"), answer.header("x-should-retry"));
        let expected = match told {
            503 => (Some("1"), Some("true")),
            502 => (None, Some("false")),
            _ => (None, None),
        };
        assert_eq!(again, expected, "{body}");
        let page = get(running.app.admin, "/metrics").await.text();
        let alarm = format!("shiftgate_misconfigured_total{{backend=\"qwen\"}} {}", i32::from(told == 502));
        assert!(page.contains(&alarm), "{alarm}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_model_as_the_application_did() {
    let message = "qwen-served is no multimodal model (see `qwen-served`, not qwen-served-2)";
    let error =
        json!({"error": {"message": message, "type": "BadRequestError", "param": null, "code": 400}}).to_string();
    let refused = format!("HTTP/1.1 400 X\r\ncontent-length: {}\r\n\r\n{error}", error.len());
    let event = format!("data: {error}\n\n");
    let begun =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{event}", event.len());
    for (answer, is_stream) in [(refused, false), (begun, true)] {
        let running = playing(answer, false, "", ClientTimeouts::default()).await;
        let answer = ask(&running, &chat("x", is_stream), "").await;
        assert_eq!(
            (answer.status, answer.json()["error"]["message"].as_str()),
            (400, Some("gpt-4o is no multimodal model (see `gpt-4o`, not qwen-served-2)"))
        );
    }
}

#[tokio::test]
async fn a_wrong_key_or_name_is_an_alarm_though_nobody_notices() {
    for (status, body, alarms) in [
        (401, "{\"error\":\"Unauthorized\"}", 1),
        (404, "{\"detail\":\"Not Found\"}", 1),
        (400, "{\"error\":{\"message\":\"no\"}}", 0),
        (503, "", 0),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (openai, qwen) = pair(Behaviour::default()).await;
        let text = file(&openai, &qwen, 100.0)
            .replace(&qwen.url(), &player(answer, false).await)
            .replace("enabled = false", "enabled = true");
        let running = launch(&text, false).await;
        let answer = ask(&running, &chat("x", false), "").await;
        assert_eq!((answer.status, answer.header("x-shiftgate-reason")), (200, Some("failover:status")));
        let page = get(running.app.admin, "/metrics").await.text();
        let line = format!("shiftgate_misconfigured_total{{backend=\"qwen\"}} {alarms}");
        assert!(page.contains(&line), "{status}: {line}\n{page}");
    }
}
