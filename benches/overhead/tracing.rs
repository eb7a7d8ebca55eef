//! CPU that traces cost: one binary with no traces, with all requests sampled, and a build without the feature `otlp`.
//!
//! The rows "one CPU" are pinned: the exporter's thread then competes with the thread that serves.
//!
//! The build without the feature is measured if `SHIFTGATE_WITHOUT_OTLP` names one:
//! `cargo build --profile dist --no-default-features --target-dir target/without-otlp`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::load::Many;
use crate::proxies::{Target, binary, free, ready, shiftgate};
use crate::report::{Row, spread};

const OFF: &str = "traces off";
const AGAIN: &str = "traces off, again";
const NONE_SAMPLED: &str = "exported, none sampled";
const SAMPLED: &str = "all sampled";
const WITHOUT: &str = "build without otlp";
const OFF_PINNED: &str = "traces off, one CPU";
const SAMPLED_PINNED: &str = "all sampled, one CPU";
const PINNED: [&str; 2] = [OFF_PINNED, SAMPLED_PINNED];

/// Starts every configuration. The origin is also the collector: it answers 200 to any request.
pub(crate) fn start(folder: &Path, origin: SocketAddr) -> anyhow::Result<Vec<Target>> {
    let own = binary();
    let otlp = |sample: f64| format!("[telemetry]\notlp = \"http://{origin}/v1/traces\"\nsample = {sample:.1}\n");
    let mut wanted = vec![
        (OFF, own.clone(), String::new()),
        (AGAIN, own.clone(), String::new()),
        (NONE_SAMPLED, own.clone(), otlp(0.0)),
        (SAMPLED, own.clone(), otlp(1.0)),
        (OFF_PINNED, own.clone(), String::new()),
        (SAMPLED_PINNED, own, otlp(1.0)),
    ];
    if let Some(other) = std::env::var_os("SHIFTGATE_WITHOUT_OTLP") {
        wanted.push((WITHOUT, other, String::new()));
    }
    let start = |(name, program, telemetry): (&'static str, OsString, String)| {
        let listen = free()?;
        let file = folder.join(format!("{}.toml", name.replace([' ', ','], "-")));
        std::fs::write(&file, shiftgate(listen, origin, folder) + &telemetry)?;
        let mut command = if PINNED.contains(&name) {
            let mut taskset = Command::new("taskset");
            taskset.args(["--cpu-list", "0"]).arg(program);
            taskset
        } else {
            Command::new(program)
        };
        ready(name, listen, command.arg("--config").arg(file))
    };
    wanted.into_iter().map(start).collect()
}

/// Measures the CPU of each, as a ratio to the one without traces on as many CPUs in the same round.
pub(crate) fn measure(
    targets: &[Target],
    rounds: usize,
    connections: usize,
    requests: usize,
) -> anyhow::Result<String> {
    let mut cpu = Row::new("CPU ms per 1,000 requests", 1);
    for round in 0..rounds {
        eprintln!("tracing: round {} of {rounds}", round + 1);
        for target in targets.iter().cycle().skip(round % targets.len()).take(targets.len()) {
            let process = target.process.as_ref().context("a target without a process")?;
            let mut load = Many::connect(target.address, connections)?;
            let before = process.cpu_ns()?;
            load.run(requests)?;
            // The exporter sends the last batch of these requests within half a second.
            std::thread::sleep(std::time::Duration::from_millis(700));
            cpu.push(target.name, (process.cpu_ns()? - before) as f64 / 1e3 / requests as f64);
        }
    }
    let mut text = format!(
        "| CPU ms per 1,000 requests, {connections} connections | median | beside \"{OFF}\" on as many CPUs |\n\
         |---|---:|---:|"
    );
    for target in targets {
        let values = cpu.values.get(target.name).map(Vec::as_slice).unwrap_or_default();
        let shown = crate::report::median(values).unwrap_or_default();
        let off = if PINNED.contains(&target.name) { OFF_PINNED } else { OFF };
        text.push_str(&format!("\n| {} | {shown:.1} | {} |", target.name, spread(&cpu, target.name, off)));
    }
    Ok(text)
}
