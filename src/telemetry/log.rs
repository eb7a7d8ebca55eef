//! Where log lines go: human on a terminal, JSON otherwise, and never in a request's way.
//!
//! Invariant: a writer that nobody reads costs lines, counted, and no time.

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

/// Lines that wait for a slow reader, before further ones are dropped.
const MAX_LINES: usize = 8192;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What writes the lines; [`finish`] writes what is left.
#[derive(Debug)]
pub(crate) struct Log {
    dropped: ErrorCounter,
    _worker: WorkerGuard,
}

impl Log {
    /// Lines that nobody read and that were dropped.
    pub(crate) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Writes what is left, for a second at most: a reader that never reads again does not keep the process.
pub(crate) fn finish(log: Log) {
    let (done, written) = std::sync::mpsc::sync_channel::<()>(1);
    let writer = std::thread::Builder::new().name("log-end".to_owned()).spawn(move || {
        drop(log);
        drop(done);
    });
    if writer.is_ok() {
        // Nothing is ever sent: the other end going away is the news, and so is the time being up.
        match written.recv_timeout(LAST_LINES) {
            Ok(()) | Err(_) => {}
        }
    }
}

/// The writer of the process' JSON lines, once there is one.
static JSON_WRITER: OnceLock<NonBlocking> = OnceLock::new();

/// The writer of the process' log, where its lines are JSON. One write is one line; lines that do not fit are dropped
/// and counted.
pub(super) fn json_writer() -> Option<NonBlocking> {
    JSON_WRITER.get().cloned()
}

/// Begins a line as the subscriber's own JSON lines begin. The object is left open.
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

/// RFC 3339 in UTC with milliseconds.
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

/// Begins logging to stdout, once a process; `RUST_LOG` chooses the levels, `info` otherwise. `spans` gets the spans.
pub(crate) fn start(spans: impl Layer<Registry> + Send + Sync) -> Log {
    start_to(std::io::stdout(), std::io::stdout().is_terminal(), "info", spans)
}

/// Begins logging to stderr, from `warn` up: for commands whose stdout is their answer.
pub(crate) fn start_quiet(spans: impl Layer<Registry> + Send + Sync) -> Log {
    start_to(std::io::stderr(), std::io::stderr().is_terminal(), "warn", spans)
}

fn start_to(
    to: impl Write + Send + 'static,
    human: bool,
    level: &str,
    spans: impl Layer<Registry> + Send + Sync,
) -> Log {
    let (writer, worker) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_LINES).thread_name("log").finish(to);
    let (dropped, json) = (writer.error_counter(), writer.clone());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A span's name and fields stand in its trace; in the lines they would stand twice.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Clock).with_target(false);
    let all = Registry::default().with(spans);
    // A second start in one process keeps the first subscriber: its lines still go somewhere.
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
