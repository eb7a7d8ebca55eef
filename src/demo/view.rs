//! The output of the demo: a table redrawn in place on a terminal, plain lines where the output is piped.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::ClientStats;
use crate::admin::{BackendView, ShadowStatus, View};
use crate::app::App;
use crate::model::Percent;
use crate::stats::Latency;

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
    /// Mean agreement of its answers with the baseline's, by kind.
    agreement: Vec<(String, f64)>,
}

/// The terminal or pipe that the demo writes to.
pub(super) struct Screen {
    is_live: bool,
    drawn: usize,
    header: String,
}

impl Screen {
    pub(super) fn new(is_live: bool, app: &App, proxy: SocketAddr) -> Self {
        let path = app.store.current().snapshot.config.path.display().to_string();
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
        let view = app.view();
        let rows = rows(elapsed, &view, stats);
        if !self.is_live {
            print(&lines(elapsed, &rows));
            return;
        }
        let table = table(elapsed, &view, stats, &rows);
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
            app.view().generation
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

fn rows(elapsed: Duration, view: &View, stats: &ClientStats) -> Vec<BackendRow> {
    let percents = view.default_route().map_or(&[][..], |route| &route.percents);
    let shifted: u16 = percents.iter().map(|one| one.asked.hundredths()).sum();
    let rest = Percent::from_hundredths(10_000_u16.saturating_sub(shifted)).unwrap_or_default();
    let pair = |latency: &Latency| (latency.quantile_ms(0.5), latency.quantile_ms(0.99));
    let shadow = ShadowStatus::of(view);
    let row = |backend: &BackendView| {
        let (name, counts) = (&backend.labels.name, &backend.stats);
        #[expect(clippy::cast_precision_loss, reason = "a demo's counts are small")]
        let tokens = counts.output_tokens.get() as f64;
        BackendRow {
            name: name.clone(),
            asked: percents.iter().find(|one| one.backend == *name).map_or(rest, |one| one.asked),
            got: stats.share(view.generation, name),
            requests: counts.attempts.get(),
            errors: counts.errors.get(),
            ttft: pair(&counts.ttft),
            total: pair(&counts.total),
            tokens_per_second: tokens / elapsed.as_secs_f64().max(0.001),
            cost: counts.cost_usd(),
            agreement: shadow.as_ref().map(|shadow| agreement(shadow, name)).unwrap_or_default(),
        }
    };
    view.backends.iter().map(row).collect()
}

/// Mean agreement of the answers to copies of the last route, by kind.
fn agreement(shadow: &ShadowStatus, backend: &str) -> Vec<(String, f64)> {
    let copies = shadow.copies.iter().find(|one| one.backend == backend && one.route == "default");
    let kinds = copies.into_iter().flat_map(|one| &one.agreement);
    kinds.filter_map(|(kind, one)| Some((kind.clone(), one.mean?))).collect()
}

/// Joins the agreement of all kinds: `json:0.98,text:0.44`.
fn kinds(agreement: &[(String, f64)]) -> String {
    let all: Vec<String> = agreement.iter().map(|(kind, mean)| format!("{kind}:{mean:.2}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn lines(elapsed: Duration, rows: &[BackendRow]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!(
            "t={:.0}s backend={} asked={} got={} requests={} errors={} ttft_p50_ms={} ttft_p99_ms={} total_p50_ms={} \
             total_p99_ms={} tokens_per_s={:.1} agreement={} cost_usd={}\n",
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
            kinds(&row.agreement),
            number(row.cost, 6),
        ));
    }
    text
}

/// One line for each receiver of copies of the last route: pairs, agreement by kind beside the baseline's with itself, cost.
fn copies(shadow: &ShadowStatus) -> String {
    let mut text = String::new();
    for one in shadow.copies.iter().filter(|one| one.route == "default") {
        let pairs: u64 = one.pairs.values().sum();
        let mut line = format!("copies to {}: {pairs} pairs, {} dropped", one.backend, one.dropped);
        for (kind, one) in &one.agreement {
            let floor = number(one.floor, 2);
            line.push_str(&format!(", {kind} {} (baseline with itself {floor})", number(one.mean, 2)));
        }
        line.push_str(&format!(", USD {}", number(one.cost_usd, 4)));
        // Lines are counted for the redraw: one that wraps would spoil it.
        text.extend(line.chars().take(150));
        text.push('\n');
    }
    text
}

fn table(elapsed: Duration, view: &View, stats: &ClientStats, rows: &[BackendRow]) -> String {
    let mut text = format!(
        "\n{:.0} s, {} requests, {} failed, generation {}\n",
        elapsed.as_secs_f64(),
        stats.requests(),
        stats.failed(),
        view.generation
    );
    if let Some(error) = &view.reload_error {
        // Lines are counted for the redraw: one that wraps would spoil it.
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
            row.agreement.iter().map(|(_, mean)| format!("{mean:.2}")).collect::<Vec<_>>().join(" "),
            number(row.cost, 4)
        ));
    }
    if let Some(shadow) = ShadowStatus::of(view) {
        text.push_str(&copies(&shadow));
    }
    text
}
