//! A collector that goes away does not affect requests: spans are dropped and counted, memory stays bounded, and traces
//! arrive again after it is back, without a restart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use shiftgate::api::sim::{self, Behaviour, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::sidecar::{HANG_TIMEOUT, Sidecar, ask, chat};

const RATE: u64 = 1_000;
const WORKERS: u64 = 50;
/// Growth of resident memory, in MiB, that fails the run. The queue is full after about ten seconds, so a longer outage
/// needs no more.
const MAX_GROWTH_MIB: f64 = 48.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Accepts,
    Hangs,
    Resets,
}

/// Answers 200 to every POST, or fails as `mode` says.
async fn collect(listener: TcpListener, mode: Mode) {
    let mut open = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        open.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            let (mut got, mut wanted) = (0_usize, usize::MAX);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                match mode {
                    Mode::Hangs => continue,
                    Mode::Resets => return drop(stream.set_zero_linger()),
                    Mode::Accepts => {}
                }
                if wanted == usize::MAX {
                    let head = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).to_ascii_lowercase();
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                    let body = head.find("\r\n\r\n").map_or(0, |end| end + 4);
                    wanted = body + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
                }
                got += read;
                if got >= wanted {
                    (got, wanted) = (0, usize::MAX);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

async fn start(address: SocketAddr, mode: Mode) -> anyhow::Result<JoinHandle<()>> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(tokio::spawn(collect(listener, mode))),
            Err(error) if begun.elapsed() > HANG_TIMEOUT => return Err(error).context("the collector's port"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub(crate) async fn run(seconds: u64) -> anyhow::Result<()> {
    let quiet = |wire| SimConfig { record: false, ..SimConfig::new(wire) };
    let openai = sim::start(quiet(Wire::OpenAi), Behaviour::default()).await?;
    let qwen = sim::start(quiet(Wire::Vllm), Behaviour::default()).await?;
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let telemetry = format!("[telemetry]\notlp = \"http://{address}/v1/traces\"");
    let sidecar = Sidecar::start(&crate::faults::text(&openai, &qwen.url(), &telemetry))?;
    let (asked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut load = load(sidecar.listen, &asked, &stop);
    let up = start(address, Mode::Accepts).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(sidecar.exported().await? > 0.0, "no span arrives");
    up.abort();
    for (name, mode) in [("absent", None), ("hanging", Some(Mode::Hangs)), ("resetting", Some(Mode::Resets))] {
        let failing = match mode {
            Some(mode) => Some(start(address, mode).await?),
            None => None,
        };
        let (before, first, dropped) = (sidecar.memory("VmRSS:")?, asked.load(Relaxed), sidecar.dropped().await?);
        let mut most = before;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            most = most.max(sidecar.memory("VmRSS:")?);
            ensure!(load.try_join_next().is_none(), "a request failed and ended the load");
        }
        let (asked, dropped) = (asked.load(Relaxed) - first, sidecar.dropped().await? - dropped);
        if let Some(failing) = failing {
            failing.abort();
        }
        let exported = sidecar.exported().await?;
        let back = Instant::now();
        let up = start(address, Mode::Accepts).await?;
        while sidecar.exported().await? <= exported {
            ensure!(back.elapsed() < HANG_TIMEOUT, "no trace arrives after the collector is back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!(
            "collector {name} for {seconds} s: {asked} requests, 0 failed; {dropped} spans dropped and counted; resident \
             {before:.1} MiB before, {most:.1} at most; the next batch arrived {:.1} s after it was back",
            back.elapsed().as_secs_f64()
        );
        ensure!(dropped > 0.0, "no dropped span was counted");
        ensure!(most < before + MAX_GROWTH_MIB, "memory grows");
        tokio::time::sleep(Duration::from_secs(2)).await;
        up.abort();
    }
    stop.store(true, Relaxed);
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    Ok(())
}

/// Sends [`RATE`] requests a second; each worker ends with the first request that fails.
fn load(listen: SocketAddr, asked: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> JoinSet<anyhow::Result<()>> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (asked, stop) = (Arc::clone(asked), Arc::clone(stop));
        workers.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 * WORKERS / RATE));
            while !stop.load(Relaxed) {
                tick.tick().await;
                let number = asked.fetch_add(1, Relaxed);
                let answer = ask(listen, &chat(worker % 2 == 0, usize::try_from(number)?)).await?;
                ensure!(answer.status == 200 && answer.whole, "{} {}", answer.status, answer.whole);
            }
            Ok(())
        });
    }
    workers
}

impl Sidecar {
    async fn exported(&self) -> anyhow::Result<f64> {
        self.sum("shiftgate_telemetry_exported_total").await
    }

    async fn dropped(&self) -> anyhow::Result<f64> {
        self.sum("shiftgate_telemetry_dropped_total").await
    }

    async fn sum(&self, name: &str) -> anyhow::Result<f64> {
        Ok(self.metrics().await?.iter().filter(|(series, _)| series.starts_with(name)).map(|(_, value)| value).sum())
    }
}
