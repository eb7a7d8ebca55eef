//! Shared helpers of the tests of the running proxy: a sidecar on free ports with its own file, and a plain client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use shiftgate::api::app::{App, Options};
use shiftgate::api::config::{self, Secrets};
use shiftgate::api::live::Source;
use shiftgate::api::live::watch::Timing;
use shiftgate::api::proxy::ClientTimeouts;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Timeout of a hang: no step that succeeds takes this long, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running sidecar and its file, in a temporary folder.
pub(crate) struct Running {
    pub(crate) app: App,
    /// Removed when this is dropped.
    _folder: tempfile::TempDir,
    pub(crate) file: PathBuf,
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.listen_address.unwrap()
    }

    /// Fetches `/status` as JSON.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let answer = get(self.app.admin, "/status").await;
        serde_json::from_slice(&answer.body).unwrap()
    }
}

/// Starts a sidecar with this text as its file; `watch` follows the file.
pub(crate) async fn launch(text: &str, watch: bool) -> Running {
    launch_with(text, watch, ClientTimeouts::default()).await
}

/// Starts a sidecar with other timeouts for its clients.
pub(crate) async fn launch_with(text: &str, watch: bool, timeouts: ClientTimeouts) -> Running {
    launch_as(text, Options { watch, timeouts, ..Options::default() }).await
}

/// Starts a sidecar with these options; only the watcher's timing is shortened.
pub(crate) async fn launch_as(text: &str, options: Options) -> Running {
    launch_in(|_| None, text, options).await
}

/// Starts a sidecar that reads its environment variables from `env`.
pub(crate) async fn launch_in(
    env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    text: &str,
    options: Options,
) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rollout.toml");
    std::fs::write(&file, text).unwrap();
    let config = config::parse(&file, text.as_bytes(), Secrets::Required, &|_| None).unwrap_or_else(|e| panic!("{e}"));
    let source = Source { env: Box::new(env), secrets: Secrets::Required, adapt: None };
    let timing = Timing { debounce: Duration::from_millis(2), settle: Duration::from_millis(1), ..Timing::default() };
    let app = App::start(config, text.as_bytes(), source, Options { timing, ..options }).await.unwrap();
    Running { app, _folder: folder, file }
}

/// Starts an OpenAI baseline and a vLLM candidate, each with its own key.
pub(crate) async fn pair(behaviour: Behaviour) -> (Sim, Sim) {
    let openai = sim::start(SimConfig::new(Wire::OpenAi).key("sk-app-canary"), Behaviour::default()).await.unwrap();
    let qwen = SimConfig::new(Wire::Vllm).model("qwen-served").key("qwen-key-canary");
    (openai, sim::start(qwen, behaviour).await.unwrap())
}

/// Returns a file for such a pair.
pub(crate) fn file(openai: &Sim, qwen: &Sim, percent: f64) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
request_log = false
[failover]
enabled = false
[rollout]
name = "test"
baseline = "openai"
percent = {{ qwen = {percent:?} }}
[backend.openai]
engine = "openai"
url = "{}"
api_key = "client"
[backend.qwen]
engine = "vllm"
url = "{}"
api_key = {{ file = "{}" }}
models = {{ "*" = "qwen-served" }}
family = "qwen3"
timeout = {{ total = "20s" }}
"#,
        openai.url(),
        qwen.url(),
        secret_file().display()
    )
}

/// Returns the file that holds the candidate's key.
pub(crate) fn secret_file() -> PathBuf {
    static FILE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FILE.get_or_init(|| {
        // A static is never dropped, so a temporary folder would stay behind; test processes share this file.
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join("qwen-key");
        let mut file = tempfile::NamedTempFile::new_in(folder).unwrap();
        std::io::Write::write_all(&mut file, b"qwen-key-canary\n").unwrap();
        file.persist(&path).unwrap();
        path
    })
    .clone()
}

/// A parsed answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// True if the body is complete by its framing.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    raw(address, format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Sends bytes and reads until the connection ends.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    // A reset after some bytes is a truncated answer, which is parsed too.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the answer hangs"));
    parse(&bytes)
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(bytes)));
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, v)| v.parse::<usize>().unwrap());
    let (body, whole) = match (chunked, length) {
        (true, _) => dechunk(rest),
        (false, Some(length)) => (rest.to_vec(), rest.len() == length),
        (false, None) => (rest.to_vec(), true),
    };
    Answer { status, headers, body, whole }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16) else { return (body, false) };
        rest = &rest[at + 2..];
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..rest.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// Returns a POST with an application's usual headers and `more`.
pub(crate) fn post(path: &str, body: &str, more: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer sk-app-canary\r\n\
         content-length: {}\r\nconnection: close\r\n{more}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn chat(text: &str, stream: bool) -> String {
    serde_json::json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": text}]})
        .to_string()
}

pub(crate) async fn ask(running: &Running, body: &str, more: &str) -> Answer {
    raw(running.address(), &post("/v1/chat/completions", body, more)).await
}

/// Waits until the watched value `holds`; panics after [`PATIENCE`].
pub(crate) async fn until<T: Clone>(mut watched: tokio::sync::watch::Receiver<T>, holds: impl FnMut(&T) -> bool) -> T {
    tokio::time::timeout(PATIENCE, watched.wait_for(holds)).await.expect("it never holds").unwrap().clone()
}

pub(crate) fn behaviour(fault: sim::Fault) -> Behaviour {
    Behaviour { fault, ..Behaviour::default() }
}

/// Starts a sidecar in which the test plays one backend: the candidate if `percent` is above 0, else the baseline.
pub(crate) async fn before_script(percent: f64) -> (Running, tokio::net::TcpListener) {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let script = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", script.local_addr().unwrap());
    let replaced = if percent > 0.0 { qwen.url() } else { openai.url() };
    (launch(&file(&openai, &qwen, percent).replace(&replaced, &url), false).await, script)
}

/// Reads one request, framed by its content-length; returns `None` if the peer leaves before the end.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut got = Vec::new();
    loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
            if got.len() >= end + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap()) {
                return Some(got);
            }
        }
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
}

/// Returns a chat with these fields.
pub(crate) fn with(fields: serde_json::Value) -> String {
    let mut body = serde_json::json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// Returns the last body that a backend received.
pub(crate) fn sent(sim: &Sim) -> serde_json::Value {
    serde_json::from_slice(&sim.received().last().unwrap().body).unwrap()
}
