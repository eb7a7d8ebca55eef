//! The output of the demo: a table redrawn in place on a terminal, plain lines where the output is piped.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::ClientStats;
use crate::app::App;
use crate::model::Percent;
use crate::telemetry::count::Latency;

/// Values of one backend.
struct BackendRow {
    name: String,
    /// Percent in the file.
    asked: Percent,
    /// Percent of the requests that were drawn; `None` before the first.
    got: Option<f64>,
    requests: u64,
    errors: u64,
    /// Median and 99th percentile, in milliseconds.
    ttft: (Option<f64>, Option<f64>),
    total: (Option<f64>, Option<f64>),
    tokens_per_second: f64,
    /// In USD; `None` without a price.
    cost: Option<f64>,
}

/// Prints the values of a running demo.
pub(super) struct View {
    is_live: bool,
    /// Lines of the last table.
    drawn: usize,
    header: String,
}

impl View {
    pub(super) fn new(is_live: bool, app: &App, proxy: SocketAddr) -> Self {
        let path = app.store.current().config.path.display().to_string();
        let header = format!(
            "shiftgate demo: applications at http://{proxy}/v1, status at http://{}/status. Edit {path} and watch.",
            app.admin
        );
        Self { is_live, drawn: 0, header }
    }

    pub(super) const fn is_live(&self) -> bool {
        self.is_live
    }

    pub(super) fn begin(&self, notes: &[String]) {
        for note in notes {
            print(&format!("{note}\n"));
        }
        print(&format!("{}\n", self.header));
    }

    pub(super) fn show(&mut self, elapsed: Duration, app: &App, stats: &ClientStats) {
        let rows = rows(elapsed, app, stats);
        if !self.is_live {
            print(&lines(elapsed, &rows));
            return;
        }
        let table = table(elapsed, app, stats, &rows);
        let mut text = String::new();
        if self.drawn > 0 {
            // Moves up to the first line of the last table and clears from there.
            text.push_str(&format!("\x1b[{}A\x1b[J", self.drawn));
        }
        text.push_str(&table);
        self.drawn = table.lines().count();
        print(&text);
    }

    pub(super) fn summary(&mut self, elapsed: Duration, app: &App, stats: &ClientStats) {
        self.show(elapsed, app, stats);
        let mut text = format!(
            "summary: {:.0} s, {} requests, {} failed, generation {}\n",
            elapsed.as_secs_f64(),
            stats.requests(),
            stats.failed(),
            app.store.current().generation
        );
        if let Some(failure) = stats.last_failure() {
            text.push_str(&format!("the last failure: {failure}\n"));
        }
        print(&text);
    }
}

/// Prints to stdout. A closed pipe does not stop the traffic.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

fn rows(elapsed: Duration, app: &App, stats: &ClientStats) -> Vec<BackendRow> {
    let snapshot = app.store.current();
    let config = &snapshot.config;
    let asked_of = |index: usize| {
        let route = config.routes.last()?;
        route.percent.iter().find(|(backend, _)| *backend == index).map(|(_, percent)| *percent)
    };
    let shifted: u16 = (0..config.backends.len()).filter_map(asked_of).map(Percent::hundredths).sum();
    let rest = Percent::from_hundredths(10_000_u16.saturating_sub(shifted)).unwrap_or_default();
    let pair = |latency: &Latency| (latency.quantile_ms(0.5), latency.quantile_ms(0.99));
    config
        .backends
        .iter()
        .zip(&snapshot.targets)
        .enumerate()
        .map(|(index, (backend, target))| {
            let counts = &target.stats;
            #[expect(clippy::cast_precision_loss, reason = "a demo's counts are small")]
            let tokens = counts.output_tokens.get() as f64;
            BackendRow {
                name: backend.name.clone(),
                asked: asked_of(index).unwrap_or(rest),
                got: stats.share(snapshot.generation, &backend.name),
                requests: counts.attempts.get(),
                errors: counts.errors.get(),
                ttft: pair(&counts.ttft),
                total: pair(&counts.total),
                tokens_per_second: tokens / elapsed.as_secs_f64().max(0.001),
                cost: counts.cost_usd(),
            }
        })
        .collect()
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn lines(elapsed: Duration, rows: &[BackendRow]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!(
            "t={:.0}s backend={} asked={} got={} requests={} errors={} ttft_p50_ms={} ttft_p99_ms={} total_p50_ms={} \
             total_p99_ms={} tokens_per_s={:.1} agreement=- cost_usd={}\n",
            elapsed.as_secs_f64(),
            row.name,
            row.asked,
            number(row.got, 2),
            row.requests,
            row.errors,
            number(row.ttft.0, 1),
            number(row.ttft.1, 1),
            number(row.total.0, 1),
            number(row.total.1, 1),
            row.tokens_per_second,
            number(row.cost, 6),
        ));
    }
    text
}

fn table(elapsed: Duration, app: &App, stats: &ClientStats, rows: &[BackendRow]) -> String {
    let snapshot = app.store.current();
    let mut text = format!(
        "\n{:.0} s, {} requests, {} failed, generation {}\n",
        elapsed.as_secs_f64(),
        stats.requests(),
        stats.failed(),
        snapshot.generation
    );
    if let Some(error) = app.store.reload_error() {
        // The redraw counts lines, so none may wrap.
        let line: String = format!("the file is refused: {}", error.message).chars().take(110).collect();
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&format!(
        "{:<14} {:>7} {:>7} {:>9} {:>7} {:>15} {:>15} {:>9} {:>10} {:>10}\n",
        "backend",
        "asked %",
        "got %",
        "requests",
        "errors",
        "ttft p50/p99",
        "total p50/p99",
        "tokens/s",
        "agreement",
        "cost USD"
    ));
    for row in rows {
        let pair = |(p50, p99): (Option<f64>, Option<f64>)| format!("{}/{}", number(p50, 0), number(p99, 0));
        text.push_str(&format!(
            "{:<14} {:>7} {:>7} {:>9} {:>7} {:>15} {:>15} {:>9.0} {:>10} {:>10}\n",
            row.name,
            row.asked.to_string(),
            number(row.got, 2),
            row.requests,
            row.errors,
            pair(row.ttft),
            pair(row.total),
            row.tokens_per_second,
            "-",
            number(row.cost, 4)
        ));
    }
    text
}
