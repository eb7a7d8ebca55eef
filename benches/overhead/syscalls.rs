//! Number of syscalls that one request costs a proxy, counted by strace.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::load::Many;
use crate::proxies::Target;

/// Returns `None` if strace is not installed or may not attach. strace slows the proxy, so that with many connections
/// more of them are ready at once than without it.
pub(crate) fn per_request(
    target: &Target,
    connections: usize,
    requests: usize,
    folder: &Path,
) -> anyhow::Result<Option<f64>> {
    let Some(process) = &target.process else { return Ok(None) };
    let mut load = Many::connect(target.address, connections)?;
    let counts = folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-p"]).arg(process.id().to_string()).arg("-o").arg(&counts);
    let Ok(mut strace) = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() else { return Ok(None) };
    std::thread::sleep(Duration::from_millis(300));
    if strace.try_wait()?.is_some() {
        return Ok(None);
    }
    let ran = load.run(requests);
    let signalled = Command::new("kill").arg("-INT").arg(strace.id().to_string()).status()?;
    ensure!(signalled.success(), "strace could not be interrupted");
    strace.wait()?;
    ran?;
    let text = std::fs::read_to_string(&counts)?;
    let total = text.lines().find(|line| line.trim_end().ends_with(" total")).context("no total in strace's counts")?;
    let calls: f64 = total.split_whitespace().nth(3).context("no calls in strace's total")?.parse()?;
    Ok(Some(calls / requests as f64))
}
