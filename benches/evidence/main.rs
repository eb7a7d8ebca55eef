//! Checks the promises about losses, faults, capacity and endurance on the built binary:
//! `cargo bench --bench evidence`, or only some parts: `cargo bench --bench evidence -- faults stale`.
//! `cargo bench --bench evidence -- soak 20` runs mixed load for 20 minutes, `-- collector 60` takes the traces'
//! collector away for 60 s, three times. The first broken promise ends the run with an error.

#![expect(clippy::print_stdout, reason = "a bench prints")]

mod capacity;
mod collector;
mod faults;
mod gone;
mod losses;
mod shadow;
mod sidecar;
mod soak;

use anyhow::{Context, bail};

const PARTS: [&str; 7] = ["faults", "stale", "killed", "gone", "shadow", "budget", "capacity"];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // Clients and simulated backends all live in this process.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        if let [soak, minutes @ ..] = arguments.as_slice()
            && soak == "soak"
        {
            let minutes = minutes.first().map_or(Ok(20.0), |text| text.parse()).context("soak MINUTES")?;
            return Box::pin(soak::run(minutes)).await;
        }
        if let [collector, seconds @ ..] = arguments.as_slice()
            && collector == "collector"
        {
            let seconds = seconds.first().map_or(Ok(60), |text| text.parse()).context("collector SECONDS")?;
            return Box::pin(collector::run(seconds)).await;
        }
        let chosen: Vec<&str> =
            if arguments.is_empty() { PARTS.to_vec() } else { arguments.iter().map(String::as_str).collect() };
        for part in chosen {
            println!("\n## {part}");
            match part {
                "faults" => Box::pin(faults::run()).await?,
                "stale" => Box::pin(losses::stale()).await?,
                "killed" => Box::pin(losses::killed()).await?,
                "gone" => Box::pin(gone::run()).await?,
                "shadow" => Box::pin(shadow::run_all()).await?,
                "budget" => Box::pin(shadow::budget()).await?,
                "capacity" => Box::pin(capacity::run()).await?,
                other => bail!("there is no part {other:?}; the parts are {PARTS:?}, soak MINUTES, collector SECONDS"),
            }
        }
        Ok(())
    })
}
