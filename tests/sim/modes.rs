//! Behaviour without recordings: OpenAI, DashScope, the common server, templates, metrics and faults.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shiftgate::api::sim::{self, Behaviour, Difference, Differences, Fault, Load, SimConfig, Template, Wire};

use crate::compare::{RecordedRequest, faulty, send, tokens};

fn post(path: &str, body: &Value) -> RecordedRequest {
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    RecordedRequest { method: "POST".to_owned(), path: path.to_owned(), headers, body: Some(body.to_string()) }
}

/// Returns a chat about `text` with further fields.
fn chat(text: &str, more: Value) -> RecordedRequest {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    for (name, field) in more.as_object().unwrap() {
        body[name.as_str()] = field.clone();
    }
    post("/v1/chat/completions", &body)
}

async fn answer(server: &sim::Sim, request: &RecordedRequest) -> (u16, Value) {
    let (status, _, body) = send(server.address(), request).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn the_same_question_gets_the_same_words() {
    let server = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let said = |answer: (u16, Value)| answer.1["choices"][0]["message"]["content"].to_string();
    let request = chat("q", json!({}));
    assert_eq!(said(answer(&server, &request).await), said(answer(&server, &request).await));
    let (status, refused) = answer(&server, &chat("q", json!({"top_k": 3}))).await;
    assert_eq!(status, 400);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("Unrecognized request argument supplied: top_k"), "{message}");
}

const TOOL: &str = r#"{"type":"function","function":{"name":"get_weather","parameters":
    {"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}"#;

#[tokio::test]
async fn openai_answers_in_every_form() {
    let server = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let tool: Value = serde_json::from_str(TOOL).unwrap();
    let schema = json!({"type": "object", "$defs": {"P": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        "properties": {"p": {"$ref": "#/$defs/P"}, "all": {"type": "array", "items": {"$ref": "#/$defs/P"}}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let picture = json!([{"role": "user", "content": [{"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]);
    for (more, pointer, expected) in [
        (json!({"response_format": format}), "/choices/0/message/content", json!(r#"{"p":{"x":7},"all":[{"x":7}]}"#)),
        (json!({"functions": [tool["function"]]}), "/choices/0/message/function_call/name", json!("get_weather")),
        (json!({"functions": [tool["function"]]}), "/choices/0/finish_reason", json!("function_call")),
        (json!({"tools": [tool, tool]}), "/choices/0/message/tool_calls/1/function/name", json!("get_weather")),
        (json!({"tools": [tool], "parallel_tool_calls": false}), "/choices/0/message/tool_calls/1", Value::Null),
        (json!({"n": 3}), "/choices/2/index", json!(2)),
        (json!({"logprobs": true, "top_logprobs": 2}), "/choices/0/logprobs/content/0/token", json!("Garden")),
        (json!({"messages": picture}), "/choices/0/message/role", json!("assistant")),
        (json!({"tools": []}), "/error/param", json!("tools")),
        (json!({"model": "gpt-5", "max_tokens": 3}), "/error/code", json!("unsupported_parameter")),
        (json!({"reasoning_effort": "low"}), "/error/type", json!("invalid_request_error")),
    ] {
        let (_, body) = answer(&server, &chat("weather of two cities", more.clone())).await;
        let found = body.pointer(pointer).cloned().unwrap_or_default();
        let loose = pointer.ends_with("/token");
        assert!(found == expected || (loose && found.is_string()), "{more}: {pointer} is {found}, not {expected}");
    }
}

#[tokio::test]
async fn a_template_raises_and_a_thought_can_be_turned_off() {
    let late = json!([{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]);
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Trtllm, Wire::Tgi] {
        let server = sim::start(SimConfig::new(wire).template(Template::Qwen35), tokens(7)).await.unwrap();
        let (status, body) = answer(&server, &chat("q", json!({"messages": late}))).await;
        assert!((400..500).contains(&status), "{wire:?}: {status}");
        assert!(body.to_string().contains("System message must be at the beginning."), "{wire:?}: {body}");
        let thinks = |body: &Value| {
            let message = &body["choices"][0]["message"];
            let fields = ["reasoning", "reasoning_content"].map(|field| message[field].as_str().unwrap_or_default());
            fields.iter().any(|text| !text.is_empty()) || message["content"].as_str().unwrap().contains("<think>")
        };
        let (_, body) = answer(&server, &chat("q", json!({}))).await;
        assert!(thinks(&body), "{wire:?}: {body}");
        let off = json!({"chat_template_kwargs": {"enable_thinking": false}});
        let (_, body) = answer(&server, &chat("q", off)).await;
        // TGI has no such switch.
        assert_eq!(thinks(&body), wire == Wire::Tgi, "{wire:?}: {body}");
    }
}

#[tokio::test]
async fn dashscope_and_the_common_server_are_strict() {
    let dashscope = sim::start(SimConfig::new(Wire::DashScope), tokens(7)).await.unwrap();
    let compatible = sim::start(SimConfig::new(Wire::Compatible), tokens(7)).await.unwrap();
    let tool: Value = serde_json::from_str(TOOL).unwrap();
    let off = |mut more: Value| {
        more["enable_thinking"] = json!(false);
        more
    };
    for (more, status) in [
        (json!({}), 400),
        (off(json!({})), 200),
        (json!({"stream": true}), 200),
        (off(json!({"temperature": 2})), 400),
        (off(json!({"n": 2})), 400),
        (off(json!({"user": "u"})), 400),
        (off(json!({"messages": [{"role": "developer", "content": "s"}]})), 400),
        (off(json!({"response_format": {"type": "json_object"}})), 400),
        (off(json!({"tools": [tool], "tool_choice": "required"})), 400),
        (
            json!({"stream": true, "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}),
            400,
        ),
    ] {
        assert_eq!(send(dashscope.address(), &chat("q", more.clone())).await.0, status, "{more}");
    }
    for (more, status) in [
        (json!({}), 200),
        (json!({"max_tokens": 5, "stop": ["x"], "tools": [tool], "tool_choice": "auto"}), 200),
        (json!({"max_completion_tokens": 5}), 400),
        (json!({"stop": "x"}), 400),
        (json!({"seed": 1}), 400),
        (json!({"logprobs": true}), 400),
        (json!({"n": null}), 400),
        (json!({"chat_template_kwargs": {}}), 400),
        (json!({"stream_options": {"include_usage": true}}), 400),
        (json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]}), 400),
    ] {
        assert_eq!(send(compatible.address(), &chat("q", more.clone())).await.0, status, "{more}");
    }
}

#[tokio::test]
async fn metrics_have_each_servers_own_names() {
    let load = Load { running: 3, waiting: 5, kv_usage: 0.5, prefix_hits: 0.25 };
    for (wire, path, lines) in [
        (
            Wire::Vllm,
            "/metrics",
            ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"],
        ),
        (Wire::Sglang, "/metrics", ["sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage"]),
        (
            Wire::Trtllm,
            "/prometheus/metrics",
            ["trtllm_num_requests_running", "trtllm_num_requests_waiting", "trtllm_kv_cache_utilization"],
        ),
        (Wire::Tgi, "/metrics", ["tgi_batch_current_size", "tgi_queue_size", "tgi_request_count"]),
    ] {
        let server = sim::start(SimConfig::new(wire), Behaviour { load, ..tokens(7) }).await.unwrap();
        let page =
            RecordedRequest { method: "GET".to_owned(), path: path.to_owned(), headers: BTreeMap::new(), body: None };
        let (status, kind, text) = send(server.address(), &page).await;
        assert!(status == 200 && kind.starts_with("text/plain"), "{wire:?}: {status} {kind}");
        let value = |name: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            lines.next().unwrap_or_else(|| panic!("{wire:?} has no {name}")).rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(value(lines[0]), "3.0", "{wire:?}");
        assert_eq!(value(lines[1]), "5.0", "{wire:?}");
        assert_eq!(value(lines[2]), if wire == Wire::Tgi { "0.0" } else { "0.5" }, "{wire:?}");
        let gpu = RecordedRequest { path: "/dcgm/metrics".to_owned(), ..page };
        assert!(send(server.address(), &gpu).await.2.contains("DCGM_FI_DEV_FB_USED{"));
    }
}

#[tokio::test]
async fn a_stop_string_ends_an_answer_in_each_servers_way() {
    for (wire, finish, keeps) in [
        (Wire::OpenAi, "stop", false),
        (Wire::Vllm, "stop", false),
        (Wire::Sglang, "stop", false),
        (Wire::Tgi, "stop_sequence", true),
    ] {
        let server = sim::start(SimConfig::new(wire), tokens(12)).await.unwrap();
        let off =
            if wire == Wire::OpenAi { json!({}) } else { json!({"chat_template_kwargs": {"enable_thinking": false}}) };
        let (_, whole) = answer(&server, &chat("q", off.clone())).await;
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap().trim_start().to_owned();
        let word = text.split(' ').nth(3).unwrap();
        let mut more = off;
        more["stop"] = json!([word]);
        let (_, body) = answer(&server, &chat("q", more)).await;
        let choice = &body["choices"][0];
        let (kept, _) = text.split_once(word).unwrap();
        let expected = if keeps { format!("{kept}{word}") } else { kept.to_owned() };
        assert_eq!(choice["message"]["content"].as_str().unwrap().trim_start(), expected, "{wire:?}");
        assert_eq!(choice["finish_reason"], finish, "{wire:?}");
        let matched = choice.get("matched_stop").or_else(|| choice.get("stop_reason"));
        assert!(matched.is_none_or(|matched| matched == word), "{wire:?}: {choice}");
    }
}

#[tokio::test]
async fn faults_show_in_an_answers_text() {
    let server = sim::start(SimConfig::new(Wire::Vllm), faulty(Fault::ThinkInContent)).await.unwrap();
    let off = json!({"chat_template_kwargs": {"enable_thinking": false}});
    let content = |answer: (u16, Value)| answer.1["choices"][0]["message"]["content"].clone();
    let text = content(answer(&server, &chat("q", off.clone())).await);
    assert!(text.as_str().unwrap().starts_with("<think>\nThe user"), "{text}");
    server.set(faulty(Fault::AnswerAsReasoning));
    let (_, body) = answer(&server, &chat("q", off.clone())).await;
    let message = &body["choices"][0]["message"];
    assert!(message["content"].is_null() && message["reasoning"].is_string(), "{message}");
    server.set(faulty(Fault::NoDone));
    let mut stream = off;
    stream["stream"] = json!(true);
    let (_, _, text) = send(server.address(), &chat("q", stream.clone())).await;
    assert!(text.contains("finish_reason\":\"stop") && !text.contains("[DONE]"), "{text}");
    server.set(faulty(Fault::NoFinish));
    let (_, _, text) = send(server.address(), &chat("q", stream)).await;
    assert!(!text.contains("finish_reason\":\"stop") && text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn grammars_refuse_keywords_of_formats_and_not_of_tools() {
    for (wire, schema, status) in [
        (Wire::Vllm, json!({"uniqueItems": true}), 400),
        (Wire::Vllm, json!({"uniqueItems": false}), 200),
        (Wire::Vllm, json!({"multipleOf": 5}), 200),
        (Wire::Sglang, json!({"uniqueItems": true}), 400),
        (Wire::Sglang, json!({"multipleOf": 5}), 400),
        (Wire::Sglang, json!({"if": {}, "then": {}}), 400),
        (Wire::Sglang, json!({"pattern": "a", "maxLength": 5}), 400),
        (Wire::Sglang, json!({"pattern": "a"}), 200),
        (Wire::Sglang, json!({"properties": {"not": {"type": "string"}}}), 200),
    ] {
        let server = sim::start(SimConfig::new(wire), tokens(7)).await.unwrap();
        let schema = json!({"type": "object", "properties": {"a": schema}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        assert_eq!(
            answer(&server, &chat("q", json!({"response_format": format}))).await.0,
            status,
            "{wire:?} {schema}"
        );
        let text = json!({"format": {"type": "json_schema", "name": "x", "schema": schema}});
        let request = post("/v1/responses", &json!({"model": "m", "input": "q", "text": text}));
        assert_eq!(answer(&server, &request).await.0, status, "{wire:?} {schema}");
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
        assert_eq!(answer(&server, &chat("q", json!({"tools": tools}))).await.0, 200, "{wire:?} {schema}");
    }
}

#[tokio::test]
async fn vllm_writes_a_call_that_nobody_wants() {
    let tool: Value = serde_json::from_str(TOOL).unwrap();
    for (wire, is_written) in [(Wire::Vllm, true), (Wire::Sglang, false)] {
        let server = sim::start(SimConfig::new(wire), tokens(7)).await.unwrap();
        let off = json!({"enable_thinking": false});
        let asked = json!({"tools": [tool], "tool_choice": "none", "chat_template_kwargs": off});
        let (_, body) = answer(&server, &chat("the weather?", asked)).await;
        let message = &body["choices"][0]["message"];
        assert_eq!(message["content"].as_str().unwrap().contains("<tool_call>"), is_written, "{wire:?}: {message}");
        assert!(message.get("tool_calls").is_none(), "{message}");
    }
}

#[tokio::test]
async fn unstreamed_tokens_end_with_what_the_text_lacks() {
    for wire in [Wire::Vllm, Wire::Sglang] {
        let server = sim::start(SimConfig::new(wire), tokens(7)).await.unwrap();
        for (thinks, stop) in [(false, None), (false, Some("e")), (true, None)] {
            let asked = json!({"logprobs": true, "stop": stop, "chat_template_kwargs": {"enable_thinking": thinks}});
            let (_, body) = answer(&server, &chat("q", asked)).await;
            let choice = &body["choices"][0];
            let tokens = choice["logprobs"]["content"].as_array().unwrap();
            let joined: String = tokens.iter().map(|entry| entry["token"].as_str().unwrap()).collect();
            let content = choice["message"]["content"].as_str().unwrap();
            assert!(joined.contains(content) && !joined.ends_with(content), "{wire:?}: {joined}, {content}");
            assert_eq!((joined.contains("</think>"), joined.ends_with("<|im_end|>")), (thinks, stop.is_none()));
        }
    }
}

#[tokio::test]
async fn a_template_and_tools_count_as_tokens() {
    let tool: Value = serde_json::from_str(TOOL).unwrap();
    for wire in [Wire::Vllm, Wire::Sglang, Wire::Trtllm, Wire::Tgi] {
        let server = sim::start(SimConfig { max_model_len: 300, ..SimConfig::new(wire) }, tokens(7)).await.unwrap();
        let sum_counts = wire != Wire::Vllm;
        for (more, is_refused) in [
            (json!({"max_tokens": 250}), false),
            (json!({"max_tokens": 295}), sum_counts),
            (json!({"max_tokens": 250, "tools": [tool]}), sum_counts),
            (json!({"max_tokens": 301}), true),
        ] {
            let (status, body) = answer(&server, &chat("q", more.clone())).await;
            assert_eq!(status >= 400, is_refused, "{wire:?} {more}: {body}");
        }
    }
    let tgi = SimConfig { max_input_tokens: Some(20), ..SimConfig::new(Wire::Tgi) };
    let server = sim::start(tgi, tokens(7)).await.unwrap();
    let (status, body) = answer(&server, &chat(&"word ".repeat(30), json!({"max_tokens": 5}))).await;
    assert!(status == 422 && body.to_string().contains("`inputs` must have less than 20 tokens"), "{body}");
}

#[tokio::test]
async fn a_planted_refusal_has_each_servers_form() {
    let differences = Differences { share: 1.0, kinds: vec![Difference::Refusal], ..Differences::default() };
    let refusing = Behaviour { differences, ..Behaviour::default() };
    for (wire, has_field) in [(Wire::OpenAi, true), (Wire::Vllm, false), (Wire::DashScope, false)] {
        let server = sim::start(SimConfig::new(wire), refusing.clone()).await.unwrap();
        let off = if has_field { json!({}) } else { json!({"enable_thinking": false}) };
        let off = if wire == Wire::Vllm { json!({"chat_template_kwargs": off}) } else { off };
        let (status, body) = answer(&server, &chat("q", off.clone())).await;
        let message = &body["choices"][0]["message"];
        assert_eq!((status, message["refusal"].is_string(), message["content"].is_null()), (200, has_field, has_field));
        let mut stream = off;
        stream["stream"] = json!(true);
        let (_, _, text) = send(server.address(), &chat("q", stream)).await;
        assert_eq!(text.contains(r#""delta":{"refusal":"I'm "}"#), has_field, "{text}");
        assert_eq!(text.contains(r#""content":"I'm ""#), !has_field, "{text}");
    }
    let server = sim::start(SimConfig::new(Wire::OpenAi), refusing).await.unwrap();
    let (_, body) = answer(&server, &post("/v1/responses", &json!({"model": "gpt-4o", "input": "q"}))).await;
    assert!(body["output"][0]["content"][0]["refusal"].is_string(), "{body}");
    let streamed = post("/v1/responses", &json!({"model": "gpt-4o", "input": "q", "stream": true}));
    let (_, _, text) = send(server.address(), &streamed).await;
    for event in ["response.refusal.delta", "response.refusal.done"] {
        assert!(text.contains(&format!("event: {event}\n")), "{text}");
    }
    assert!(!text.contains("output_text"), "{text}");
}
