//! The built binary as a process, readings of it, and a plain client.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for any single event; only a hang takes longer.
pub(crate) const HANG_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Sidecar {
    child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Sidecar {
    pub(crate) fn start(text: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("rollout.toml");
        std::fs::write(&path, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
        let mut child = command.arg("--config").arg(&path).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is not piped")?).lines();
        let first = loop {
            let line: serde_json::Value =
                serde_json::from_str(&lines.next().context("shiftgate ended at its start")??)?;
            if line["message"] == "listening" {
                break line;
            }
        };
        let of = |key: &str| first[key].as_str().unwrap_or_default().parse::<SocketAddr>();
        let (listen, admin) = (of("listen")?, of("admin")?);
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, listen, admin, folder })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("rollout.toml")
    }

    /// Saves another configuration and waits until it is in force.
    pub(crate) async fn save(&self, text: &str) -> anyhow::Result<()> {
        let before = self.status().await?["generation"].clone();
        std::fs::write(self.file(), text)?;
        let begun = Instant::now();
        while self.status().await?["generation"] == before {
            ensure!(
                begun.elapsed() < HANG_TIMEOUT,
                "the file is not in force: {}",
                self.status().await?["reload_error"]
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    pub(crate) async fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&get(self.admin, "/status").await?.body)?)
    }

    /// Reads `/metrics`: the value of each series.
    pub(crate) async fn metrics(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let page = get(self.admin, "/metrics").await?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        Ok(series
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(n, v)| Some((n.to_owned(), v.parse().ok()?)))
            .collect())
    }

    /// Waits until nothing is in flight; anything that stays held is a leak.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let metrics = self.metrics().await?;
            let held = ["shiftgate_requests_in_flight", "shiftgate_body_bytes", "shiftgate_connections"];
            let busy: Vec<_> = metrics
                .iter()
                .filter(|(name, value)| {
                    **value != 0.0 && (held.contains(&name.as_str()) || name.starts_with("shiftgate_backend_in_flight"))
                })
                .collect();
            if busy.is_empty() {
                return Ok(());
            }
            ensure!(begun.elapsed() < HANG_TIMEOUT, "still held: {busy:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn memory(&self, line: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let found = status.lines().find(|text| text.starts_with(line)).context("status has no such line")?;
        Ok(found.split_whitespace().nth(1).context("the line has no value")?.parse::<f64>()? / 1024.0)
    }

    pub(crate) fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// True if the body ended as HTTP demands.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
    }

    pub(crate) fn has(&self, text: &str) -> bool {
        memchr::memmem::find(&self.body, text.as_bytes()).is_some()
    }
}

pub(crate) fn chat(stream: bool, key: usize) -> Vec<u8> {
    chat_of("x", stream, key)
}

pub(crate) fn chat_of(text: &str, stream: bool, key: usize) -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"gpt-4o\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nauthorization: Bearer k\r\n\
         x-session-id: {key}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    ask(address, format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Sends one request on a new connection and reads the answer.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> anyhow::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        // A refusal may arrive before a large body is written.
        let written = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes).await;
        if bytes.is_empty() {
            written?;
            read?;
        }
        parse(&bytes)
    };
    tokio::time::timeout(HANG_TIMEOUT, exchange).await.context("the answer does not end")?
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").context("the answer has no head")?;
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("the answer has no status")?.parse()?;
    let rest = bytes.get(end + 4..).unwrap_or_default();
    let answer = Answer { status, head, body: Vec::new(), whole: false };
    if answer.header("transfer-encoding") == "chunked" {
        let (body, whole) = dechunk(rest);
        return Ok(Answer { body, whole, ..answer });
    }
    let whole = answer.header("content-length").parse().map_or(true, |length: usize| length == rest.len());
    Ok(Answer { body: rest.to_vec(), whole, ..answer })
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(at) = memchr::memmem::find(rest, b"\r\n") {
        let size = rest.get(..at).and_then(|text| std::str::from_utf8(text).ok());
        let Some(size) = size.and_then(|text| usize::from_str_radix(text, 16).ok()) else { break };
        if size == 0 {
            return (body, true);
        }
        let Some(data) = rest.get(at + 2..at + 2 + size) else { break };
        body.extend_from_slice(data);
        rest = rest.get(at + 4 + size..).unwrap_or_default();
    }
    (body, false)
}

/// Runs `one` for each number below `count`, `at_once` at a time; the first error ends it.
pub(crate) async fn many<F>(count: usize, at_once: usize, one: F) -> anyhow::Result<()>
where
    F: AsyncFn(usize) -> anyhow::Result<()> + Clone + 'static,
{
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let mut workers = tokio::task::JoinSet::new();
            for worker in 0..at_once {
                let one = one.clone();
                workers.spawn_local(async move {
                    for number in (worker..count).step_by(at_once) {
                        one(number).await.with_context(|| format!("request {number}"))?;
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(done) = workers.join_next().await {
                match done {
                    Ok(result) => result?,
                    Err(_) => bail!("a worker panicked"),
                }
            }
            Ok(())
        })
        .await
}
