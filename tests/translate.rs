//! The translation of requests, row by row: `tests/data/requests.jsonl` holds a case a line.
//!
//! `engine`, `family`, `options` (lines of the backend's section), `baseline` make the backend; `max_model_len` and
//! `max_input_tokens` are what it reported; `in` is laid over a small request; `out` must be in the translated body,
//! `absent` must not, `ledger` must be among the steps, and `pin` or `invalid` say how it ends instead.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;

use bytes::Bytes;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};
use shiftgate::api::config::{self, Backend, Secrets};
use shiftgate::api::translate::{self, TranslateError, TranslateInput, Translated};
use shiftgate::api::wire::endpoint::Endpoint;
use shiftgate::api::wire::scan;

fn backend(case: &Value) -> Backend {
    let text = |name: &str, default: &str| case.get(name).and_then(Value::as_str).unwrap_or(default).to_owned();
    let family = match text("family", "qwen3.5").as_str() {
        "" => String::new(),
        family => format!("family = \"{family}\""),
    };
    let models = if case["models"] == false { "" } else { "models = { \"*\" = \"qwen\" }" };
    let file = format!(
        "[rollout]\nname = \"t\"\nbaseline = \"openai\"\npercent = {{ q = 1.0 }}\n\
         [backend.openai]\nengine = \"openai\"\nurl = \"http://o/v1\"\napi_key = \"client\"\n\
         [backend.q]\nengine = \"{}\"\nurl = \"http://q/v1\"\napi_key = \"none\"\n{models}\n{family}\n{}\n",
        text("engine", "vllm"),
        text("options", "")
    );
    let config = config::parse(Path::new("rollout.toml"), file.as_bytes(), Secrets::Skip, &|_| None);
    config.unwrap_or_else(|error| panic!("{error}\n{file}")).backends.remove(1)
}

fn translated(case: &Value, body: &Bytes) -> Result<Translated, TranslateError> {
    let backend = backend(case);
    let path = case.get("path").and_then(Value::as_str).unwrap_or("/v1/chat/completions");
    let scan = scan::scan(body).unwrap();
    translate::request(&TranslateInput {
        body,
        scan: &scan,
        endpoint: Endpoint::of(&Method::POST, path),
        backend: &backend,
        is_baseline: case["baseline"] == true,
        max_model_len: case["max_model_len"].as_u64(),
        max_input_tokens: case["max_input_tokens"].as_u64(),
    })
}

fn body_of(case: &Value) -> Bytes {
    let mut body = match case.get("path").and_then(Value::as_str) {
        Some("/v1/responses") => json!({"model": "gpt-4o", "input": "hi", "store": false}),
        Some("/v1/completions") => json!({"model": "gpt-4o", "prompt": "hi"}),
        _ => json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}),
    };
    for (name, value) in case["in"].as_object().unwrap() {
        body[name] = value.clone();
    }
    Bytes::from(body.to_string())
}

fn list<'c>(case: &'c Value, name: &str) -> Vec<&'c str> {
    case.get(name)
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// Everything that is wrong with one case.
fn check(case: &Value) -> Vec<String> {
    let body = body_of(case);
    let mut wrong = Vec::new();
    let done = match (translated(case, &body), case.get("pin"), case.get("invalid")) {
        (Err(TranslateError::Pinned(pinned)), Some(pin), _) => {
            let [name, field] = [0, 1].map(|at| pin[at].as_str().unwrap_or_default());
            if (pinned.pin.as_str(), pinned.field.as_ref()) != (name, field) {
                wrong.push(format!("pinned by {} for {}", pinned.field, pinned.pin.as_str()));
            }
            return wrong;
        }
        (Err(TranslateError::Invalid(error)), _, Some(param)) => {
            if error.param.as_deref() != param.as_str() {
                wrong.push(format!("invalid: {error:?}"));
            }
            return wrong;
        }
        (Ok(done), None, None) => done,
        (Ok(done), ..) => return vec![format!("it was translated: {}", String::from_utf8_lossy(&done.body))],
        (Err(stop), ..) => return vec![format!("stopped: {stop:?}")],
    };
    let sent: Value = serde_json::from_slice(&done.body).unwrap();
    for (name, value) in case.get("out").and_then(Value::as_object).into_iter().flatten() {
        if sent[name] != *value {
            wrong.push(format!("{name} is {}", sent[name]));
        }
    }
    for name in list(case, "absent") {
        if sent.get(name).is_some() {
            wrong.push(format!("{name} is there: {}", sent[name]));
        }
    }
    let steps: Vec<String> =
        done.ledger.steps().iter().map(|step| format!("{} {}", step.action.as_str(), step.field)).collect();
    for step in list(case, "ledger") {
        if !steps.iter().any(|known| known == step) {
            wrong.push(format!("no step {step:?} in {steps:?}"));
        }
    }
    if case["same"] == true && done.body != body {
        wrong.push(format!("changed: {}", String::from_utf8_lossy(&done.body)));
    }
    wrong
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string("tests/data/requests.jsonl").unwrap();
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn each_row_of_the_tables() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() > 100);
    for case in &cases {
        wrong.extend(check(case).into_iter().map(|what| format!("{case}\n    {what}")));
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn half_a_character_costs_no_text() {
    let system = r#"{"role":"system","content":[{"type":"text","text":"a\ud83d"},{"type":"text","text":"\u00e9"}]}"#;
    for (path, field, value, name, expected) in [
        (
            "/v1/chat/completions",
            "messages",
            format!(r#"[{{"role":"user","content":"x"}},{system},{{"role":"developer","content":"\udc00"}}]"#),
            "messages",
            r#"[{"role":"system","content":"a\ud83d\n\u00e9\n\n\udc00"},{"role":"user","content":"x"}]"#,
        ),
        (
            "/v1/responses",
            "input",
            format!(r#"[{{"role":"user","content":"x"}},{system}]"#),
            "instructions",
            r#""a\ud83d\n\u00e9""#,
        ),
    ] {
        let body = Bytes::from(format!(r#"{{"model":"gpt-4o","store":false,"{field}":{value}}}"#));
        let done = translated(&json!({"engine": "vllm", "path": path}), &body).unwrap();
        let sent = scan::scan(&done.body).unwrap();
        assert_eq!(sent.get(name).unwrap().get(), expected);
    }
}

#[test]
fn what_pins_is_seen_before_the_draw() {
    let mut late = Vec::new();
    for case in cases().into_iter().filter(|case| case.get("pin").is_some() && case["late"] != true) {
        let body = body_of(&case);
        let scan = scan::scan(&body).unwrap();
        let path = case.get("path").and_then(Value::as_str).unwrap_or("/v1/chat/completions");
        let found = translate::pin_exactly(&TranslateInput {
            body: &Bytes::new(),
            scan: &scan,
            endpoint: Endpoint::of(&Method::POST, path),
            backend: &backend(&case),
            is_baseline: false,
            max_model_len: case["max_model_len"].as_u64(),
            max_input_tokens: case["max_input_tokens"].as_u64(),
        });
        if found.is_none() {
            late.push(case.to_string());
        }
    }
    assert!(late.is_empty(), "{}", late.join("\n"));
}

const ENGINES: [&str; 7] = ["openai", "vllm", "sglang", "trtllm", "tgi", "dashscope", "compatible"];

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop_oneof![Just("system"), Just("function"), Just("json_schema"), Just("required"), Just("image_url")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            "[a-z_]{1,6}",
            prop_oneof![
                Just("role"),
                Just("content"),
                Just("type"),
                Just("tool_calls"),
                Just("function"),
                Just("name"),
                Just("arguments"),
                Just("schema"),
                Just("json_schema"),
                Just("parameters"),
                Just("properties"),
            ]
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_request_makes_it_panic_and_what_comes_out_is_json(
        engine in 0..ENGINES.len(),
        fields in proptest::collection::vec((0..FIELDS.len(), any_json()), 0..6),
    ) {
        let mut body = json!({"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]});
        for (field, value) in fields {
            body[FIELDS[field]] = value;
        }
        let case = json!({"engine": ENGINES[engine]});
        let body = Bytes::from(body.to_string());
        if let Ok(done) = translated(&case, &body) {
            let once: Value = serde_json::from_slice(&done.body).unwrap();
            prop_assert!(once.is_object());
            // What was translated needs no further change of its messages.
            if let Ok(again) = translated(&case, &done.body) {
                let twice: Value = serde_json::from_slice(&again.body).unwrap();
                prop_assert_eq!(&once["messages"], &twice["messages"]);
            }
        }
    }

    #[test]
    fn what_is_changed_stands_in_the_ledger(
        engine in 0..ENGINES.len(),
        family in prop_oneof![Just("qwen2.5"), Just("qwen3.5"), Just("qwen3.8"), Just("thinking")],
        model in prop_oneof![Just("gpt-5"), Just("gpt-4o")],
        options in prop_oneof![Just(""), Just("vision = true"), Just("default_max_tokens = 9"), Just("late_system = \"as_user\"")],
        path in prop_oneof![Just("/v1/chat/completions"), Just("/v1/responses")],
        likely in proptest::collection::vec(0..LIKELY.len(), 0..6),
        fields in proptest::collection::vec((0..FIELDS.len(), any_json()), 0..3),
    ) {
        let mut body = match path {
            "/v1/responses" => json!({"model": model, "input": "hi", "store": false}),
            _ => json!({"model": model, "messages": [{"role": "user", "content": "hi"}]}),
        };
        for (field, value) in fields {
            body[FIELDS[field]] = value;
        }
        for at in likely {
            let one: Value = serde_json::from_str(LIKELY[at]).unwrap();
            body.as_object_mut().unwrap().extend(one.as_object().unwrap().clone());
        }
        let case = json!({"engine": ENGINES[engine], "family": family, "options": options, "path": path});
        let bytes = Bytes::from(body.to_string());
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        if let Ok(done) = translated(&case, &bytes) {
            let sent: Value = serde_json::from_slice(&done.body).unwrap();
            let names = body.as_object().unwrap().keys().chain(sent.as_object().unwrap().keys());
            for name in names.filter(|name| body.get(*name) != sent.get(*name)) {
                // A field that replaces another stands in that one's step.
                let told = done.ledger.steps().iter().any(|step| {
                    step.action.as_str() != "passed"
                        && (step.field.split(['.', '[']).next() == Some(name.as_str())
                            || (body.get(name).is_none() && step.detail.contains(name.as_str())))
                });
                prop_assert!(told, "{name} of {body} became {sent}: {:?}", done.ledger.steps());
            }
        }
    }

    #[test]
    fn a_request_that_needs_no_rule_keeps_every_byte(
        space in "[ \\n\\t]{0,3}",
        text in "\\PC{0,20}",
        temperature in 0.0..2.0f64,
    ) {
        let quoted = Value::from(text).to_string();
        let body = Bytes::from(format!(
            "{{{space}\"model\":\"gpt-4o\",{space}\"messages\" : [ {{\"content\":{quoted},\"role\":\"user\"}}],\"temperature\":{temperature}{space}}}\n"
        ));
        for engine in ["vllm", "sglang", "trtllm", "compatible", "openai"] {
            let case = json!({"engine": engine, "models": false, "family": "qwen2.5"});
            prop_assert_eq!(&translated(&case, &body).unwrap().body, &body);
        }
    }
}

/// What applications do send.
const LIKELY: [&str; 28] = [
    r#"{"temperature": 0, "n": 2}"#,
    r#"{"temperature": 0}"#,
    r#"{"top_p": 0}"#,
    r#"{"reasoning_effort": "low"}"#,
    r#"{"reasoning_effort": "none"}"#,
    r#"{"reasoning": {"effort": "high"}}"#,
    r#"{"stop": ["", "x"]}"#,
    r#"{"stop": "x"}"#,
    r#"{"stream": true}"#,
    r#"{"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}}"#,
    r#"{"max_completion_tokens": 7}"#,
    r#"{"enable_thinking": false}"#,
    r#"{"chat_template_kwargs": {"enable_thinking": true, "x": 1}}"#,
    r#"{"response_format": {"type": "json_object", "x": 1}}"#,
    r#"{"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"properties": {"b": {}}}, "x": 1}, "x": 1}}"#,
    r#"{"text": {"format": {"type": "text"}}}"#,
    r#"{"text": {"verbosity": "low"}}"#,
    r#"{"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": ["object", "null"]}, "x": 1}, "x": 1}]}"#,
    r#"{"tools": [{"type": "function", "name": "f", "x": null}], "tool_choice": {"type": "function", "name": "f"}}"#,
    r#"{"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required", "parallel_tool_calls": false}"#,
    r#"{"functions": [{"name": "f"}], "function_call": {"name": "f"}}"#,
    r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}, {"type": "image_url", "image_url": {"url": "u", "x": 1}, "x": 1}]}]}"#,
    r#"{"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}", "x": 1}}]}, {"role": "tool", "tool_call_id": "a", "content": "r"}]}"#,
    r#"{"messages": [{"role": "user", "content": "a", "name": null}, {"role": "system", "content": null}, {"role": "developer", "content": [7]}]}"#,
    r#"{"input": [{"role": "user", "content": [{"type": "input_text", "text": "a", "x": 1}], "x": 1}]}"#,
    r#"{"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "x": 1}, {"type": "function_call_output", "call_id": "c", "output": "1", "status": null}]}"#,
    r#"{"input": [{"role": "developer", "content": "a"}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}"#,
    r#"{"seed": 4294967296, "top_k": -1, "logprobs": true, "top_logprobs": 9}"#,
];

const FIELDS: [&str; 16] = [
    "messages",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "stop",
    "n",
    "logit_bias",
    "stream_options",
    "chat_template_kwargs",
    "max_tokens",
    "temperature",
    "reasoning_effort",
    "modalities",
    "stream",
];
