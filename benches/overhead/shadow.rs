//! Cost of shadows for the served path: one binary without and with copies of every request, in turn in each round.
//!
//! CPU is that of the threads that serve; those of shadows are shown apart.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::load;
use crate::micros;
use crate::proxies::{Target, binary, free, ready, shiftgate};
use crate::report::{Row, median, spread};

const OFF: &str = "no shadow";
const AGAIN: &str = "no shadow, again";
const TENTH: &str = "one in ten copied";
const ON: &str = "all copied";
const RATE: usize = 1_000;
/// Names of the threads that copy, compare and write.
const OWN_THREADS: [&str; 3] = ["shadow", "compare", "records"];

/// Starts every configuration. The receiver of the copies is the origin too.
pub(crate) fn start(folder: &Path, origin: SocketAddr) -> anyhow::Result<Vec<Target>> {
    let records = folder.join("records.jsonl");
    let shadow = format!(
        "[shadow]\npercent = 100\nto = \"b\"\nmax_in_flight = 1000\nnoise_percent = 0\n[records]\npath = {:?}\n",
        records.display().to_string()
    );
    let start = |name: &'static str, more: &str| {
        let listen = free()?;
        let file = folder.join(format!("{}.toml", name.replace([' ', ','], "-")));
        std::fs::write(&file, shiftgate(listen, origin, folder).replace("b = 5.0", "b = 0.0") + more)?;
        ready(name, listen, Command::new(binary()).arg("--config").arg(file))
    };
    let tenth = shadow.replace("percent = 100", "percent = 10").replace("records.jsonl", "tenth.jsonl");
    Ok(vec![start(OFF, "")?, start(TENTH, &tenth)?, start(ON, &shadow)?, start(AGAIN, "")?])
}

/// Returns the CPU time, in nanoseconds, of the threads of a process that serve, and of the others.
fn cpu(target: &Target) -> anyhow::Result<(u64, u64)> {
    let process = target.process.as_ref().context("a target without a process")?;
    let (mut serving, mut own) = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let path = task?.path();
        let name = std::fs::read_to_string(path.join("comm"))?;
        let stat = std::fs::read_to_string(path.join("schedstat"))?;
        let took: u64 = stat.split_whitespace().next().context("schedstat is empty")?.parse()?;
        if OWN_THREADS.contains(&name.trim()) {
            own += took;
        } else {
            serving += took;
        }
    }
    Ok((serving, own))
}

/// Measures latency and CPU at a steady rate.
pub(crate) fn measure(targets: &[Target], rounds: usize, seconds: f64) -> anyhow::Result<String> {
    let mut p50 = Row::new("µs at p50", 1);
    let mut p99 = Row::new("µs at p99", 1);
    let mut serving = Row::new("CPU µs per request, serving threads", 1);
    let mut own = Row::new("CPU µs per request, threads of shadows", 1);
    for round in 0..rounds {
        eprintln!("shadow: round {} of {rounds}", round + 1);
        for target in targets.iter().cycle().skip(round % targets.len()).take(targets.len()) {
            let before = cpu(target)?;
            let mut took = load::open_loop(target.address, RATE, seconds)?;
            let after = cpu(target)?;
            let requests = took.len() as f64;
            p50.push(target.name, micros(&mut took, 50));
            p99.push(target.name, micros(&mut took, 99));
            serving.push(target.name, (after.0 - before.0) as f64 / 1e3 / requests);
            own.push(target.name, (after.1 - before.1) as f64 / 1e3 / requests);
        }
    }
    let mut text = format!(
        "| {RATE} requests/s, 1 thread | {OFF} | {TENTH} | {ON} | {TENTH} / {OFF} | {ON} / {OFF} | {AGAIN} / {OFF} |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    );
    for row in [&p50, &p99, &serving, &own] {
        let shown = |name| median(row.values.get(name).map(Vec::as_slice).unwrap_or_default()).unwrap_or_default();
        text.push_str(&format!(
            "\n| {} | {:.1} | {:.1} | {:.1} | {} | {} | {} |",
            row.label,
            shown(OFF),
            shown(TENTH),
            shown(ON),
            spread(row, TENTH, OFF),
            spread(row, ON, OFF),
            spread(row, AGAIN, OFF)
        ));
    }
    Ok(text)
}
