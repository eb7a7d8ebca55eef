//! Which backend, and for which reason: every reason that is decided before a request is sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::sync::Arc;

use shiftgate::api::choose::{Availability, Body, Choice, FileOnly, Instead, Request, Salts, Shares, choose, instead};
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::model::{BackendId, Cause, Pin};
use shiftgate::api::wire::endpoint::Endpoint;
use shiftgate::api::wire::scan;

const FILE: &str = r#"
[rollout]
name = "n"
baseline = "openai"
percent = { qwen = 100 }
[[route]]
name = "by-header"
match = { header = { x-workload = "batch*" } }
percent = { other = 100 }
[[route]]
name = "by-model"
match = { path = "/v1/chat/*", model = "gpt-4o-mini*" }
percent = { other = 0 }
[backend.openai]
engine = "openai"
url = "http://h/v1"
api_key = "client"
[backend.qwen]
engine = "vllm"
url = "http://h/v1"
api_key = "none"
models = { "gpt-4o*" = "q" }
[backend.other]
engine = "vllm"
url = "http://h/v1"
api_key = "none"
models = { "only-this" = "o" }
"#;

fn config(text: &str) -> Config {
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Required, &|_| None).unwrap()
}

/// The choice by the file alone; `unit` is drawn where there is no key.
fn by_file(config: &Config, request: &Request<'_>, unit: u16) -> Option<Choice> {
    let shares = Arc::new(Shares::of_file(config));
    choose(config, (&Salts::new(config), &shares), request, &FileOnly, &mut || unit).ok()
}

fn decide(config: &Config, path: &str, headers: &[(&str, &str)], body: &str) -> Option<(String, String, String)> {
    let scanned = scan::scan(body.as_bytes()).ok();
    let endpoint = Endpoint::of(&Method::POST, path);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let body = match &scanned {
        _ if body == "over" => Body::OverCap,
        Some(scan) => Body::Scanned(scan),
        None => Body::Unparsable,
    };
    let request = Request { endpoint: &endpoint, path, query: None, headers: &map, body };
    let choice = by_file(config, &request, 0)?;
    let name = |id: BackendId| config[id].name.clone();
    let route = config[choice.route()].name.clone();
    Some((route, name(choice.backend()), choice.reason().as_str().to_owned()))
}

#[test]
fn every_reason() {
    let plain = config(FILE);
    let open = config(&format!("[server]\nallow_override = true\n{FILE}"));
    let responses = config(&FILE.replace("[backend.qwen]", "[backend.qwen]\nresponses = true"));
    let chat = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}"#;
    let stateless = r#"{"model":"gpt-4o","input":"x","store":false}"#;
    let at = "/v1/chat/completions";
    let header = |name, value| vec![(name, value)];
    for (config, path, headers, body, expected) in [
        (&plain, at, vec![], chat, ("default", "qwen", "split")),
        (&plain, at, header("x-workload", "batch-7"), chat, ("by-header", "openai", "pinned:model")),
        (&plain, at, header("x-workload", "live"), chat, ("default", "qwen", "split")),
        (&plain, at, vec![], r#"{"model":"gpt-4o-mini"}"#, ("by-model", "openai", "split")),
        (&plain, at, vec![], r#"{"model":"o3"}"#, ("default", "openai", "pinned:model")),
        (&plain, at, vec![], r#"{"messages":[]}"#, ("default", "openai", "pinned:unparsable")),
        (&plain, at, vec![], "[]", ("default", "openai", "pinned:unparsable")),
        (&plain, at, vec![], "over", ("default", "openai", "pinned:body_over_cap")),
        (&plain, at, header("x-stainless-retry-count", "1"), chat, ("default", "openai", "pinned:retry")),
        (&plain, at, header("x-stainless-retry-count", "0"), chat, ("default", "qwen", "split")),
        (&plain, at, header("x-shiftgate-backend", "openai"), chat, ("default", "qwen", "split")),
        (&open, at, header("x-shiftgate-backend", "openai"), chat, ("default", "openai", "override")),
        (&plain, "/v1/embeddings", vec![], chat, ("default", "openai", "pinned:endpoint")),
        (&plain, "/v1/responses", vec![], stateless, ("default", "openai", "pinned:endpoint")),
        (&responses, "/v1/responses", vec![], stateless, ("default", "qwen", "split")),
        (&responses, "/v1/responses", vec![], chat, ("default", "openai", "pinned:stateful")),
        (
            &responses,
            "/v1/responses",
            vec![],
            r#"{"model":"gpt-4o","input":"x","store":false,"previous_response_id":"resp_1"}"#,
            ("default", "openai", "pinned:stateful"),
        ),
    ] {
        let got = decide(config, path, &headers, body).unwrap();
        let got = (got.0.as_str(), got.1.as_str(), got.2.as_str());
        assert_eq!(got, expected, "{path} {headers:?} {body}");
    }
    assert_eq!(decide(&open, at, &header("x-shiftgate-backend", "nobody"), chat), None);
}

#[test]
fn a_request_without_a_key_is_drawn_and_one_with_a_key_is_not() {
    let half = config(&FILE.replace("qwen = 100", "qwen = 50"));
    let body = br#"{"model":"gpt-4o"}"#;
    let scanned = scan::scan(body).unwrap();
    let mut headers = HeaderMap::new();
    let of = |headers: &HeaderMap, unit: u16| {
        let endpoint = Endpoint::ChatCompletions;
        let request =
            Request { endpoint: &endpoint, path: "/v1/x", query: None, headers, body: Body::Scanned(&scanned) };
        by_file(&half, &request, unit).unwrap()
    };
    // By name "other" is first and grows from 0; "qwen" is second and grows down from the top.
    assert_eq!((of(&headers, 9999).backend(), of(&headers, 0).backend()), (BackendId::new(1), BackendId::new(0)));
    assert_eq!(of(&headers, 9999).drawn().unwrap().key, None);
    headers.insert("x-session-id", HeaderValue::from_static("secret-session"));
    let (low, high) = (of(&headers, 0), of(&headers, 9999));
    assert_eq!((low.backend(), low.drawn()), (high.backend(), high.drawn()));
    assert_eq!(low.drawn().unwrap().key, Some(0));
    assert!(!format!("{low:?}").contains("secret-session"));
}

#[test]
fn only_what_the_split_decides_alone_is_copied() {
    let text =
        FILE.replace("[backend.openai]", "[shadow]\npercent = 100\nto = [\"openai\", \"qwen\"]\n[backend.openai]");
    let shadowed = config(&text.replace("[rollout]", "[server]\nallow_override = true\n[rollout]"));
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"user":"someone"}"#;
    let scan = scan::scan(body.as_bytes()).unwrap();
    let (endpoint, path) = (Endpoint::ChatCompletions, "/v1/chat/completions");
    let chosen = |headers: &HeaderMap| {
        let request = Request { endpoint: &endpoint, path, query: None, headers, body: Body::Scanned(&scan) };
        by_file(&shadowed, &request, 0).unwrap()
    };
    let choice = chosen(&HeaderMap::new());
    let sample = choice.sample().unwrap();
    assert!(sample.key.is_some() && !sample.is_declined);
    for why in
        [Instead::Pinned(Pin::Context), Instead::Unavailable(Availability::Overload), Instead::Failed(Cause::Reset)]
    {
        let moved = instead(&shadowed, &choice, why).unwrap();
        assert_eq!(moved.sample(), None, "{:?}", moved.reason());
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-shiftgate-backend", HeaderValue::from_static("openai"));
    assert_eq!(chosen(&headers).sample(), None);
    headers.clear();
    headers.insert("x-shiftgate-shadow", HeaderValue::from_static("off"));
    assert!(chosen(&headers).sample().unwrap().is_declined);
}
