//! Captures the log lines of this process, for tests that wait for one.

use std::io::{self, Write};
use std::sync::OnceLock;

use tokio::sync::watch;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::until;

static LINES: OnceLock<watch::Sender<Vec<String>>> = OnceLock::new();

/// A writer that receives one line per write.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(lines) = LINES.get() {
            lines.send_modify(|lines| lines.push(String::from_utf8_lossy(line).into_owned()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Line {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Returns the log lines of all tests; the first call installs the subscriber.
pub(crate) fn lines() -> watch::Receiver<Vec<String>> {
    let lines = LINES.get_or_init(|| {
        let only = tracing_subscriber::EnvFilter::new("shiftgate=info");
        tracing_subscriber::fmt().json().with_env_filter(only).with_writer(|| Line).init();
        watch::channel(Vec::new()).0
    });
    lines.subscribe()
}

/// Number of lines that contain all `parts`.
pub(crate) fn count(lines: &[String], parts: &[&str]) -> usize {
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

/// Waits until `times` lines contain all `parts`.
pub(crate) async fn logged(times: usize, parts: &[&str]) -> usize {
    count(&until(lines(), |lines| count(lines, parts) >= times).await, parts)
}
