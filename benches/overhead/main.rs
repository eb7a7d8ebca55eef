//! Cost of shiftgate beside a bare hyper proxy, nginx and HAProxy, in turn in one run: `cargo bench --bench overhead`,
//! or only some parts: `cargo bench --bench overhead -- sse saturation --quick`. Times are printed, never asserted.
//!
//! `cargo bench --bench overhead -- instructions` counts instructions instead, which a busy machine does not change.
//! `SHIFTGATE_BINARY` names another shiftgate to measure than the one that is built with the bench.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints")]

mod bare;
mod instructions;
mod load;
mod origin;
mod proxies;
mod report;
mod shadow;
mod streams;
mod syscalls;
mod tracing;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use load::{Many, One};
use proxies::{BARE, Process, TRANSLATING, Target};
use report::{Row, median, table};

const PARTS: [&str; 9] = ["idle", "saturation", "rate", "one", "syscalls", "sse", "slow", TRACING, SHADOW];
/// Prints a table of its own.
const TRACING: &str = "tracing";
/// Prints a table of its own.
const SHADOW: &str = "shadow";
/// Prints a table of its own, on demand only: it needs valgrind.
const INSTRUCTIONS: &str = "instructions";
const CONNECTIONS: usize = 64;
const RATE: usize = 1_000;

/// Numbers of requests, chunks and rounds of one run.
struct Size {
    rounds: usize,
    saturated: usize,
    seconds: f64,
    single: usize,
    traced: usize,
    chunks: usize,
    slow: Duration,
}

const FULL: Size = Size {
    rounds: 7,
    saturated: 20_000,
    seconds: 2.0,
    single: 2_000,
    traced: 4_000,
    chunks: 50_000,
    slow: Duration::from_millis(2_000),
};
const QUICK: Size = Size {
    rounds: 3,
    saturated: 5_000,
    seconds: 1.0,
    single: 500,
    traced: 1_000,
    chunks: 10_000,
    slow: Duration::from_millis(1_000),
};

struct Bench {
    targets: Vec<Target>,
    size: Size,
}

impl Bench {
    /// Measures every target in every round; each round begins with the next target.
    fn rounds(
        &self,
        part: &str,
        only: impl Fn(&Target) -> bool,
        mut measure: impl FnMut(&Target) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let targets: Vec<&Target> = self.targets.iter().filter(|target| only(target)).collect();
        for round in 0..self.size.rounds {
            eprintln!("{part}: round {} of {}", round + 1, self.size.rounds);
            for target in targets.iter().cycle().skip(round % targets.len()).take(targets.len()) {
                measure(target).with_context(|| format!("{part}, {}", target.name))?;
            }
        }
        Ok(())
    }

    fn saturation(&self) -> anyhow::Result<Vec<Row>> {
        let mut cpu = Row::new(format!("CPU ms per 1,000 requests, {CONNECTIONS} connections at full load"), 1);
        let mut rate = Row::new(format!("requests/s, {CONNECTIONS} connections at full load"), 0);
        let mut rss = Row::new(format!("resident MiB, {CONNECTIONS} busy connections"), 1);
        self.rounds(
            "saturation",
            |_| true,
            |target| {
                let mut load = Many::connect(target.address, CONNECTIONS)?;
                let before = target.process.as_ref().map(Process::cpu_ns).transpose()?;
                let took = load.run(self.size.saturated)?;
                if let (Some(process), Some(before)) = (&target.process, before) {
                    cpu.push(target.name, (process.cpu_ns()? - before) as f64 / 1e3 / self.size.saturated as f64);
                    rss.push(target.name, process.rss_kib()? as f64 / 1024.0);
                }
                rate.push(target.name, self.size.saturated as f64 / took.as_secs_f64());
                Ok(())
            },
        )?;
        Ok(vec![cpu, rate, rss])
    }

    fn rate(&self) -> anyhow::Result<Vec<Row>> {
        let mut p50 = Row::new(format!("µs added at p50, {RATE} requests/s"), 0);
        let mut p99 = Row::new(format!("µs added at p99, {RATE} requests/s"), 0);
        self.rounds(
            "rate",
            |_| true,
            |target| {
                let mut took = load::open_loop(target.address, RATE, self.size.seconds)?;
                p50.push(target.name, micros(&mut took, 50));
                p99.push(target.name, micros(&mut took, 99));
                Ok(())
            },
        )?;
        let whole = Row { label: format!("µs at p50, {RATE} requests/s, the origin's time included"), ..p50.clone() };
        Ok(vec![added(p50), added(p99), whole])
    }

    fn one(&self) -> anyhow::Result<Vec<Row>> {
        let mut p50 = Row::new("µs added at p50, one connection, one request at a time", 0);
        self.rounds(
            "one",
            |_| true,
            |target| {
                let mut load = One::connect(target.address, 0)?;
                load.run(self.size.single / 10)?;
                p50.push(target.name, micros(&mut load.run(self.size.single)?, 50));
                Ok(())
            },
        )?;
        Ok(vec![added(p50)])
    }

    fn syscalls(&self, folder: &Path) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for connections in [1, CONNECTIONS] {
            let plural = if connections == 1 { "connection" } else { "connections" };
            let mut row = Row::new(format!("syscalls per request, {connections} {plural}"), 2);
            eprintln!("syscalls: {connections} {plural}");
            for target in &self.targets {
                let counted = syscalls::per_request(target, connections, self.size.traced, folder);
                if let Some(calls) = counted.with_context(|| format!("syscalls, {}", target.name))? {
                    row.push(target.name, calls);
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn sse(&self, key: &str) -> anyhow::Result<Vec<Row>> {
        let mut cpu = Row::new("CPU ms per 1,000 SSE chunks, one stream as fast as it goes", 2);
        self.rounds(
            "sse",
            |target| target.process.is_some(),
            |target| {
                if let Some(process) = &target.process {
                    cpu.push(target.name, streams::fast(target.address, process, key, self.size.chunks)?);
                }
                Ok(())
            },
        )?;
        Ok(vec![cpu])
    }

    fn slow(&self, key: &str) -> anyhow::Result<Vec<Row>> {
        let mut cpu = Row::new("CPU ms per 1,000 SSE chunks, 50 streams with one each 20 ms", 2);
        let two = |target: &Target| [BARE, "shiftgate", TRANSLATING].contains(&target.name);
        self.rounds("slow", two, |target| {
            if let Some(process) = &target.process {
                cpu.push(target.name, streams::slow(target.address, process, key, self.size.slow)?);
            }
            Ok(())
        })?;
        Ok(vec![cpu])
    }
}

/// Starts every program anew each round, since memory does not come back after a load.
fn idle(folder: &Path, origin: SocketAddr, rounds: usize) -> anyhow::Result<Vec<Row>> {
    const SETTLED: Duration = Duration::from_secs(1);
    let folder = folder.join("idle");
    std::fs::create_dir(&folder)?;
    let mut rss = Row::new("resident MiB, idle", 1);
    for round in 0..rounds {
        eprintln!("idle: round {} of {rounds}", round + 1);
        let targets = proxies::start(&folder, origin)?;
        std::thread::sleep(SETTLED);
        for target in &targets {
            if let Some(process) = &target.process {
                rss.push(target.name, process.rss_kib()? as f64 / 1024.0);
            }
        }
    }
    Ok(vec![rss])
}

fn micros(took: &mut [Duration], share: usize) -> f64 {
    took.sort_unstable();
    took.get(took.len() * share / 100).map_or(0.0, |at| at.as_secs_f64() * 1e6)
}

/// Subtracts what the direct way took in the same round, and moves that into the label.
fn added(mut row: Row) -> Row {
    let direct = row.values.get("direct").cloned().unwrap_or_default();
    for (target, values) in &mut row.values {
        if *target != "direct" {
            values.iter_mut().zip(&direct).for_each(|(value, direct)| *value -= direct);
        }
    }
    if let Some(direct) = median(&direct) {
        row.label = format!("{} (direct takes {direct:.0})", row.label);
    }
    row.values.remove("direct");
    row
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [hidden, listen, origin] = arguments.as_slice()
        && hidden == "--bare-hyper"
    {
        return bare::run(listen.parse()?, origin);
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| !name.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.contains(name) && **name != INSTRUCTIONS) {
        bail!("there is no part {unknown:?}; the parts are {} and {INSTRUCTIONS}", PARTS.join(", "));
    }
    let runs = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let size = if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let folder = tempfile::tempdir()?;
    let origin = origin::start()?;
    if wanted.contains(&INSTRUCTIONS) {
        println!("{}\n", instructions::measure(folder.path(), origin)?);
    }
    if runs(TRACING) {
        let targets = tracing::start(folder.path(), origin)?;
        println!("{}\n", tracing::measure(&targets, size.rounds, CONNECTIONS, size.saturated)?);
    }
    if runs(SHADOW) {
        let targets = shadow::start(folder.path(), origin)?;
        println!("{}\n", shadow::measure(&targets, size.rounds + 2, size.seconds)?);
    }
    let has_own_table = |part: &&str| [TRACING, SHADOW].contains(part);
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| !has_own_table(part) && runs(part)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let bench = Bench { targets: proxies::start(folder.path(), origin)?, size };
    let shiftgate = bench.targets.iter().find(|target| target.name == "shiftgate").context("no shiftgate")?;
    let key = streams::baseline_key(shiftgate.address)?;
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(match part {
            "idle" => idle(folder.path(), origin, bench.size.rounds)?,
            "saturation" => bench.saturation()?,
            "rate" => bench.rate()?,
            "one" => bench.one()?,
            "syscalls" => bench.syscalls(folder.path())?,
            "sse" => bench.sse(&key)?,
            _ => bench.slow(&key)?,
        });
    }
    let names: Vec<&str> = bench.targets.iter().map(|target| target.name).collect();
    println!("{}\n", table(&names, &rows));
    println!("{}", about(bench.size.rounds));
    Ok(())
}

/// Describes the machine, the programs and the method.
fn about(rounds: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let others: Vec<String> =
        [("nginx", "-v"), ("haproxy", "-v")].iter().filter_map(|(name, flag)| proxies::version(name, flag)).collect();
    format!(
        "{cores} cores, Linux {}; loopback, a 1 KiB chat request, one thread each; medians of {rounds} rounds, all \
         programs in turn; ratios by round: median (least-most). {}",
        kernel.trim(),
        others.join("; ")
    )
}
