//! Recorded exchanges, and the differences between two answers to one request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;
use shiftgate::api::sim::{Behaviour, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Deserialize)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    pub(crate) request: RecordedRequest,
    pub(crate) response: RecordedAnswer,
}

#[derive(Deserialize)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<String>,
}

#[derive(Deserialize, Clone)]
pub(crate) struct RecordedAnswer {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) chunks: Vec<(f64, String)>,
    /// Name of the exchange whose answer this one equals.
    pub(crate) same_as: Option<String>,
}

impl RecordedAnswer {
    fn text(&self) -> String {
        self.chunks.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn kind(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value)
    }
}

/// Reads the exchanges of a recording, each with its whole answer.
pub(crate) fn exchanges(text: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answers: BTreeMap<String, RecordedAnswer> =
        all.iter().map(|exchange| (exchange.name.clone(), exchange.response.clone())).collect();
    for exchange in &mut all {
        if let Some(name) = &exchange.response.same_as {
            exchange.response = answers[name].clone();
        }
    }
    all
}

/// Collects every path of a value with its type; entries of a list have one path.
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

/// Returns the shapes of a stream's events, without repeats, and the finish reasons in order.
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

pub(crate) async fn send(address: SocketAddr, request: &RecordedRequest) -> (u16, String, String) {
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

/// Describes the differences between two answers to one request.
pub(crate) fn differences(exchange: &Exchange, (status, kind, body): &(u16, String, String)) -> Vec<String> {
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
    // Some recordings of long answers are cut, so only their beginning is compared.
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

/// Compares the messages of refusals, without positions and the places of files.
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

/// Returns the first two lines, without parts that depend on the machine.
fn plain(text: &str) -> String {
    let text = text.split("\n\n  File ").next().unwrap_or(text);
    let text = text.split(" at line ").next().unwrap_or(text);
    let digits = |c: char| c.is_ascii_digit();
    text.lines().take(2).map(|line| line.replace(digits, "0")).collect::<Vec<_>>().join("\n")
}

/// Refusals of which only the form is compared: real servers list many kinds of message or schema in them.
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

/// Answers of this many tokens. The count has to be below the limits that recorded answers kept, and above those they hit.
pub(crate) fn tokens(count: u32) -> Behaviour {
    Behaviour { tokens: (count, count), ..Behaviour::default() }
}

pub(crate) fn faulty(fault: Fault) -> Behaviour {
    Behaviour { fault, ..tokens(7) }
}
