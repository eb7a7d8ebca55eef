//! Residency rules on the wire: who gets a request, who never does, and what the application is told.

use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};

use crate::reload::eventually;
use crate::support::*;

const EU: &str = "x-region: EU-west\r\n";
const RULE: &str = "[[residency]]\nname = \"eu-customers\"\nmatch = { header = { x-region = \"eu*\" } }\n";

/// A file with tags for both backends and one rule for requests of the EU.
fn ruled(openai: &Sim, qwen: &Sim, percent: f64, [baseline, candidate]: [&str; 2], allow: &str) -> String {
    let file = file(openai, qwen, percent).replace("enabled = false", "enabled = true");
    let tag = |file: String, name: &str, tag: &str| {
        let section = format!("[backend.{name}]\n");
        file.replace(&section, &format!("{section}tags = [{tag:?}]\n"))
    };
    tag(tag(file, "openai", baseline), "qwen", candidate) + &format!("{RULE}allow = [{allow:?}]\n")
}

fn placed(answer: &Answer) -> (u16, &str, &str) {
    let header = |name| answer.header(name).unwrap_or_default();
    (answer.status, header("x-shiftgate-backend"), header("x-shiftgate-reason"))
}

/// Value of `shiftgate_residency_requests_total` for a result.
async fn counted(running: &Running, result: &str) -> u64 {
    let page = get(running.app.admin, "/metrics").await.text();
    let line = format!("shiftgate_residency_requests_total{{rule=\"eu-customers\",result=\"{result}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)).expect("the rule has a counter").parse().unwrap()
}

#[tokio::test]
async fn a_request_of_the_rule_goes_to_the_only_backend_with_its_tag() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&ruled(&openai, &qwen, 0.0, ["us", "eu"], "eu"), false).await;
    for _ in 0..3 {
        assert_eq!(placed(&ask(&running, &chat("x", false), EU).await), (200, "qwen", "pinned:residency"));
    }
    assert_eq!(placed(&ask(&running, &chat("x", false), "x-region: us\r\n").await), (200, "openai", "split"));
    assert_eq!((openai.requests(), qwen.requests()), (1, 3));
    assert_eq!((counted(&running, "moved").await, counted(&running, "kept").await), (3, 0));
}

#[tokio::test]
async fn the_chosen_backend_is_replaced_by_the_baseline_that_may_see_it() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = ruled(&openai, &qwen, 100.0, ["eu", "us"], "eu").replace("[server]", "[server]\nallow_override = true");
    let running = launch(&text, false).await;
    assert_eq!(placed(&ask(&running, &chat("x", false), EU).await), (200, "openai", "pinned:residency"));
    let forced = format!("{EU}x-shiftgate-backend: qwen\r\n");
    assert_eq!(placed(&ask(&running, &chat("x", false), &forced).await), (200, "openai", "pinned:residency"));
    assert_eq!(qwen.requests(), 0, "nothing overrides the rule");
    assert_eq!(placed(&ask(&running, &chat("x", false), "").await), (200, "qwen", "split"));
}

#[tokio::test]
async fn every_endpoint_keeps_to_the_rule_and_lists_of_models_are_outside() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&ruled(&openai, &qwen, 50.0, ["us", "eu"], "eu"), false).await;
    let big = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "y".repeat(70_000));
    let mut refused = 0;
    for (method, path, body) in [
        ("POST", "/v1/embeddings", "{\"model\":\"text-embedding-3-small\",\"input\":\"x\"}"),
        ("POST", "/v1/moderations", "{\"input\":\"x\"}"),
        ("POST", "/v1/responses", "{\"model\":\"gpt-4o\",\"input\":\"x\"}"),
        ("POST", "/v1/audio/transcriptions", "multipart"),
        ("POST", "/v1/files", "file"),
        ("GET", "/v1/files/file-1", ""),
        ("GET", "/v1/responses/resp_1", ""),
        ("DELETE", "/v1/threads/t", ""),
        ("GET", "/v1/realtime?model=gpt-4o", ""),
        ("POST", "/v1/never/heard/of", &big),
    ] {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{EU}connection: close\r\ncontent-length: {length}\r\n");
        let answer = raw(running.address(), format!("{head}\r\n{body}").as_bytes()).await;
        assert_eq!(placed(&answer), (503, "", "refused:residency"), "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("retry-after"), None);
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&"server_error".into(), &"residency".into()));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("eu-customers") && message.contains("tagged eu"), "{message}");
        assert_eq!(message.contains("embedding model"), path == "/v1/embeddings", "{message}");
        refused += 1;
    }
    assert_eq!((openai.requests(), qwen.requests()), (0, 0));
    assert_eq!(counted(&running, "refused").await, refused);
    let upgrade = format!(
        "GET /v1/realtime HTTP/1.1\r\nhost: h\r\n{EU}connection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let upgrade = upgrade.replace("connection: upgrade", "connection: upgrade, close");
    let answer = raw(running.address(), upgrade.as_bytes()).await;
    assert_eq!(placed(&answer), (503, "", "refused:residency"));
    let models = format!(
        "GET /v1/models HTTP/1.1\r\nhost: h\r\nauthorization: Bearer sk-app-canary\r\n{EU}connection: close\r\n\r\n"
    );
    assert_eq!(placed(&raw(running.address(), models.as_bytes()).await), (200, "openai", "pinned:endpoint"));
    assert_eq!((openai.requests(), qwen.requests()), (1, 0));
}

#[tokio::test]
async fn the_only_candidate_is_asked_whatever_its_breaker_says_and_its_failure_is_told() {
    let (openai, qwen) = pair(Behaviour { status: Some((500, None)), ..Behaviour::default() }).await;
    let running = launch(&ruled(&openai, &qwen, 0.0, ["us", "eu"], "eu"), false).await;
    for _ in 0..12 {
        let answer = ask(&running, &chat("x", false), EU).await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert_eq!(answer.header("x-shiftgate-backend"), Some("qwen"));
    }
    assert_eq!((openai.requests(), qwen.requests()), (0, 12));
    assert_eq!(running.status().await["backends"][1]["failovers"], 0);
    qwen.set(Behaviour { status: Some((429, Some(7))), ..Behaviour::default() });
    let answer = ask(&running, &chat("x", true), EU).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    qwen.set(Behaviour { status: Some((401, None)), ..Behaviour::default() });
    assert_eq!(ask(&running, &chat("x", true), EU).await.status, 502);
    qwen.set(behaviour(Fault::ResetBeforeHead));
    assert_eq!(ask(&running, &chat("x", true), EU).await.status, 502);
    // A connection that was used before is replaced once.
    assert!(qwen.requests() >= 15);
    assert_eq!(openai.requests(), 0);
}

#[tokio::test]
async fn a_feature_that_the_only_candidate_lacks_is_the_requests_error() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&ruled(&openai, &qwen, 100.0, ["us", "eu"], "eu"), false).await;
    let image = serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content":
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]});
    let answer = ask(&running, &image.to_string(), EU).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("unsupported_feature")));
    let answer = ask(&running, "not json", EU).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("unsupported_feature")));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("eu-customers") && message.contains("tagged eu"), "{message}");
    assert_eq!((openai.requests(), qwen.requests()), (0, 0));
    assert_eq!(counted(&running, "refused").await, 2);
}

#[tokio::test]
async fn a_rule_that_is_saved_holds_from_the_next_request() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = ruled(&openai, &qwen, 100.0, ["eu", "us"], "us");
    let running = launch(&text, true).await;
    assert_eq!(placed(&ask(&running, &chat("x", false), EU).await), (200, "qwen", "split"));
    std::fs::write(&running.file, text.replace("allow = [\"us\"]", "allow = [\"eu\"]")).unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    assert_eq!(placed(&ask(&running, &chat("x", false), EU).await), (200, "openai", "pinned:residency"));
}

#[tokio::test]
async fn a_conversation_carries_one_hash_and_never_its_key() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = file(&openai, &qwen, 100.0)
        .replace("[backend.qwen]\n", "[backend.qwen]\nheaders = [\"x-session-id\", \"session_id\"]\n");
    let (one, two) = (launch(&text, false).await, launch(&text, false).await);
    let session = "x-session-id: anna@example.org\r\nsession_id: anna\r\nx-session-affinity: anna\r\n";
    for running in [&one, &two, &one] {
        assert_eq!(ask(running, &chat("x", false), session).await.status, 200);
    }
    let without_a_key = "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}";
    assert_eq!(ask(&one, without_a_key, "").await.status, 200);
    let seen: Vec<Option<String>> = qwen
        .received()
        .iter()
        .map(|request| {
            assert!(!format!("{:?}", request.headers).contains("anna"), "{:?}", request.headers);
            let value = request.headers.get("x-session-id");
            value.map(|value| value.to_str().unwrap().to_owned())
        })
        .collect();
    let value = seen[0].clone().unwrap();
    assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
    assert_eq!(seen[..3], vec![Some(value); 3]);
    assert_eq!(seen[3], None, "a request without a key has no affinity");
}

#[tokio::test]
async fn openai_as_a_candidate_serves_every_endpoint_of_a_tagged_request() {
    let us = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let eu = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let text = ruled(&us, &eu, 0.0, ["us", "eu"], "eu")
        .replace("engine = \"vllm\"", "engine = \"openai\"")
        .replace("models = { \"*\" = \"qwen-served\" }\nfamily = \"qwen3\"\n", "");
    let running = launch(&text, false).await;
    let request = format!("GET /v1/files/file-1 HTTP/1.1\r\nhost: h\r\n{EU}connection: close\r\n\r\n");
    let answer = raw(running.address(), request.as_bytes()).await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("pinned:residency"), "{}", answer.text());
    assert_eq!((us.requests(), eu.requests()), (0, 1));
}

#[tokio::test]
async fn what_servers_may_read_otherwise_counts_as_matched() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let field =
        "[[residency]]\nname = \"fields\"\nmatch = { field = { \"metadata.region\" = \"eu*\" } }\nallow = [\"eu\"]\n";
    let path = "[[residency]]\nname = \"paths\"\nmatch = { path = \"/v1/chat/*\" }\nallow = [\"eu\"]\n";
    let model = "[[residency]]\nname = \"models\"\nmatch = { model = \"secret*\" }\nallow = [\"eu\"]\n";
    let tagged = ruled(&openai, &qwen, 0.0, ["us", "eu"], "eu");
    let by_field = launch(&(tagged.clone() + field), false).await;
    let many: String = (0..300).map(|at| format!(",\"k{at}\":1")).collect();
    let messages = "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]";
    for rest in [",\"\\ud800\":1", &many, ",\"region\":\"us\""] {
        let body = format!("{{\"model\":\"gpt-4o\",{messages},\"metadata\":{{\"region\":\"eu\"{rest}}}}}");
        assert_eq!(placed(&ask(&by_field, &body, "").await), (200, "qwen", "pinned:residency"), "{body}");
    }
    let by_path = launch(&(tagged.clone() + path), false).await;
    let encoded = raw(by_path.address(), &post("/v1/%63hat/completions", &chat("x", false), "")).await;
    assert_eq!(placed(&encoded), (503, "", "refused:residency"));
    let by_model = launch(&(tagged + model), false).await;
    for (target, body) in [
        ("/v1/models", "secret"),
        ("/v1/models/a/b?prompt=secret", ""),
        ("/v1/realtime?model=gpt;model=secret", ""),
        ("/v1/realtime?model=secret%2Dx", ""),
    ] {
        let length = body.len();
        let head = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {length}\r\n");
        let answer = raw(by_model.address(), format!("{head}\r\n{body}").as_bytes()).await;
        // A request without a body has no model.
        let (backend, reason) =
            if target.contains("models/a") { ("openai", "pinned:endpoint") } else { ("", "refused:residency") };
        let (_, by, why) = placed(&answer);
        assert_eq!((by, why), (backend, reason), "{target}");
    }
    let without_a_model = format!("{{{messages}}}");
    let answer = ask(&by_path, &without_a_model, "").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some("unsupported_feature")));
    assert_eq!(answer.json()["error"]["param"], "model");
}
