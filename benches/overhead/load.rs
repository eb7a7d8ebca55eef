//! The load generator: a blocking socket for one request at a time, a single-threaded runtime for many.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::origin::{ANSWER, content_length};

/// Returns a chat body of about 1 KiB; `fields` is JSON that ends with a comma, or empty.
pub(crate) fn body(fields: &str) -> String {
    let words = "word ".repeat(180);
    format!("{{\"model\":\"gpt-4o\",{fields}\"messages\":[{{\"role\":\"user\",\"content\":\"{words}\"}}]}}")
}

pub(crate) fn head(key: &str, length: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\
         content-type: application/json\r\nuser-agent: bench\r\nauthorization: Bearer sk-bench\r\n\
         x-session-id: {key}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Returns the head that OpenAI's Python SDK sends. It has no key, so shiftgate hashes the conversation.
fn sdk_head(length: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate\r\n\
         Connection: keep-alive\r\nauthorization: Bearer sk-bench\r\naccept: application/json\r\n\
         content-type: application/json\r\nuser-agent: OpenAI/Python 3.57.0\r\nx-stainless-lang: python\r\n\
         x-stainless-package-version: 3.57.0\r\nx-stainless-os: Linux\r\nx-stainless-arch: x64\r\n\
         x-stainless-runtime: CPython\r\nx-stainless-runtime-version: 3.11.7\r\nx-stainless-async: false\r\n\
         x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Bytes of one request; a request with a key gets a new one each time.
struct Request {
    bytes: Vec<u8>,
    key_at: Option<usize>,
    number: usize,
}

impl Request {
    const DIGITS: usize = 8;

    fn new(connection: usize) -> Self {
        let body = body("");
        let head = head("00000000", body.len());
        let key_at = memmem::find(head.as_bytes(), b"00000000");
        Self { bytes: [head.as_bytes(), body.as_bytes()].concat(), key_at, number: connection * 100_003 }
    }

    fn sdk() -> Self {
        let body = body("");
        Self { bytes: [sdk_head(body.len()).as_bytes(), body.as_bytes()].concat(), key_at: None, number: 0 }
    }

    fn next(&mut self) -> &[u8] {
        let Some(key_at) = self.key_at else { return &self.bytes };
        self.number += 1;
        let mut rest = self.number;
        for digit in self.bytes.iter_mut().skip(key_at).take(Self::DIGITS).rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        &self.bytes
    }
}

/// True if the answer is complete; an error if it is not the origin's, byte for byte or translated.
fn is_complete(got: &[u8]) -> anyhow::Result<bool> {
    let Some(end) = memmem::find(got, b"\r\n\r\n") else { return Ok(false) };
    let (head, body) = got.split_at(end + 4);
    ensure!(head.starts_with(b"HTTP/1.1 200 "), "not a 200: {}", String::from_utf8_lossy(got));
    if body.len() < content_length(head).context("the answer has no content-length")? {
        return Ok(false);
    }
    let is_translated = memmem::find(head, b"\r\nx-shiftgate-translated: ").is_some()
        && memmem::find(body, b"\"content\":\"Hello.\"").is_some();
    ensure!(body == ANSWER || is_translated, "not the origin's: {}", String::from_utf8_lossy(got));
    Ok(true)
}

/// One keep-alive connection with one request at a time.
pub(crate) struct One {
    stream: std::net::TcpStream,
    request: Request,
}

impl One {
    pub(crate) fn connect(address: SocketAddr, connection: usize) -> anyhow::Result<Self> {
        Self::sending(Request::new(connection), address)
    }

    /// Connects a client that repeats one request of OpenAI's Python SDK.
    pub(crate) fn like_the_sdk(address: SocketAddr) -> anyhow::Result<Self> {
        Self::sending(Request::sdk(), address)
    }

    fn sending(request: Request, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, request })
    }

    fn ask(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(self.request.next())?;
        let mut buffer = [0; 8192];
        let mut filled = 0;
        loop {
            let read = self.stream.read(buffer.get_mut(filled..).context("the answer is too long")?)?;
            ensure!(read > 0, "closed without an answer");
            filled += read;
            if is_complete(buffer.get(..filled).unwrap_or_default())? {
                return Ok(());
            }
        }
    }

    /// Sends one request after the other and returns the time of each.
    pub(crate) fn run(&mut self, requests: usize) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(requests);
        for _ in 0..requests {
            let begun = Instant::now();
            self.ask()?;
            took.push(begun.elapsed());
        }
        Ok(took)
    }

    /// Sends at fixed times, however late the answers are; each time counts from the scheduled start.
    fn run_at(&mut self, first: Instant, every: Duration, requests: usize) -> anyhow::Result<Vec<Duration>> {
        /// Time before the start that is spent spinning, since a sleep ends late.
        const SPIN: Duration = Duration::from_micros(100);
        let mut took = Vec::with_capacity(requests);
        for number in 0..requests {
            let meant = first + every * u32::try_from(number)?;
            std::thread::sleep(meant.saturating_duration_since(Instant::now()).saturating_sub(SPIN));
            while Instant::now() < meant {
                std::hint::spin_loop();
            }
            self.ask()?;
            took.push(meant.elapsed());
        }
        Ok(took)
    }
}

/// Sends `rate` requests a second for `seconds`, spread over eight connections, and returns the time of each.
pub(crate) fn open_loop(address: SocketAddr, rate: usize, seconds: f64) -> anyhow::Result<Vec<Duration>> {
    const CONNECTIONS: usize = 8;
    let spacing = Duration::from_secs(1) / u32::try_from(rate)?;
    let every = spacing * u32::try_from(CONNECTIONS)?;
    let requests = (seconds / every.as_secs_f64()) as usize;
    let start = Instant::now() + Duration::from_millis(50);
    let worker = move |connection: usize| {
        let mut one = One::connect(address, connection)?;
        one.run(5)?;
        one.run_at(start + spacing * u32::try_from(connection)?, every, requests)
    };
    let workers: Vec<_> = (0..CONNECTIONS).map(|number| std::thread::spawn(move || worker(number))).collect();
    let mut took = Vec::new();
    for worker in workers {
        let Ok(part) = worker.join() else { bail!("a generator's thread panicked") };
        took.extend(part?);
    }
    Ok(took)
}

/// Many keep-alive connections, each with one request in flight.
pub(crate) struct Many {
    runtime: tokio::runtime::Runtime,
    kept: Vec<Kept>,
}

struct Kept {
    stream: tokio::net::TcpStream,
    request: Request,
    buffer: Vec<u8>,
}

impl Kept {
    async fn ask(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(self.request.next()).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "closed without an answer");
            if is_complete(&self.buffer)? {
                return Ok(());
            }
        }
    }
}

impl Many {
    /// Connects and warms up, so that later measurements do not contain the start of a connection.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut kept = Vec::with_capacity(connections);
        runtime.block_on(async {
            for number in 0..connections {
                let stream = tokio::net::TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                kept.push(Kept { stream, request: Request::new(number), buffer: Vec::with_capacity(4096) });
            }
            anyhow::Ok(())
        })?;
        let mut many = Self { runtime, kept };
        many.run(connections * 8)?;
        Ok(many)
    }

    pub(crate) fn run(&mut self, requests: usize) -> anyhow::Result<Duration> {
        let left = Arc::new(AtomicUsize::new(requests));
        let begun = Instant::now();
        let kept = std::mem::take(&mut self.kept);
        self.kept = self.runtime.block_on(async {
            let mut workers = tokio::task::JoinSet::new();
            for mut one in kept {
                let left = Arc::clone(&left);
                workers.spawn(async move {
                    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
                        one.ask().await?;
                    }
                    anyhow::Ok(one)
                });
            }
            workers.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(begun.elapsed())
    }
}
