//! The simulated servers against what the real ones answered to the same requests: status, type, fields, nulls,
//! framing, refusals. Words, ids, counts and times may differ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};
use shiftgate::sim::{self, Behaviour, Fault, Load, SimConfig, Template, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Deserialize)]
struct Exchange {
    name: String,
    request: Asked,
    response: Answered,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

#[derive(Deserialize, Clone)]
struct Answered {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    chunks: Vec<(f64, String)>,
    /// It equals the answer of this name.
    same_as: Option<String>,
}

impl Answered {
    fn text(&self) -> String {
        self.chunks.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn kind(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value)
    }
}

/// The exchanges of a recording, each with its whole answer.
fn exchanges(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers: BTreeMap<String, Answered> =
        all.iter().map(|exchange| (exchange.name.clone(), exchange.response.clone())).collect();
    for exchange in &mut all {
        if let Some(name) = &exchange.response.same_as {
            exchange.response = answers[name].clone();
        }
    }
    all
}

/// Every path of a value with the type found there; entries of a list are taken together.
fn shape(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    into.insert(format!("{path}: {kind}"));
    match value {
        Value::Array(items) => items.iter().for_each(|item| shape(item, &format!("{path}[]"), into)),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| shape(field, &format!("{path}.{name}"), into)),
        _ => {}
    }
}

fn shapes(value: &Value) -> BTreeSet<String> {
    let mut into = BTreeSet::new();
    shape(value, "", &mut into);
    into
}

/// The events of a stream by shape, repeats told once; the reasons to finish in order.
fn events(text: &str) -> (Vec<BTreeSet<String>>, Vec<String>) {
    let (mut seen, mut finished) = (Vec::new(), Vec::new());
    for event in text.split("\n\n").filter(|event| !event.is_empty() && *event != ":") {
        let (name, rest) = match event.strip_prefix("event: ").and_then(|rest| rest.split_once('\n')) {
            Some((name, rest)) => (Some(name), rest),
            None => (None, event),
        };
        let data = rest.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {event}"));
        let value = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()));
        let finish = value.pointer("/choices/0/finish_reason").and_then(Value::as_str);
        finished.extend(finish.filter(|finish| !finish.is_empty()).map(str::to_owned));
        let mut shape = match value.as_str() {
            Some(word) => BTreeSet::from([word.to_owned()]),
            None => shapes(&value),
        };
        shape.extend(name.map(|name| format!("event: {name}")));
        if seen.last() != Some(&shape) {
            seen.push(shape);
        }
    }
    (seen, finished)
}

async fn ask(address: SocketAddr, request: &Asked) -> (u16, String, String) {
    let body = request.body.clone().unwrap_or_default();
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!(
        "{} {} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        request.method,
        request.path,
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let lower = head.to_ascii_lowercase();
    let kind = lower.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    let body = if lower.contains("transfer-encoding: chunked") { dechunked(body) } else { body.to_owned() };
    (status, kind, body)
}

fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(tail.get(..size).unwrap());
        rest = tail.get(size + 2..).unwrap();
    }
    body
}

/// Differences between two answers to one request, in words.
fn differences(exchange: &Exchange, (status, kind, body): &(u16, String, String)) -> Vec<String> {
    let recorded = &exchange.response;
    let text = recorded.text();
    let mut found = Vec::new();
    if *status != recorded.status {
        found.push(format!("status {status}, recorded {}: {body}", recorded.status));
        return found;
    }
    if kind != recorded.kind() {
        found.push(format!("content-type {kind}, recorded {}", recorded.kind()));
    }
    if recorded.kind().starts_with("text/event-stream") {
        let ((ours, our_ends), (theirs, their_ends)) = (events(body), events(&text));
        let ours_once: BTreeSet<_> = ours.iter().collect();
        let theirs_once: BTreeSet<_> = theirs.iter().collect();
        for shape in ours_once.symmetric_difference(&theirs_once) {
            let whose = if ours_once.contains(*shape) { "only ours" } else { "only recorded" };
            found.push(format!("an event is {whose}: {shape:?}"));
        }
        if ours.first() != theirs.first() || ours.last() != theirs.last() {
            found.push("the first or last event differs".to_owned());
        }
        if our_ends != their_ends {
            found.push(format!("finished {our_ends:?}, recorded {their_ends:?}"));
        }
        return found;
    }
    // Some recordings of long answers are cut; their beginning has to do.
    if text.starts_with('{') && serde_json::from_str::<Value>(&text).is_err() {
        let beginning = |text: &str| text.chars().take(28).collect::<String>();
        if !exchange.name.starts_with("n_") && beginning(&text) != beginning(body) {
            found.push(format!("{}, recorded {}", beginning(body), beginning(&text)));
        }
        return found;
    }
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let (ours, theirs): (Value, Value) = (read(body), read(&text));
    for shape in shapes(&ours).symmetric_difference(&shapes(&theirs)) {
        let whose = if shapes(&ours).contains(shape) { "only ours" } else { "only recorded" };
        found.push(format!("{whose}: {shape}"));
    }
    if !OTHER_WORDS.contains(&exchange.name.as_str()) {
        found.extend(words_differ(&ours, &theirs));
    }
    found
}

/// What refusals say has to agree too: all of it but positions, places of files, and what was too long to record.
fn words_differ(ours: &Value, theirs: &Value) -> Vec<String> {
    let pointers = ["/error", "/error/message", "/message", "/type", "/code", "/param", "/detail", "/error_type"];
    let mut found = Vec::new();
    for pointer in pointers.into_iter().chain(["/choices/0/finish_reason", ""]) {
        let (ours, theirs) = (ours.pointer(pointer), theirs.pointer(pointer));
        let same = match (ours, theirs) {
            (Some(Value::String(ours)), Some(Value::String(theirs))) => plain(ours) == plain(theirs),
            (Some(Value::Object(_)), Some(Value::Object(_))) => true,
            (Some(Value::Array(_)), Some(Value::Array(_))) => true,
            (ours, theirs) => ours == theirs,
        };
        if !same {
            found.push(format!("{pointer}: {ours:?}, recorded {theirs:?}"));
        }
    }
    found
}

/// The first line and what was found, without what depends on the machine.
fn plain(text: &str) -> String {
    let text = text.split("\n\n  File ").next().unwrap_or(text);
    let text = text.split(" at line ").next().unwrap_or(text);
    let digits = |c: char| c.is_ascii_digit();
    text.lines().take(2).map(|line| line.replace(digits, "0")).collect::<Vec<_>>().join("\n")
}

/// Refusals of which only the form is ours: many kinds of message or schema are tried there, one after the other.
const OTHER_WORDS: [&str; 9] = [
    "role_missing",
    "tools_bad_schema",
    "format_schema_nonsense",
    "err_json",
    "err_half_surrogate",
    "rf_schema_unsupported",
    "limited_shard_gone",
    "limited_err_json_no_auth",
    "tools_cut",
];

/// By its name, or by the beginning of it when that ends in `_`.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || (wanted.ends_with('_') && name.starts_with(wanted))
}

/// Compares every exchange that is not left out; how many there were, and what differs.
async fn compare(text: &str, server: &sim::Sim, left_out: &[(&str, &str)]) -> (usize, Vec<String>) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for exchange in exchanges(text) {
        let shortened = exchange.request.body.as_ref().is_some_and(|body| body.contains("bytes in all)"));
        if shortened || left_out.iter().any(|(name, _)| is_named(&exchange.name, name)) {
            continue;
        }
        compared += 1;
        let ours = ask(server.address(), &exchange.request).await;
        wrong.extend(differences(&exchange, &ours).into_iter().map(|found| format!("{}: {found}", exchange.name)));
    }
    (compared, wrong)
}

#[track_caller]
fn assert_as_recorded((compared, wrong): (usize, Vec<String>), least: usize) {
    assert!(wrong.is_empty(), "{} differences in {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= least, "{compared} compared");
}

/// Shorter than every limit that the recorded answers stayed below, longer than those they were cut at.
fn tokens(count: u32) -> Behaviour {
    Behaviour { tokens: (count, count), ..Behaviour::default() }
}

#[tokio::test]
async fn vllm_is_as_recorded() {
    let left_out = [
        ("responses", "the toy model ran out of tokens"),
        ("completions", "the toy model ran out of tokens"),
        ("completions_stream", "the toy model ran out of tokens"),
        ("json_schema", "the toy model ran out of tokens inside the object; ours ends it"),
        ("json_schema_stream", "the toy model ran out of tokens inside the object; ours ends it"),
        ("json_object", "the toy model ran out of tokens inside the object; ours ends it"),
        ("err_context", "the recording shortens the body, so it cannot be sent again"),
        ("err_context_stream", "the recording shortens the body, so it cannot be sent again"),
        ("metrics", "ours is shorter"),
    ];
    let server = sim::start(SimConfig::new(Wire::Vllm).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("data/vllm.jsonl"), &server, &left_out).await, 46);
}

#[tokio::test]
async fn sglang_is_as_recorded() {
    let left_out = [
        ("loads", "ours is shorter"),
        ("metrics", "ours is shorter"),
        ("chat_emoji_stream", "the words decide"),
        ("stop_list", "the words decide"),
        ("stop_stream", "the words decide"),
        ("stop_in_thought", "the words decide"),
        ("temperature_5", "the words decide"),
        ("temperature_2", "the words decide"),
        ("logit_bias_101", "the words decide"),
        ("field_ignore_eos", "the words decide"),
        ("tools_result_no_tools", "the words decide"),
        ("tools_auto_and_schema", "the words decide"),
        ("completions_no_max", "the words decide"),
        ("strict_", "another server"),
        ("noparser_", "another server"),
        ("abort_", "another server"),
        ("busy", "another server"),
        ("busy_stream", "another server"),
        ("killed_", "a connection that ends, as a fault does it"),
        ("separate_reasoning_off", "nobody sends it"),
        ("responses_custom_tool", "nobody sends it"),
        ("responses_effort_none", "text is an object there, and null everywhere else"),
        ("completions_logprobs", "pinned to the baseline: a candidate is never asked"),
        ("messages_anthropic", "pinned to the baseline: a candidate is never asked"),
    ];
    let server = sim::start(SimConfig::new(Wire::Sglang).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("data/sglang.jsonl"), &server, &left_out).await, 270);
}

#[tokio::test]
async fn tgi_is_as_recorded() {
    let left_out = [
        ("metrics", "ours is shorter"),
        ("stop_hit", "the words decide"),
        ("stop_hit_stream", "the words decide"),
        ("completions_stop_hit", "the words decide"),
        ("max_tokens_1500", "the words decide"),
        ("emoji_stream", "the words decide"),
        ("tools_no_tool_cut_stream", "the words decide"),
        ("tools_empty_call", "a model that fails on demand"),
        ("tools_empty_call_stream", "a model that fails on demand"),
        ("fault_", "a model that fails on demand"),
        ("health_sick", "a model that fails on demand"),
        ("ping_sick", "a model that fails on demand"),
        ("prompt_", "nobody asks for the prompt"),
        ("options_cors", "nobody asks"),
        ("err_duplicate_key", "nobody sends it"),
        ("err_not_utf8", "a recording is text"),
        ("completions_two", "pinned to the baseline: a candidate is never asked"),
        ("completions_two_stream", "pinned to the baseline: a candidate is never asked"),
        ("limited_", "another server"),
    ];
    let server = sim::start(SimConfig::new(Wire::Tgi), tokens(12)).await.unwrap();
    assert_as_recorded(compare(include_str!("data/tgi.jsonl"), &server, &left_out).await, 185);
}

#[tokio::test]
async fn trtllm_is_as_recorded() {
    let server = sim::start(SimConfig::new(Wire::Trtllm).model("qwen-235b-a22b"), tokens(7)).await.unwrap();
    assert_as_recorded(compare(include_str!("data/trtllm.jsonl"), &server, &[]).await, 68);
}

/// Compares the exchanges of these names with a server that is and behaves so.
async fn compare_named(text: &str, names: &[&str], config: SimConfig, behaviour: Behaviour) -> Vec<String> {
    let server = sim::start(config, behaviour).await.unwrap();
    let mut wrong = Vec::new();
    for name in names {
        let exchange = exchanges(text).into_iter().find(|exchange| exchange.name == *name);
        let exchange = exchange.unwrap_or_else(|| panic!("{name} was not recorded"));
        let ours = ask(server.address(), &exchange.request).await;
        wrong.extend(differences(&exchange, &ours).into_iter().map(|found| format!("{name}: {found}")));
    }
    wrong
}

fn faulty(fault: Fault) -> Behaviour {
    Behaviour { fault, ..tokens(7) }
}

fn status(status: u16) -> Behaviour {
    Behaviour { status: Some((status, None)), ..tokens(7) }
}

#[tokio::test]
async fn other_servers_of_the_recordings() {
    let sglang = || SimConfig::new(Wire::Sglang).model("qwen-235b-a22b");
    let strict = || sglang().key("sk-sglang").template(Template::Qwen35);
    let limited =
        || SimConfig { max_model_len: 512, ..SimConfig::new(Wire::Tgi).key("sk-tgi").template(Template::Qwen35) };
    let templates = ["strict_developer", "strict_late_system", "strict_two_system", "strict_only_system"];
    let keyless = ["strict_auth_none", "strict_auth_wrong"];
    let tgi_templates =
        ["limited_late_system", "limited_late_system_stream", "limited_developer", "limited_system_only"];
    let tgi_open = [
        "limited_no_auth",
        "limited_wrong_auth",
        "limited_err_json_no_auth",
        "limited_models_no_auth",
        "limited_health_no_auth",
        "limited_info_no_auth",
        "limited_route_no_auth",
        "limited_sum_too_long",
        "limited_sum_too_long_2000",
        "limited_tool_history_only",
    ];
    let overloaded = [
        "limited_overloaded",
        "limited_overloaded_stream",
        "limited_overloaded_tools_stream",
        "limited_overloaded_completions",
        "limited_overloaded_completions_stream",
        "limited_overloaded_bad_request",
        "limited_overloaded_health",
    ];
    let cases: Vec<(&str, &[&str], SimConfig, Behaviour)> = vec![
        ("sglang", &templates, SimConfig { api_key: None, ..strict() }, tokens(7)),
        ("sglang", &keyless, strict(), tokens(7)),
        ("sglang", &["busy", "busy_stream"], sglang(), status(503)),
        ("sglang", &["noparser_chat_bare"], sglang(), faulty(Fault::ThinkInContent)),
        ("sglang", &["noparser_tools_auto"], sglang(), faulty(Fault::CallAsText)),
        ("sglang", &["abort_stream_long"], sglang(), faulty(Fault::Abort)),
        ("tgi", &tgi_templates, limited(), tokens(7)),
        ("tgi", &tgi_open, limited(), tokens(7)),
        ("tgi", &overloaded, SimConfig { api_key: None, ..limited() }, status(429)),
        (
            "tgi",
            &["limited_shard_gone", "fault_prefill", "fault_prefill_stream", "fault_decode"],
            SimConfig::new(Wire::Tgi),
            status(424),
        ),
        ("tgi", &["fault_decode_stream"], SimConfig::new(Wire::Tgi), faulty(Fault::ErrorEventAfter(3))),
        ("tgi", &["fault_incomplete"], SimConfig::new(Wire::Tgi), status(500)),
        ("tgi", &["keep_alive_stream"], SimConfig::new(Wire::Tgi), faulty(Fault::Comments)),
    ];
    let mut wrong = Vec::new();
    for (engine, names, config, behaviour) in cases {
        let text = if engine == "tgi" { include_str!("data/tgi.jsonl") } else { include_str!("data/sglang.jsonl") };
        wrong.extend(compare_named(text, names, config, behaviour).await);
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn post(path: &str, body: &Value) -> Asked {
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    Asked { method: "POST".to_owned(), path: path.to_owned(), headers, body: Some(body.to_string()) }
}

/// A chat about `text`, with these fields too.
fn chat(text: &str, more: Value) -> Asked {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    for (name, field) in more.as_object().unwrap() {
        body[name.as_str()] = field.clone();
    }
    post("/v1/chat/completions", &body)
}

async fn answer(server: &sim::Sim, asked: &Asked) -> (u16, Value) {
    let (status, _, body) = ask(server.address(), asked).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn the_same_question_gets_the_same_words() {
    let server = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let said = |answer: (u16, Value)| answer.1["choices"][0]["message"]["content"].to_string();
    let asked = chat("q", json!({}));
    assert_eq!(said(answer(&server, &asked).await), said(answer(&server, &asked).await));
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
        assert_eq!(ask(dashscope.address(), &chat("q", more.clone())).await.0, status, "{more}");
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
        assert_eq!(ask(compatible.address(), &chat("q", more.clone())).await.0, status, "{more}");
    }
}

#[tokio::test]
async fn metrics_have_each_servers_own_names() {
    let load = Load { running: 3, waiting: 5, kv_usage: 0.5 };
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
        let page = Asked { method: "GET".to_owned(), path: path.to_owned(), headers: BTreeMap::new(), body: None };
        let (status, kind, text) = ask(server.address(), &page).await;
        assert!(status == 200 && kind.starts_with("text/plain"), "{wire:?}: {status} {kind}");
        let value = |name: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            lines.next().unwrap_or_else(|| panic!("{wire:?} has no {name}")).rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(value(lines[0]), "3.0", "{wire:?}");
        assert_eq!(value(lines[1]), "5.0", "{wire:?}");
        assert_eq!(value(lines[2]), if wire == Wire::Tgi { "0.0" } else { "0.5" }, "{wire:?}");
        let gpu = Asked { path: "/dcgm/metrics".to_owned(), ..page };
        assert!(ask(server.address(), &gpu).await.2.contains("DCGM_FI_DEV_FB_USED{"));
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
    let (_, _, text) = ask(server.address(), &chat("q", stream.clone())).await;
    assert!(text.contains("finish_reason\":\"stop") && !text.contains("[DONE]"), "{text}");
    server.set(faulty(Fault::NoFinish));
    let (_, _, text) = ask(server.address(), &chat("q", stream)).await;
    assert!(!text.contains("finish_reason\":\"stop") && text.contains("[DONE]"), "{text}");
}
