//! Number of instructions per request, counted by valgrind's callgrind: within 1 % even on a busy machine.
//!
//! Each program serves [`FEW`] requests on one connection, is started anew, and serves [`MANY`]. The difference leaves
//! out its start and its end.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::load::One;
use crate::proxies::{BARE, bare_arguments, binary, free, ready};

const FEW: usize = 200;
const MANY: usize = 1_200;

/// A process to count: bare hyper, or shiftgate with a percent for the translated candidate and with or without `[guard]`.
type Kind = Option<(u8, bool)>;

/// Counts bare hyper, an untranslated and a translated shiftgate, and one whose candidate is guarded; returns the table.
pub(crate) fn measure(folder: &Path, origin: SocketAddr) -> anyhow::Result<String> {
    if crate::proxies::version("valgrind", "--version").is_none() {
        bail!("valgrind is not installed");
    }
    let mut text = format!("| instructions per request | count | beside {BARE} |\n|---|---:|---:|");
    let mut least = None;
    // The requests have one key, which the split at 50 % gives to the baseline: all of them are trials of the guard.
    let kinds = [
        (BARE, None),
        ("shiftgate, untranslated", Some((0, false))),
        ("shiftgate, untranslated, split by key", Some((50, false))),
        ("shiftgate, untranslated, split by key, `[guard]`", Some((50, true))),
        ("shiftgate, vllm", Some((100, false))),
    ];
    for (name, kind) in kinds {
        eprintln!("instructions: {name}");
        let [few, many] = [FEW, MANY].map(|requests| total(folder, origin, kind, requests));
        let count = (many? - few?) / (MANY - FEW) as f64;
        let ratio = count / *least.get_or_insert(count);
        text.push_str(&format!("\n| {name} | {count:.0} | {ratio:.2} |"));
    }
    Ok(text)
}

/// Returns the instructions of one whole run in all threads.
fn total(folder: &Path, origin: SocketAddr, kind: Kind, requests: usize) -> anyhow::Result<f64> {
    let listen = free()?;
    let counts = folder.join("callgrind");
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", counts.display()));
    if let Some((percent, is_guarded)) = kind {
        let file = folder.join("instructions.toml");
        let guard = if is_guarded { "[guard]\n" } else { "" };
        fs::write(&file, config(listen, origin, percent) + guard)?;
        command.arg(binary()).arg("--config").arg(file);
    } else {
        command.arg(std::env::current_exe()?).args(bare_arguments(listen, origin));
    }
    let mut process = ready("valgrind", listen, &mut command)?.process.context("a program without a process")?;
    let mut client = One::like_the_sdk(listen)?;
    client.run(requests)?;
    drop(client);
    process.terminate()?;
    let text = fs::read_to_string(&counts).context("callgrind's counts")?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ")).context("no totals in callgrind's counts")?;
    Ok(total.trim().parse()?)
}

/// Leaves the request log on, as it is by default.
fn config(listen: SocketAddr, origin: SocketAddr, percent: u8) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\n[rollout]\nname = \"bench\"\n\
         baseline = \"a\"\npercent = {{ b = {percent}.0 }}\n[backend.a]\nengine = \"openai\"\n\
         url = \"http://{origin}/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"vllm\"\nfamily = \"qwen3\"\n\
         models = {{ \"*\" = \"qwen-235b-a22b\" }}\nurl = \"http://{origin}/v1\"\napi_key = \"none\"\n"
    )
}
