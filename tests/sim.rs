//! The simulated vLLM against what the real one answered to the same requests: status, type, fields, nulls, framing,
//! refusals. Words, ids, counts and times may differ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use shiftgate::sim::{self, Behaviour, SimConfig, Wire};
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
    body: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    chunks: Vec<(u64, String)>,
}

/// What is not simulated, and why.
const LEFT_OUT: [(&str, &str); 5] = [
    ("responses", "pinned to the baseline: a candidate is never asked"),
    ("completions", "pinned to the baseline: a candidate is never asked"),
    ("err_context", "the recording shortens the body, so it cannot be sent again"),
    ("json_schema", "the toy model ran out of tokens inside the object; ours ends it"),
    ("json_object", "the toy model ran out of tokens inside the object; ours ends it"),
];

fn exchanges() -> Vec<Exchange> {
    include_str!("data/vllm.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {event}"));
        let value = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()));
        let finish = value.pointer("/choices/0/finish_reason").and_then(Value::as_str);
        finished.extend(finish.map(str::to_owned));
        let shape = match value.as_str() {
            Some(word) => BTreeSet::from([word.to_owned()]),
            None => shapes(&value),
        };
        if seen.last() != Some(&shape) {
            seen.push(shape);
        }
    }
    (seen, finished)
}

async fn ask(address: std::net::SocketAddr, request: &Asked) -> (u16, String, String) {
    let body = request.body.clone().unwrap_or_default();
    let text = format!(
        "{} {} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
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
    let text: String = recorded.chunks.iter().map(|(_, text)| text.as_str()).collect();
    let recorded_kind = recorded.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value);
    let mut found = Vec::new();
    if *status != recorded.status {
        found.push(format!("status {status}, recorded {}: {body}", recorded.status));
        return found;
    }
    if kind != recorded_kind {
        found.push(format!("content-type {kind}, recorded {recorded_kind}"));
    }
    if recorded_kind.starts_with("text/event-stream") {
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
    let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let (ours, theirs): (Value, Value) = (read(body), read(&text));
    for shape in shapes(&ours).symmetric_difference(&shapes(&theirs)) {
        let whose = if shapes(&ours).contains(shape) { "only ours" } else { "only recorded" };
        found.push(format!("{whose}: {shape}"));
    }
    for pointer in ["/error", "/detail", "/choices/0/finish_reason"] {
        if ours.pointer(pointer) != theirs.pointer(pointer) {
            found.push(format!("{pointer}: {:?}, recorded {:?}", ours.pointer(pointer), theirs.pointer(pointer)));
        }
    }
    found
}

#[tokio::test]
async fn vllm_is_as_recorded() {
    // Shorter than every limit that the recorded answers stayed below, longer than those they were cut at.
    let behaviour = Behaviour { tokens: (7, 7), ..Behaviour::default() };
    let server = sim::start(SimConfig::new(Wire::Vllm).model("qwen-235b-a22b"), behaviour).await.unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for exchange in exchanges() {
        if LEFT_OUT.iter().any(|(name, _)| exchange.name.starts_with(name)) {
            continue;
        }
        compared += 1;
        let ours = ask(server.address(), &exchange.request).await;
        wrong.extend(differences(&exchange, &ours).into_iter().map(|found| format!("{}: {found}", exchange.name)));
    }
    assert!(compared >= 44, "{compared} compared");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_same_question_gets_the_same_words() {
    let server = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"q"}]}"#.to_owned();
    let asked = Asked { method: "POST".to_owned(), path: "/v1/chat/completions".to_owned(), body: Some(body) };
    let said = |answer: (u16, String, String)| {
        serde_json::from_str::<Value>(&answer.2).unwrap()["choices"][0]["message"]["content"].to_string()
    };
    assert_eq!(said(ask(server.address(), &asked).await), said(ask(server.address(), &asked).await));
    let unknown = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"q"}],"top_k":3}"#.to_owned();
    let refused = ask(server.address(), &Asked { body: Some(unknown), ..asked }).await;
    assert_eq!(refused.0, 400);
    assert!(refused.2.contains("Unrecognized request argument supplied: top_k"), "{}", refused.2);
}
