//! What traces cost: the same binary with none, with all requests sampled, and a build without the feature `otlp`.
//!
//! The last is measured where `SHIFTGATE_WITHOUT_OTLP` names one:
//! `cargo build --release --no-default-features --target-dir target/without-otlp`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::load::Many;
use crate::proxies::{Target, free, ready, shiftgate};
use crate::report::{Row, spread};

const OFF: &str = "traces off";
const AGAIN: &str = "traces off, again";
const NONE_SAMPLED: &str = "exported, none sampled";
const SAMPLED: &str = "all sampled";
const WITHOUT: &str = "build without otlp";

/// The origin is the collector as well: it answers 200 to whatever it gets.
pub(crate) fn start(folder: &Path, origin: SocketAddr) -> anyhow::Result<Vec<Target>> {
    let own = env!("CARGO_BIN_EXE_shiftgate").to_owned();
    let otlp = |sample: f64| format!("[telemetry]\notlp = \"http://{origin}/v1/traces\"\nsample = {sample:.1}\n");
    let mut wanted = vec![
        (OFF, own.clone(), String::new()),
        (AGAIN, own.clone(), String::new()),
        (NONE_SAMPLED, own.clone(), otlp(0.0)),
        (SAMPLED, own, otlp(1.0)),
    ];
    if let Ok(other) = std::env::var("SHIFTGATE_WITHOUT_OTLP") {
        wanted.push((WITHOUT, other, String::new()));
    }
    let start = |(name, program, telemetry): (&'static str, String, String)| {
        let listen = free()?;
        let file = folder.join(format!("{}.toml", name.replace([' ', ','], "-")));
        std::fs::write(&file, shiftgate(listen, origin, folder) + &telemetry)?;
        ready(name, listen, Command::new(program).arg("--config").arg(file))
    };
    wanted.into_iter().map(start).collect()
}

/// CPU of each, and how it stands to the first in the same round.
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
            // What waits is sent within half a second, and belongs to these requests.
            std::thread::sleep(std::time::Duration::from_millis(700));
            cpu.push(target.name, (process.cpu_ns()? - before) as f64 / 1e3 / requests as f64);
        }
    }
    let mut text = format!(
        "| CPU ms per 1,000 requests, {connections} connections | median | beside \"{OFF}\" |\n|---|---:|---:|"
    );
    for target in targets {
        let values = cpu.values.get(target.name).map(Vec::as_slice).unwrap_or_default();
        let shown = crate::report::median(values).unwrap_or_default();
        text.push_str(&format!("\n| {} | {shown:.1} | {} |", target.name, spread(&cpu, target.name, OFF)));
    }
    Ok(text)
}
