//! `shiftgate explain` against the running proxy, over random files and requests: both say the same.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use http::Method;
use rand::seq::IndexedRandom;
use serde_json::Value;
use shiftgate::api::app::{App, Options};
use shiftgate::api::live::{InForce, Source};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::residency::{Residency, Traits};
use super::*;

/// Number of files, and of requests under each.
const FILES: u64 = 300;
const REQUESTS: usize = 3;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"{}"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
const CHUNK: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"{}"},"finish_reason":"stop"}]}"#;
const RESPONSE: &str = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"{}","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#;

/// A server of every engine: it accepts each request.
async fn accepts_all(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Some(request) = read_request(&mut stream).await else { return };
            let is_stream = request.contains("\"stream\":true");
            let path = request.split(' ').nth(1).unwrap_or_default();
            let (kind, body) = match (path, is_stream) {
                ("/v1/responses", true) => (EVENTS, events()),
                (_, true) => (EVENTS, format!("data: {CHUNK}\n\ndata: [DONE]\n\n")),
                ("/v1/chat/completions", false) => (JSON, CHAT.to_owned()),
                ("/v1/responses", false) => (JSON, RESPONSE.to_owned()),
                (_, false) => (
                    JSON,
                    r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}"#.to_owned(),
                ),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", body.len());
            drop(stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await);
        });
    }
}

/// The events of a streamed answer of `/v1/responses`.
fn events() -> String {
    let empty = RESPONSE.replace("completed", "in_progress");
    let message = r#"{"type":"message","id":"msg_1","role":"assistant","status":"in_progress","content":[]}"#;
    let delta = r#""item_id":"msg_1","output_index":0,"content_index":0,"delta":"{}""#;
    let mut text = String::new();
    for (at, (kind, rest)) in [
        ("response.created", format!("\"response\":{empty}")),
        ("response.output_item.added", format!("\"output_index\":0,\"item\":{message}")),
        ("response.output_text.delta", delta.to_owned()),
        ("response.completed", format!("\"response\":{RESPONSE}")),
    ]
    .into_iter()
    .enumerate()
    {
        write!(text, "event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{at},{rest}}}\n\n").unwrap();
    }
    text
}

/// Reads one request, framed by its content-length.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut got = Vec::new();
    loop {
        if let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if got.len() >= end + 4 + length.unwrap_or(0) {
                return Some(String::from_utf8_lossy(&got).into_owned());
            }
        }
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
}

/// What was decided about one request.
#[derive(Debug, PartialEq)]
struct Said {
    /// `None` if shiftgate answers by itself.
    backend: Option<String>,
    /// `None` if the override names no backend of the file.
    reason: Option<String>,
}

/// The path and the headers of a request whose body may be any.
struct Asked {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Asked {
    /// Asks the proxy, and reads the headers of its answer.
    async fn through(&self, address: SocketAddr) -> Said {
        let mut request = format!("POST {} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", self.path);
        for (name, value) in &self.headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n{}", self.body.len(), self.body).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let header = |name: &str| {
            let head = answer.split("\r\n\r\n").next().unwrap();
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
        };
        let (backend, reason) = (header("x-shiftgate-backend"), header("x-shiftgate-reason"));
        assert!(!reason.iter().any(|reason| reason.starts_with("failover")), "{reason:?}\n{request}\n{answer}");
        match reason {
            Some(reason) if answer.contains("\"unknown_backend\"") => {
                assert_eq!(reason, "refused:override");
                Said { backend: None, reason: None }
            }
            reason => Said { backend, reason },
        }
    }

    /// Runs the command; fails with its message if it refuses the request.
    fn explained(&self, file: &Path) -> Result<Value, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
        command.env_remove("SHIFTGATE_CONFIG").arg("--config").arg(file);
        command.args(["explain", "--json", "--path", &self.path]);
        for (name, value) in &self.headers {
            command.arg("--header").arg(format!("{name}:{value}"));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.body.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        match done.status.success() {
            true => Ok(serde_json::from_slice(&done.stdout).unwrap()),
            false => Err(String::from_utf8(done.stderr).unwrap()),
        }
    }
}

/// Returns a file for the running proxy, and a request that `explain` can express: POST, in UTF-8, with a key where the
/// file looks for one.
fn asked(rng: &mut StdRng, file: &FileState) -> Asked {
    loop {
        let (mut asked, traits) = (AskedState::random(rng, file), Traits::random(rng));
        if asked.method != Method::POST {
            continue;
        }
        if asked.session.is_none() {
            asked.headers.push(("x-session-id", format!("s{}", rng.random_range(0..10_000))));
        }
        let mut headers = headers(&asked);
        traits.put(&mut asked, &mut headers);
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let headers: Option<Vec<_>> =
            headers.iter().map(|(name, value)| Some((name.to_string(), text(value)?))).collect();
        if let (Some(headers), true) = (headers, asked.method == Method::POST) {
            return Asked { path: asked.path, headers, body: asked.body };
        }
    }
}

/// The route and the bucket of the choice under the proxy's state in force; whether a number was drawn.
fn chosen(in_force: &InForce, asked: &Asked) -> (Option<(String, Option<f64>)>, bool) {
    let endpoint = Endpoint::of(&Method::POST, &asked.path);
    let scanned = scan::scan(asked.body.as_bytes()).ok();
    let body = match &scanned {
        _ if asked.body.is_empty() => Body::Empty,
        _ if !endpoint.is_read() => Body::NotRead,
        _ if asked.body.len() > state::MAX_BODY => Body::OverCap,
        Some(scan) => Body::Scanned(scan),
        None => Body::Unparsable,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        headers.append(name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let request = Request { endpoint: &endpoint, path: &asked.path, query: None, headers: &headers, body };
    let mut is_random = false;
    let draw = &mut || {
        is_random = true;
        0
    };
    let choice = in_force.choose(&request, Instant::now(), draw);
    let found = choice.ok().map(|choice| {
        let bucket = choice.drawn().filter(|drawn| drawn.key.is_some());
        let bucket = bucket.map(|drawn| f64::from(drawn.unit) / f64::from(UNITS));
        (in_force.snapshot.config[choice.route()].name.clone(), bucket)
    });
    (found, is_random)
}

/// Compares one request; returns the word of its reason.
async fn compare(app: &App, file: &Path, asked: &Asked) -> String {
    let said = asked.through(app.listen_address.unwrap()).await;
    let explained = match asked.explained(file) {
        Ok(explained) => explained,
        Err(message) => {
            assert_eq!(said, Said { backend: None, reason: None }, "{message}");
            return "unknown".to_owned();
        }
    };
    let text = |name: &str| explained[name].as_str().map(str::to_owned);
    let (found, is_random) = chosen(&app.store.current(), asked);
    assert_eq!(explained["bucket"].is_null(), found.as_ref().is_none_or(|(_, bucket)| bucket.is_none()));
    if let Some((route, bucket)) = found {
        assert_eq!((text("route"), explained["bucket"].as_f64()), (Some(route), bucket));
    }
    let reason = text("reason").unwrap();
    if is_random {
        return "drawn".to_owned();
    }
    assert_eq!(said.reason.as_ref(), Some(&reason), "{explained}");
    if !reason.starts_with("refused") {
        assert_eq!(said.backend, text("backend"), "{explained}");
    }
    reason
}

/// Text of a file for a running proxy whose backends all are the one server.
fn text(file: &FileState, residency: Option<&Residency>, server: SocketAddr) -> String {
    let text = residency.map_or_else(|| file.text(), |residency| residency.text(file));
    let listens = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\n";
    text.replace("[server]\n", listens).replace("127.0.0.1:9/", &format!("{server}/"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_what_the_proxy_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(accepts_all(listener));
    let folder = tempfile::tempdir().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let (first, next) = (first_seed(), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    for worker in 0..2 {
        let (path, next) = (folder.path().join(format!("rollout-{worker}.toml")), Arc::clone(&next));
        tasks.spawn(async move {
            let mut app: Option<App> = None;
            let mut words: BTreeMap<String, usize> = BTreeMap::new();
            while let Some(at) = Some(next.fetch_add(1, Relaxed)).filter(|at| *at < FILES) {
                let seed = first.wrapping_add(at);
                let mut rng = StdRng::seed_from_u64(seed);
                let file = FileState::random(&mut rng);
                let residency = [true, false].choose(&mut rng).unwrap().then(|| Residency::random(&mut rng));
                let text = text(&file, residency.as_ref(), server);
                std::fs::write(&path, &text).unwrap();
                let config = config::parse(&path, text.as_bytes(), Secrets::Required, &|_| None);
                let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
                let app = match &app {
                    Some(app) => {
                        app.store.reload(Ok(text.clone().into_bytes()));
                        app
                    }
                    None => {
                        let source = Source { env: Box::new(|_| None), secrets: Secrets::Required, adapt: None };
                        let started = App::start(config.clone(), text.as_bytes(), source, Options::default()).await;
                        app.insert(started.unwrap())
                    }
                };
                assert_eq!(app.store.current().snapshot.config.hash, config.hash, "the file is in force");
                for _ in 0..REQUESTS {
                    let asked = asked(&mut rng, &file);
                    let _naming = OfFile(seed, &text, &asked);
                    *words.entry(compare(app, &path, &asked).await).or_default() += 1;
                }
            }
            words
        });
    }
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for found in tasks.join_all().await {
        for (word, count) in found {
            *words.entry(word).or_default() += count;
        }
    }
    assert_eq!(words.values().sum::<usize>(), FILES as usize * REQUESTS);
    for word in ["split", "override", "affinity", "unknown", "pinned:residency", "refused:residency"] {
        assert!(words.get(word).is_some_and(|count| *count >= 3), "{word} is too rare: {words:?}");
    }
}

/// Names the state on a panic: its seed makes it again.
struct OfFile<'a>(u64, &'a str, &'a Asked);

impl Drop for OfFile<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, file, asked) = self;
            eprintln!(
                "SHIFTGATE_TEST_SEED={seed} (first file)\n{file}\nPOST {}\n{:?}\n{}",
                asked.path, asked.headers, asked.body
            );
        }
    }
}
