//! Time from a client's close until its slot is free and the backend sees it, in every phase of a request.

use std::time::{Duration, Instant};

use anyhow::ensure;
use shiftgate::api::sim::{self, Behaviour, Fault, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::faults::{black_hole, text};
use crate::sidecar::{HANG_TIMEOUT, Sidecar, chat};

const TIMES: usize = 200;

pub(crate) async fn run() -> anyhow::Result<()> {
    println!(
        "| phase in which the client leaves | times | backend told, p50 ms | max ms | later than 50 ms |\n|---|---:|---:|---:|---:|"
    );
    for (phase, fault, stream, percent, read_some) in [
        ("waiting for the head", Fault::HangBeforeHead, false, "0.0", false),
        ("waiting for the head, candidate", Fault::HangBeforeHead, true, "100.0", false),
        ("held before the first content", Fault::HangAfter(1), true, "100.0", false),
        ("streaming", Fault::NeverEnding, true, "0.0", true),
        ("streaming, candidate", Fault::NeverEnding, true, "100.0", true),
        ("a stream that stalls", Fault::HangAfter(4), true, "0.0", true),
    ] {
        let quiet = |wire| SimConfig { record: false, ..SimConfig::new(wire) };
        let behaviour = Behaviour { fault, ..Behaviour::default() };
        let openai = sim::start(quiet(Wire::OpenAi), behaviour.clone()).await?;
        let qwen = sim::start(quiet(Wire::Vllm), behaviour).await?;
        let serving = if percent == "0.0" { &openai } else { &qwen };
        let sidecar = Sidecar::start(&text(&openai, &qwen.url(), "").replace("100.0", percent))?;
        let (mut working, mut aborts) = (serving.in_flight(), serving.aborts());
        let mut took = Vec::new();
        for number in 0..TIMES {
            let mut client = TcpStream::connect(sidecar.listen).await?;
            client.write_all(&chat(stream, number)).await?;
            tokio::time::timeout(HANG_TIMEOUT, working.wait_for(|count| *count == 1)).await??;
            if read_some {
                ensure!(client.read(&mut [0; 64]).await? > 0);
            } else {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let left = Instant::now();
            drop(client);
            tokio::time::timeout(HANG_TIMEOUT, aborts.wait_for(|aborts| aborts.count > number as u64)).await??;
            took.push(left.elapsed());
        }
        row(phase, took);
        sidecar.settled().await?;
    }
    uploading().await?;
    before_connect().await
}

/// Closes in the middle of a body that passes unread.
async fn uploading() -> anyhow::Result<()> {
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await?;
    let sidecar = Sidecar::start(&text(&openai, "http://127.0.0.1:1/v1", ""))?;
    let mut connections = openai.connections();
    let mut took = Vec::new();
    for _ in 0..TIMES {
        let mut client = TcpStream::connect(sidecar.listen).await?;
        client.write_all(b"POST /v1/files HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\nhello").await?;
        tokio::time::timeout(HANG_TIMEOUT, connections.wait_for(|count| *count == 1)).await??;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let left = Instant::now();
        drop(client);
        tokio::time::timeout(HANG_TIMEOUT, connections.wait_for(|count| *count == 0)).await??;
        took.push(left.elapsed());
    }
    row("uploading", took);
    sidecar.settled().await
}

/// Closes while connecting to a backend, which then sees nothing: the slot among the requests in flight counts.
async fn before_connect() -> anyhow::Result<()> {
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await?;
    let (address, kept) = black_hole().await?;
    let sidecar = Sidecar::start(&text(&openai, &format!("http://{address}/v1"), "timeout = { connect = \"30s\" }"))?;
    let mut took = Vec::new();
    for number in 0..20 {
        let mut client = TcpStream::connect(sidecar.listen).await?;
        client.write_all(&chat(false, number)).await?;
        let in_flight = async |wanted: f64| -> anyhow::Result<()> {
            while sidecar.metrics().await?.get("shiftgate_requests_in_flight").copied() != Some(wanted) {}
            Ok(())
        };
        tokio::time::timeout(HANG_TIMEOUT, in_flight(1.0)).await??;
        let left = Instant::now();
        drop(client);
        tokio::time::timeout(HANG_TIMEOUT, in_flight(0.0)).await??;
        took.push(left.elapsed());
    }
    drop(kept);
    row("before the connection (place free, as /metrics says)", took);
    Ok(())
}

fn row(phase: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let late = took.iter().filter(|took| **took > Duration::from_millis(50)).count();
    let ms = |at: usize| took.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("| {phase} | {} | {:.2} | {:.2} | {late} |", took.len(), ms(took.len() / 2), ms(took.len() - 1));
}
