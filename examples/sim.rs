//! Runs a simulated server as its own process: `cargo run --example sim -- vllm 127.0.0.1:8000`.
//!
//! Engines are those of rollout.toml. With `OTEL_EXPORTER_OTLP_ENDPOINT` set, vLLM continues the trace of its caller.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to the person who runs it")]

use std::process::ExitCode;
use std::time::Duration;

use shiftgate::api::config::Telemetry;
use shiftgate::api::demo::Servers;
use shiftgate::api::sim::{self, Behaviour, SimConfig, Wire};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, address] = arguments.as_slice() else { return usage() };
    let wire = Wire::ALL.into_iter().find(|wire| wire.as_str() == engine);
    let (Some(wire), Ok(address)) = (wire, address.parse()) else { return usage() };
    let servers = Servers::start(&Telemetry::default(), engine);
    let mut config = SimConfig::new(wire);
    config.record = false;
    config.collector = servers.collector().filter(|_| wire == Wire::Vllm);
    let behaviour =
        Behaviour { ttft: Duration::from_millis(40), jitter: 0.3, tokens_per_second: 400.0, ..Behaviour::default() };
    let sim = match sim::start_at(address, config, behaviour).await {
        Ok(sim) => sim,
        Err(error) => {
            eprintln!("sim: cannot listen on {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", sim.url());
    wait_for_the_end().await;
    servers.finish().await;
    ExitCode::SUCCESS
}

/// Waits for SIGTERM, which Docker sends, or Ctrl-C.
async fn wait_for_the_end() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

fn usage() -> ExitCode {
    let engines: Vec<&str> = Wire::ALL.into_iter().map(Wire::as_str).collect();
    eprintln!("usage: sim ENGINE ADDRESS, such as: sim vllm 127.0.0.1:8000; engines: {}", engines.join(", "));
    ExitCode::from(2)
}
