//! Checks on the built binary whether the guard withdraws a failing candidate, and leaves one alone that was away for a
//! minute or fails as the baseline does: `cargo bench --bench guard`, or some scenarios:
//! `cargo bench --bench guard -- errors both --runs 20`. Each run has its own process, servers and application, which
//! sends 200 requests a second. A broken bound ends the bench with an error, after all scenarios.
//!
//! `--at-once N` limits the runs at once, as the limit on open files does; `--quick` has a healthy time of 10 s instead of a minute, to try the bench
//! out. `SHIFTGATE_BINARY` names another shiftgate than the one that is built with the bench.

#![expect(clippy::print_stdout, reason = "a bench prints")]

mod client;
mod process;
mod run;
mod scenario;
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use run::Outcome;
use scenario::{SCENARIOS, Scenario};

/// Time between the beginnings of two runs: ten requests and a twentieth, so that 20 runs send at different moments.
const SPREAD: Duration = Duration::from_micros(50_250);

struct Arguments {
    scenarios: Vec<Scenario>,
    runs: u64,
    at_once: u64,
    healthy: Duration,
}

impl Arguments {
    fn read() -> anyhow::Result<Self> {
        let mut read = Self { scenarios: Vec::new(), runs: 20, at_once: u64::MAX, healthy: Duration::from_secs(60) };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            match word.as_str() {
                "--runs" => read.runs = words.next().context("--runs NUMBER")?.parse().context("--runs NUMBER")?,
                "--at-once" => {
                    read.at_once = words.next().context("--at-once NUMBER")?.parse().context("--at-once NUMBER")?;
                }
                "--quick" => read.healthy = Duration::from_secs(10),
                name => {
                    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
                    let names = SCENARIOS.map(|scenario| scenario.name);
                    read.scenarios.push(*found.with_context(|| format!("there is no {name:?}, only {names:?}"))?);
                }
            }
        }
        if read.scenarios.is_empty() {
            read.scenarios = SCENARIOS.to_vec();
        }
        ensure!(read.runs > 0 && read.at_once > 0, "at least one run");
        Ok(read)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read()?;
    // Applications and servers all live in this process.
    let most_sockets = rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut broken = Vec::new();
        for scenario in &arguments.scenarios {
            let at_once = arguments.at_once.min(most_sockets / scenario.sockets).clamp(1, arguments.runs);
            println!("\n## {}, {at_once} runs at once", scenario.name);
            let outcomes = Box::pin(all(*scenario, at_once, &arguments)).await?;
            let (text, is_kept) = scenario.judge(&outcomes);
            println!("{}: {text}: {}", scenario.name, if is_kept { "held" } else { "BROKEN" });
            if !is_kept {
                broken.push(scenario.name);
            }
        }
        ensure!(broken.is_empty(), "broken: {}", broken.join(", "));
        Ok(())
    })
}

/// Runs a scenario as often as asked, so many at once, and prints a line for each run as it ends.
async fn all(scenario: Scenario, at_once: u64, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut first = 0;
    while first < arguments.runs {
        let last = arguments.runs.min(first.saturating_add(at_once));
        let mut running = JoinSet::new();
        // Processes start first, so that no run is disturbed by the start of another.
        let begins_at = Instant::now() + Duration::from_secs(2);
        for number in first..last {
            let begins_at = begins_at + SPREAD * u32::try_from(number - first)?;
            running.spawn(run::run(scenario, number, begins_at, arguments.healthy));
        }
        while let Some(done) = running.join_next().await {
            let outcome = done??;
            println!("{}", outcome.line());
            outcomes.push(outcome);
        }
        first = last;
    }
    Ok(outcomes)
}
