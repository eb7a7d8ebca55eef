//! Log output: human-readable on a terminal, JSON otherwise, without delaying requests.
//!
//! Invariant: a slow reader costs lines, which are counted, and no time.

use std::cell::RefCell;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Limit of lines that wait for a slow reader; further lines are dropped and counted.
const MAX_LINES: usize = 8192;

/// Time limit of writing the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The running log; [`finish`] writes the lines that are left.
#[derive(Debug)]
pub(crate) struct Log {
    dropped: ErrorCounter,
    _worker: WorkerGuard,
}

impl Log {
    /// Counter of lines dropped because of a slow reader.
    pub(crate) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Writes the lines that are left, for a second at most: a blocked reader does not keep the process alive.
pub(crate) fn finish(log: Log) {
    let (done, written) = std::sync::mpsc::sync_channel::<()>(1);
    let writer = std::thread::Builder::new().name("log-end".to_owned()).spawn(move || {
        drop(log);
        drop(done);
    });
    if writer.is_ok() {
        // The channel carries no message: closing it or the timeout ends the wait.
        match written.recv_timeout(LAST_LINES) {
            Ok(()) | Err(_) => {}
        }
    }
}

/// Writer of JSON lines, set if the log is JSON.
static JSON_WRITER: OnceLock<NonBlocking> = OnceLock::new();

/// Returns the writer of JSON lines. One write is one line; lines above the limit are dropped and counted.
pub(super) fn json_writer() -> Option<NonBlocking> {
    JSON_WRITER.get().cloned()
}

/// Begins a line like the subscriber's own JSON lines. The object is left open.
pub(super) fn begin_json(line: &mut Vec<u8>, level: &'static str, message: &'static str) {
    thread_local! {
        /// The last second that a line was written in, and its text up to the fraction.
        static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let now = jiff::Timestamp::now();
    line.extend_from_slice(b"{\"timestamp\":\"");
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_second() {
            *second = now.as_second();
            *text = format!("{now:.0}").trim_end_matches('Z').to_owned();
        }
        line.extend_from_slice(text.as_bytes());
    });
    let millis = now.subsec_millisecond().unsigned_abs();
    // Writing into a vector cannot fail.
    drop(write!(line, ".{millis:03}Z\",\"level\":\"{level}\",\"message\":\"{message}\""));
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

#[derive(Debug, Clone, Copy)]
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

/// Starts logging to stdout, once per process; `RUST_LOG` sets the levels, default `info`. `spans` receives the spans.
/// `colored` concerns lines for people.
pub(crate) fn start(spans: impl Layer<Registry> + Send + Sync, colored: bool) -> Log {
    start_to(std::io::stdout(), (std::io::stdout().is_terminal(), colored), "info", spans)
}

/// Starts logging to stderr, from `warn` up: for commands whose result is on stdout.
pub(crate) fn start_quiet(spans: impl Layer<Registry> + Send + Sync, colored: bool) -> Log {
    start_to(std::io::stderr(), (std::io::stderr().is_terminal(), colored), "warn", spans)
}

fn start_to(
    to: impl Write + Send + 'static,
    (human, colored): (bool, bool),
    level: &str,
    spans: impl Layer<Registry> + Send + Sync,
) -> Log {
    let (writer, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES).thread_name("log").finish(to);
    let (dropped, json) = (writer.error_counter(), writer.clone());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A span's name and fields are in its trace and would only repeat in the lines.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Clock).with_target(false).with_ansi(colored);
    let all = Registry::default().with(spans);
    // A second start in one process keeps the first subscriber, so its lines are not lost.
    let started = if human {
        tracing::subscriber::set_global_default(all.with(lines.with_filter(filter)))
    } else {
        let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
        let started = tracing::subscriber::set_global_default(all.with(lines.with_filter(filter)));
        if started.is_ok() {
            JSON_WRITER.get_or_init(|| json);
        }
        started
    };
    drop(started);
    Log { dropped, _worker: worker }
}
