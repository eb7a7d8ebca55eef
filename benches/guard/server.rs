//! A server that counts the requests it gets, and fails as it is told. It shares no code with the product, so that its
//! counts are its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Longest request that is read, in bytes; the client's have some 300.
const MOST_BYTES: usize = 65_536;

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 76\r\n\r\n\
    {\"error\":{\"message\":\"it fails\",\"type\":\"server_error\",\"param\":null,\"code\":0}}";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// Behaviour of a server towards the requests that arrive from one moment on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// Answers all.
    Well,
    /// Answers this share of the requests with 500, so long after their arrival, and the others at once.
    Fails(f64, Duration),
    /// Sends a head and nothing.
    Hangs,
    /// Refuses connections, and has reset those that there were.
    Dead,
}

#[derive(Debug)]
struct Shared {
    requests: AtomicU64,
    seed: u64,
    answer: String,
    mode: watch::Receiver<Mode>,
}

#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    mode: watch::Sender<Mode>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server; `seed` decides which requests fail.
    pub(crate) fn start(model: &str, seed: u64) -> anyhow::Result<Self> {
        let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        let listener = socket.listen(BACKLOG)?;
        let (mode, watched) = watch::channel(Mode::Well);
        let shared = Shared { requests: AtomicU64::new(0), seed, answer: answer(model), mode: watched };
        let shared = Arc::new(shared);
        let task = tokio::spawn(serve(listener, address, Arc::clone(&shared)));
        Ok(Self { address, shared, mode, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Number of chat requests that have arrived whole.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Relaxed)
    }

    /// Returns the error that has ended the server, if one has: its counts are wrong then.
    pub(crate) async fn check(&mut self) -> anyhow::Result<()> {
        if self.task.is_finished() {
            (&mut self.task).await?.context("a server has ended")?;
        }
        Ok(())
    }
}

/// Binds an address without listening there: connections are refused, and nobody else gets the port.
fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut mode = shared.mode.clone();
    loop {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    while connections.try_join_next().is_some() {}
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { drop(connection(stream, &shared).await) });
                }
                changed = mode.wait_for(|mode| *mode == Mode::Dead) => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        drop(listener);
        let socket = bound(address)?;
        connections.shutdown().await;
        if mode.wait_for(|mode| *mode != Mode::Dead).await.is_err() {
            return Ok(());
        }
        listener = socket.listen(BACKLOG)?;
    }
}

async fn connection(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut got = Vec::with_capacity(4096);
    loop {
        got.clear();
        while !is_whole(&got) {
            if got.len() > MOST_BYTES || stream.read_buf(&mut got).await? == 0 {
                return Ok(());
            }
        }
        if !got.starts_with(b"POST /v1/chat/completions ") {
            stream.write_all(UNKNOWN.as_bytes()).await?;
            continue;
        }
        let number = shared.requests.fetch_add(1, Relaxed);
        let mode = *shared.mode.borrow();
        match mode {
            Mode::Fails(share, after) if drawn(shared.seed, number) < share => {
                tokio::time::sleep(after).await;
                stream.write_all(FAILED.as_bytes()).await?;
            }
            Mode::Well | Mode::Fails(..) => stream.write_all(shared.answer.as_bytes()).await?,
            Mode::Hangs => {
                stream.write_all(STREAM_HEAD.as_bytes()).await?;
                // Only the peer ends it.
                while stream.read_buf(&mut got).await? > 0 {}
                return Ok(());
            }
            Mode::Dead => return stream.set_zero_linger(),
        }
    }
}

fn is_whole(got: &[u8]) -> bool {
    let Some(end) = memmem::find(got, b"\r\n\r\n") else { return false };
    let (head, body) = got.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    if head.contains("transfer-encoding: chunked") {
        body.ends_with(b"0\r\n\r\n")
    } else {
        body.len() >= length.unwrap_or(0)
    }
}

/// Draws evenly from 0 to 1, independently for each number (splitmix64).
fn drawn(seed: u64, number: u64) -> f64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A short stream, in one chunk.
fn answer(model: &str) -> String {
    let event = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\
             \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let events = [
        event("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
        event("{\"content\":\"Hello.\"}", "null"),
        event("{}", "\"stop\""),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    format!("{STREAM_HEAD}{:x}\r\n{events}\r\n0\r\n\r\n", events.len())
}
