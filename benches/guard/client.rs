//! An application: an open-loop generator of streamed chats without a key, over kept connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Requests a second.
pub(crate) const RATE: u32 = 200;
/// Time after which the application gives a request up. A candidate's stream without content ends after 60 s.
const PATIENCE: Duration = Duration::from_secs(150);
/// Age up to which an unused connection is used again.
const KEPT: Duration = Duration::from_secs(1);
/// Connections that are kept; more are closed after their answer.
const MOST_KEPT: usize = 64;
/// Delay from which a request counts as behind its schedule.
const LATE: Duration = Duration::from_millis(50);

/// Counts of the requests by result.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    /// Number of requests by error.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Longest delay behind the schedule.
    pub(crate) behind: Duration,
    /// Number of requests that were later than [`LATE`].
    pub(crate) late: u64,
}

impl Tally {
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

struct Client {
    address: SocketAddr,
    request: Vec<u8>,
    kept: Mutex<Vec<(TcpStream, Instant)>>,
}

/// Sends until `stop`, then waits for the answers that are under way.
pub(crate) async fn run(address: SocketAddr, stop: CancellationToken) -> Tally {
    let client = Arc::new(Client { address, request: request(), kept: Mutex::default() });
    let (mut tally, mut running) = (Tally::default(), JoinSet::new());
    let begun = tokio::time::Instant::now();
    for number in 0_u32.. {
        let meant = begun + Duration::from_secs(1) * number / RATE;
        if stop.run_until_cancelled(tokio::time::sleep_until(meant)).await.is_none() {
            break;
        }
        let behind = meant.elapsed();
        tally.behind = tally.behind.max(behind);
        tally.late += u64::from(behind > LATE);
        tally.sent += 1;
        let client = Arc::clone(&client);
        running.spawn(async move { client.ask().await });
        while let Some(done) = running.try_join_next() {
            tally.ended(done);
        }
    }
    while let Some(done) = running.join_next().await {
        tally.ended(done);
    }
    tally
}

impl Tally {
    fn ended(&mut self, done: Result<anyhow::Result<()>, tokio::task::JoinError>) {
        let error = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => error.to_string(),
        };
        *self.failed.entry(error).or_default() += 1;
    }
}

impl Client {
    async fn ask(&self) -> anyhow::Result<()> {
        let found = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match found.filter(|(_, since)| since.elapsed() < KEPT) {
            Some((stream, _)) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("not connected")?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        tokio::time::timeout(PATIENCE, self.exchange(&mut stream)).await.context("no end of the answer")??;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push((stream, Instant::now()));
        }
        Ok(())
    }

    async fn exchange(&self, stream: &mut TcpStream) -> anyhow::Result<()> {
        stream.write_all(&self.request).await.context("not sent")?;
        let mut got = Vec::with_capacity(2048);
        while !is_whole(&got) {
            ensure!(stream.read_buf(&mut got).await.context("cut")? > 0, "closed early");
        }
        let status = got.get(9..12).map(|status| String::from_utf8_lossy(status).into_owned()).unwrap_or_default();
        ensure!(status == "200", "status {status}");
        if memmem::find(&got, b"\"error\"").is_some() || memmem::find(&got, b"data: [DONE]").is_none() {
            bail!("a 200 without an answer");
        }
        Ok(())
    }
}

fn is_whole(got: &[u8]) -> bool {
    let Some(end) = memmem::find(got, b"\r\n\r\n") else { return false };
    let (head, body) = got.split_at(end + 4);
    let Some(at) = memmem::find(head, b"content-length: ") else { return body.ends_with(b"0\r\n\r\n") };
    let digits = head.get(at + 16..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    body.len() >= digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

fn request() -> Vec<u8> {
    let body = "{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello?\"}]}";
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nauthorization: Bearer k\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
