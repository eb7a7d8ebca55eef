//! Mixed load for a long time, with reloads, faults and clients that leave: memory stays flat, and only the expected
//! requests fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use shiftgate::api::sim::{self, Behaviour, Fault, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sidecar::{Sidecar, ask, chat, chat_of};

#[derive(Default)]
struct Counts {
    whole: AtomicU64,
    streams: AtomicU64,
    broken: AtomicU64,
    left: AtomicU64,
    reloads: AtomicU64,
}

/// Faults of the candidate, three seconds each. A stream may break after its first content; an unstreamed answer must
/// not.
const FAULTS: [Fault; 12] = [
    Fault::None,
    Fault::ResetBeforeHead,
    Fault::CutAfterBytes(900),
    Fault::None,
    Fault::ErrorEventFirst,
    Fault::Garbage,
    Fault::CloseAfterAnswer,
    Fault::None,
    Fault::Html,
    Fault::WrongLength,
    Fault::ErrorEventAfter(5),
    Fault::CutAfterBytes(1800),
];

pub(crate) async fn run(minutes: f64) -> anyhow::Result<()> {
    let quiet = |wire| SimConfig { record: false, ..SimConfig::new(wire) };
    let paced = Behaviour { tokens_per_second: 400.0, ..Behaviour::default() };
    let openai = sim::start(quiet(Wire::OpenAi), paced.clone()).await?;
    let qwen = Arc::new(sim::start(quiet(Wire::Vllm), paced.clone()).await?);
    let text = |percent: f64| {
        let text = crate::faults::text(&openai, &qwen.url(), "timeout = { total = \"5s\" }");
        text.replace("breaker = { enabled = false }", "").replace("qwen = 100.0", &format!("qwen = {percent:?}"))
    };
    let sidecar = Sidecar::start(&text(50.0))?;
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let mut load = JoinSet::new();
    for worker in 0..12 {
        let (listen, counts, stop) = (sidecar.listen, Arc::clone(&counts), Arc::clone(&stop));
        load.spawn(async move {
            let mut number = worker * 1_000_000;
            while !stop.load(Relaxed) {
                number += 1;
                one(listen, worker, number, &counts).await.with_context(|| format!("request {number}"))?;
            }
            anyhow::Ok(())
        });
    }
    let begun = Instant::now();
    let whole = Duration::from_secs_f64(minutes * 60.0);
    let mut memory = Vec::new();
    let mut round = 0_usize;
    while begun.elapsed() < whole {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(ended) = load.try_join_next() {
            ended??;
        }
        round += 1;
        let fault = FAULTS.get(round / 3 % FAULTS.len()).copied().unwrap_or(Fault::None);
        qwen.set(Behaviour { fault, ..paced.clone() });
        if round.is_multiple_of(5) {
            // Every fourth save is broken and must change nothing.
            let percent = (round % 11) as f64 * 10.0;
            let broken = round.is_multiple_of(20);
            std::fs::write(sidecar.file(), if broken { "[rollout".to_owned() } else { text(percent) })?;
            counts.reloads.fetch_add(1, Relaxed);
        }
        memory.push(sidecar.memory("VmRSS:")?);
    }
    stop.store(true, Relaxed);
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    sidecar.settled().await?;
    report(&memory, &counts, begun.elapsed(), &sidecar)
}

async fn one(listen: std::net::SocketAddr, worker: usize, number: usize, counts: &Counts) -> anyhow::Result<()> {
    match worker % 6 {
        0 => {
            let mut client = TcpStream::connect(listen).await?;
            client.write_all(&chat(true, number)).await?;
            let mut some = vec![0; 1 + number % 700];
            drop(client.read(&mut some).await);
            counts.left.fetch_add(1, Relaxed);
        }
        1 => {
            let answer = ask(listen, &chat_of(&"large ".repeat(1 + number % 40_000), false, number)).await?;
            ensure!(matches!(answer.status, 200 | 400) && answer.whole, "{} {}", answer.status, answer.whole);
            counts.whole.fetch_add(1, Relaxed);
        }
        2 | 3 => {
            let answer = ask(listen, &chat(true, number)).await?;
            ensure!(answer.status == 200 && answer.whole, "{} {}", answer.status, answer.whole);
            ensure!(answer.has("[DONE]") != answer.has("\"error\":{"), "the stream has no end");
            counts.streams.fetch_add(1, Relaxed);
            counts.broken.fetch_add(u64::from(answer.has("\"error\":{")), Relaxed);
        }
        _ => {
            let answer = ask(listen, &chat(false, number)).await?;
            ensure!(answer.status == 200 && answer.whole, "{} {}", answer.status, answer.whole);
            counts.whole.fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

fn report(memory: &[f64], counts: &Counts, took: Duration, sidecar: &Sidecar) -> anyhow::Result<()> {
    let of = |count: &AtomicU64| count.load(Relaxed);
    println!(
        "{:.1} min: {} unstreamed and {} streamed answers as they should be ({} streams ended by the candidate's fault with \
         an error event), {} clients left, {} saves; 0 unexpected failures",
        took.as_secs_f64() / 60.0,
        of(&counts.whole),
        of(&counts.streams),
        of(&counts.broken),
        of(&counts.left),
        of(&counts.reloads)
    );
    let quarters: Vec<f64> = memory
        .chunks(memory.len().div_ceil(4).max(1))
        .map(|quarter| {
            let mut sorted = quarter.to_vec();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).copied().unwrap_or_default()
        })
        .collect();
    println!("resident MiB, median of each quarter: {quarters:.1?}; descriptors at the end {}", sidecar.descriptors()?);
    let (Some(second), Some(last)) = (quarters.get(1), quarters.last()) else { return Ok(()) };
    ensure!(*last < second * 1.1 + 1.0, "memory grows");
    Ok(())
}
