//! Requests that a real engine refuses or answers wrongly, at simulated engines that do so: the candidate serves them,
//! or the baseline does from the start.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shiftgate::api::app::Options;
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Wire};

use crate::reload::eventually;
use crate::support::*;

const PACE: PollIntervals = PollIntervals {
    poll: Duration::from_millis(5),
    deadline: Duration::from_secs(10),
    retry: Duration::from_millis(1),
    probe_again: Duration::from_secs(60),
    hit_window: Duration::from_millis(20),
    models: Duration::from_secs(3600),
};

fn candidate(wire: Wire) -> SimConfig {
    SimConfig::new(wire).model("qwen-served").key("qwen-key-canary")
}

/// Starts a sidecar with failover whose candidate is `server`, with `options` in its section.
async fn before(server: SimConfig, options: &str) -> (Running, Sim, Sim) {
    let (engine, tells_length) = match server.wire {
        Wire::Vllm => ("vllm", true),
        Wire::Sglang => ("sglang", true),
        Wire::Trtllm => ("trtllm", false),
        Wire::Tgi => ("tgi", true),
        other => panic!("{other:?} is not tested here"),
    };
    let (openai, _) = pair(Behaviour::default()).await;
    let qwen = sim::start(server, Behaviour::default()).await.unwrap();
    let text = file(&openai, &qwen, 100.0)
        .replace("engine = \"vllm\"", &format!("engine = \"{engine}\"\n{options}"))
        .replace("enabled = false", "enabled = true")
        .replace("[server]", "[server]\nallow_override = true");
    let running = launch_as(&text, Options { ask: Some(PACE), ..Options::default() }).await;
    if tells_length && !options.contains("max_model_len") {
        let target = Arc::clone(&running.app.store.current().targets_off_path()[1]);
        eventually(|| target.max_model_len().is_some()).await;
    }
    (running, qwen, openai)
}

#[track_caller]
fn assert_by(answer: &Answer, backend: &str, reason: &str) {
    let found = (answer.header("x-shiftgate-backend"), answer.header("x-shiftgate-reason"));
    assert_eq!((answer.status, found), (200, (Some(backend), Some(reason))), "{}", answer.text());
}

fn weather() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "description": "Current weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}])
}

#[tokio::test]
async fn a_limit_near_the_context_leaves_room_for_template_and_tools() {
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Trtllm, Wire::Tgi] {
        let options = if wire == Wire::Trtllm { "max_model_len = 1024" } else { "" };
        let (running, qwen, _openai) = before(SimConfig { max_model_len: 1024, ..candidate(wire) }, options).await;
        for asked in [json!({}), json!({"tools": weather()}), json!({"stream": true})] {
            for limit in [990, 1000, 1024, 1025, 100_000] {
                let mut asked = asked.clone();
                asked["max_tokens"] = json!(limit);
                let answer = ask(&running, &with(asked), "").await;
                assert_by(&answer, "qwen", "split");
                let sent = sent(&qwen)["max_tokens"].as_u64().unwrap();
                assert!(sent < limit && sent > 500, "{wire:?}: {sent} of {limit}");
            }
        }
        // A prompt that no limit can make fit is not sent.
        let before = qwen.requests();
        let long = with(json!({"messages": [{"role": "user", "content": "word ".repeat(600)}]}));
        assert_by(&ask(&running, &long, "").await, "openai", "pinned:context");
        assert_eq!(qwen.requests(), before);
    }
}

#[tokio::test]
async fn a_length_that_is_refused_all_the_same_does_not_open_the_breaker() {
    let long = json!([{"role": "user", "content": "word ".repeat(9000)}]);
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Trtllm, Wire::Tgi] {
        let server = SimConfig { max_model_len: 1024, max_input_tokens: Some(1_000_000), ..candidate(wire) };
        let options = "max_model_len = 1_000_000\nbreaker = { failures = 2 }\nresponses = true";
        let (running, qwen, _openai) = before(server, options).await;
        for turn in 0..6 {
            let is_stream = turn % 2 == 0;
            let body = match turn % 3 {
                0 if wire != Wire::Tgi => with(json!({"max_tokens": 5000, "stream": is_stream})),
                1 if wire != Wire::Tgi => {
                    let words = "word ".repeat(9000);
                    json!({"model": "gpt-4o", "input": words, "store": false, "stream": is_stream}).to_string()
                }
                _ => with(json!({"messages": long, "stream": is_stream})),
            };
            let path = if body.contains("\"input\"") { "/v1/responses" } else { "/v1/chat/completions" };
            let answer = raw(running.address(), &post(path, &body, "")).await;
            // Some servers tell a stream in an event.
            let reason = answer.header("x-shiftgate-reason").unwrap_or_default();
            assert!(
                ["failover:status", "failover:error_event"].contains(&reason),
                "{wire:?}, {turn}: {}",
                answer.text()
            );
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(qwen.received().iter().filter(|request| request.method == "POST").count(), 6, "{wire:?}");
        assert_eq!(running.status().await["backends"][1]["breaker"], "closed", "{wire:?}");
        assert_by(&ask(&running, &with(json!({"max_tokens": 9})), "").await, "qwen", "split");
    }
}

#[tokio::test]
async fn a_prompt_longer_than_tgi_takes_is_pinned() {
    for options in ["", "max_model_len = 32768"] {
        let server = SimConfig { max_input_tokens: Some(200), ..candidate(Wire::Tgi) };
        let (running, qwen, _openai) = before(server, options).await;
        let target = Arc::clone(&running.app.store.current().targets_off_path()[1]);
        eventually(|| target.facts.max_input_tokens() == Some(200)).await;
        let asked = qwen.received().len();
        for text in ["word ".repeat(300), "日本".repeat(100)] {
            let long = with(json!({"messages": [{"role": "user", "content": text}]}));
            assert_by(&ask(&running, &long, "").await, "openai", "pinned:context");
        }
        assert_eq!(qwen.received().len(), asked);
        let route = &running.status().await["routes"][0];
        assert_eq!((&route["pinned"], &route["pinned_late"]), (&json!({"context": 2}), &json!({})));
        // An override goes before the pins, but not before the translation.
        let long = with(json!({"messages": [{"role": "user", "content": "word ".repeat(300)}]}));
        assert_by(&ask(&running, &long, "x-shiftgate-backend: qwen\r\n").await, "openai", "pinned:context");
        assert_by(&ask(&running, &with(json!({})), "").await, "qwen", "split");
    }
}

#[tokio::test]
async fn no_call_is_made_where_none_is_wanted() {
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Trtllm, Wire::Tgi] {
        let (running, qwen, _openai) = before(candidate(wire), "").await;
        let messages = json!([{"role": "user", "content": "What is the weather in Paris? Use the tool."}]);
        for (name, chosen) in [("tools", "tool_choice"), ("functions", "function_call")] {
            let offered = if name == "tools" { weather() } else { json!([weather()[0]["function"]]) };
            for stream in [false, true] {
                let body = with(json!({"messages": messages, name: offered, chosen: "none", "stream": stream}));
                let answer = ask(&running, &body, "").await;
                assert_by(&answer, "qwen", "split");
                let text = answer.text();
                assert!(!text.contains("tool_call") && !text.contains("function_call"), "{wire:?}: {text}");
                assert_eq!((&sent(&qwen)["tools"], &sent(&qwen)["tool_choice"]), (&Value::Null, &Value::Null));
            }
        }
    }
    let (running, qwen, _openai) = before(candidate(Wire::Vllm), "responses = true").await;
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}]);
    let body = json!({"model": "gpt-4o", "store": false, "input": "What is the weather?", "tools": tools,
        "tool_choice": "none", "stream": false});
    for stream in [false, true] {
        let mut body = body.clone();
        body["stream"] = json!(stream);
        let answer = raw(running.address(), &post("/v1/responses", &body.to_string(), "")).await;
        assert_by(&answer, "qwen", "split");
        assert!(!answer.text().contains("tool_call>") && !answer.text().contains("function_call"), "{}", answer.text());
        assert_eq!(sent(&qwen)["tools"], Value::Null);
    }
}

#[tokio::test]
async fn schemas_that_a_grammar_refuses_are_pinned() {
    let unique = json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true});
    let sized = json!({"type": "string", "pattern": "^a", "maxLength": 9});
    let named = json!({"type": "object", "properties": {"not": {"type": "string"}, "uniqueItems": {"type": "string"}}});
    for (wire, schema, is_pinned) in [
        (Wire::Vllm, &unique, true),
        (Wire::Sglang, &unique, true),
        (Wire::Vllm, &sized, false),
        (Wire::Sglang, &sized, true),
        (Wire::Sglang, &json!({"type": "integer", "multipleOf": 5}), true),
        (Wire::Sglang, &json!({"not": {"type": "null"}}), true),
        (Wire::Sglang, &json!({"if": {"type": "string"}, "then": {"minLength": 1}}), true),
        (Wire::Vllm, &json!({"type": "array", "items": {"type": "string"}, "uniqueItems": false}), false),
        (Wire::Vllm, &named, false),
        (Wire::Sglang, &named, false),
        (Wire::Tgi, &named, false),
    ] {
        let (running, qwen, _openai) = before(candidate(wire), "responses = true").await;
        let schema = json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let (backend, reason) = if is_pinned { ("openai", "pinned:format") } else { ("qwen", "split") };
        let answer = ask(&running, &with(json!({"response_format": format})), "").await;
        assert_by(&answer, backend, reason);
        if wire == Wire::Tgi {
            continue;
        }
        let format = json!({"format": {"type": "json_schema", "name": "x", "schema": schema}});
        let body = json!({"model": "gpt-4o", "input": "hi", "store": false, "text": format}).to_string();
        assert_by(&raw(running.address(), &post("/v1/responses", &body, "")).await, backend, reason);
        // The parameters of a tool are compiled by other means.
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        assert_by(&ask(&running, &with(json!({"tools": tools})), "").await, "qwen", "split");
        assert_eq!(sent(&qwen)["tools"], tools);
    }
}

#[tokio::test]
async fn the_tokens_of_an_unstreamed_answer_are_its_text() {
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Tgi] {
        let (running, _qwen, _openai) = before(candidate(wire), "").await;
        let whole = ask(&running, &with(json!({})), "").await.json();
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        let half: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
        for (model, stop) in [("gpt-4o", None), ("gpt-4o", Some(&half)), ("gpt-5", None), ("gpt-5", Some(&half))] {
            let mut fields = json!({"model": model, "logprobs": true, "top_logprobs": 2});
            if let Some(stop) = stop {
                fields["stop"] = json!(stop);
            }
            let answer = ask(&running, &with(fields), "").await;
            assert_by(&answer, "qwen", "split");
            let choice = &answer.json()["choices"][0];
            let tokens = choice["logprobs"]["content"].as_array().unwrap();
            let joined: String = tokens.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
            assert_eq!(choice["message"]["content"], joined, "{wire:?}, {model}, {stop:?}");
            let bytes: Vec<u8> = tokens
                .iter()
                .filter_map(|entry| entry["bytes"].as_array())
                .flatten()
                .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
                .collect();
            assert_eq!(bytes, if wire == Wire::Tgi { b"" } else { joined.as_bytes() });
        }
    }
}

#[tokio::test]
async fn json_of_three_levels_is_asked_of_tgi_and_told() {
    let messages = json!([{"role": "user", "content": "Which cities? Reply in JSON."}]);
    let format = json!({"messages": messages, "response_format": {"type": "json_object"}, "max_tokens": 50});
    let (running, qwen, _openai) = before(candidate(Wire::Tgi), "").await;
    let answer = ask(&running, &with(format.clone()), "").await;
    assert_by(&answer, "qwen", "split");
    assert_eq!(sent(&qwen)["response_format"]["type"], "regex");
    let told = answer.header("x-shiftgate-translated").unwrap();
    assert!(told.contains("flagged=response_format"), "{told}");
    let (running, qwen, _openai) = before(candidate(Wire::Tgi), "translate = \"strict\"").await;
    let asked = qwen.received().len();
    assert_by(&ask(&running, &with(format), "").await, "openai", "pinned:strict");
    assert_eq!(qwen.received().len(), asked);
}

#[tokio::test]
async fn the_ledger_names_the_part_of_a_message_that_was_dropped() {
    let (running, _qwen, _openai) = before(candidate(Wire::Vllm), "").await;
    let messages = json!([{"role": "user", "content": "hi"},
        {"role": "assistant", "content": "a", "annotations": [], "refusal": null}, {"role": "user", "content": "b"}]);
    let answer = ask(&running, &with(json!({"messages": messages})), "").await;
    assert_by(&answer, "qwen", "split");
    assert_eq!(
        answer.header("x-shiftgate-translated"),
        Some("dropped=messages[].annotations,messages[].refusal rewritten=model,chat_template_kwargs")
    );
}

#[tokio::test]
async fn a_negative_top_k_never_reaches_tensorrt_llm() {
    let (running, qwen, _openai) = before(candidate(Wire::Trtllm), "").await;
    for top_k in [json!(-1), json!(-2), json!(-1000), json!(-0.5)] {
        assert_by(&ask(&running, &with(json!({"top_k": top_k})), "").await, "qwen", "split");
        assert_eq!(sent(&qwen)["top_k"], 0);
    }
}
