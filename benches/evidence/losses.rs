//! Requests that must not be lost: on a connection that the backend has just closed, and at a candidate that dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::ensure;
use shiftgate::api::sim::{self, Behaviour, Fault, SimConfig, Wire};

use crate::faults::text;
use crate::sidecar::{Sidecar, ask, chat, many};

const REQUESTS: usize = 3000;

fn quiet(wire: Wire) -> SimConfig {
    SimConfig { record: false, ..SimConfig::new(wire) }
}

/// Sends one request after the other, so that each finds the connection of the one before; failover is off.
pub(crate) async fn stale() -> anyhow::Result<()> {
    let closing = Behaviour { fault: Fault::CloseAfterAnswer, ..Behaviour::default() };
    let openai = sim::start(quiet(Wire::OpenAi), closing.clone()).await?;
    let qwen = sim::start(quiet(Wire::Vllm), closing).await?;
    let without = |percent: &str| {
        let text = text(&openai, &qwen.url(), "").replace("[failover]", "[failover]\nenabled = false");
        text.replace("qwen = 100.0", &format!("qwen = {percent}"))
    };
    let sidecar = Sidecar::start(&without("0.0"))?;
    for (who, percent) in [("openai", "0.0"), ("qwen", "100.0")] {
        if percent != "0.0" {
            sidecar.save(&without(percent)).await?;
        }
        let before = [openai.requests(), qwen.requests()];
        for number in 0..REQUESTS {
            let answer = ask(sidecar.listen, &chat(false, number)).await?;
            ensure!(answer.status == 200 && answer.whole, "request {number}: {}", answer.status);
        }
        let replays = sidecar.metrics().await?.get(&format!("shiftgate_replays_total{{backend=\"{who}\"}}")).copied();
        let reached = openai.requests() + qwen.requests() - before[0] - before[1];
        println!(
            "{who} closes after each answer: 0 of {REQUESTS} lost, {} sent again, {reached} reached it",
            replays.unwrap_or_default()
        );
    }
    sidecar.settled().await
}

/// Kills a candidate that is answering, again and again; failover is on.
pub(crate) async fn killed() -> anyhow::Result<()> {
    let openai = sim::start(quiet(Wire::OpenAi), Behaviour::default()).await?;
    let first = sim::start(quiet(Wire::Vllm), Behaviour::default()).await?;
    let address = first.address();
    let sidecar = Sidecar::start(&text(&openai, &first.url(), ""))?;
    drop(first);
    let kills = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&kills);
    let killer = tokio::spawn(async move {
        loop {
            if let Ok(qwen) = sim::start_at(address, quiet(Wire::Vllm), Behaviour::default()).await {
                while qwen.answered() < 40 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                counted.fetch_add(1, Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let listen = sidecar.listen;
    let one = async move |number: usize| {
        let answer = ask(listen, &chat(false, number)).await?;
        ensure!(answer.status == 200 && answer.whole, "{}", answer.status);
        Ok(())
    };
    many(REQUESTS, 8, one).await?;
    killer.abort();
    let status = sidecar.status().await?;
    let candidate = &status["backends"][1];
    println!(
        "candidate killed {} times: 0 of {REQUESTS} lost; it served {}, the baseline took over {}",
        kills.load(Relaxed),
        candidate["served"],
        candidate["failovers"]
    );
    sidecar.settled().await
}
