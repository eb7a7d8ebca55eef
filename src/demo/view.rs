//! The output of the demo: a table redrawn in place on a terminal, plain lines where the output is piped.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::ClientStats;
use crate::admin::{AgreementStatus, BackendView, CopiesStatus, ShadowStatus, VerdictStatus, View};
use crate::app::App;
use crate::model::Percent;
use crate::report::wrapped;
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

    pub(super) async fn show(&mut self, elapsed: Duration, app: &App, stats: &ClientStats) {
        let view = app.view_with_verdicts().await;
        let rows = rows(elapsed, &view, stats);
        if !self.is_live {
            let (copies, verdicts) = shadow(&view);
            print(&(lines(elapsed, &rows, &copies) + &verdict_lines(elapsed, &verdicts)));
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

    pub(super) async fn summary(&mut self, elapsed: Duration, app: &App, stats: &ClientStats) {
        self.show(elapsed, app, stats).await;
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

impl Screen {
    /// Prints what happened, and why.
    pub(super) fn ending(&self, paragraphs: &[String]) {
        for paragraph in paragraphs {
            print(&if self.is_live { wrapped(paragraph) } else { format!("{paragraph}\n") });
        }
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
        }
    };
    view.backends.iter().map(row).collect()
}

/// Returns the copies of the last route, by receiver, and the verdicts on its candidates.
fn shadow(view: &View) -> (Vec<CopiesStatus>, Vec<VerdictStatus>) {
    let Some(ShadowStatus { mut copies, mut verdicts, .. }) = ShadowStatus::of(view) else { return Default::default() };
    copies.retain(|one| one.route == "default");
    verdicts.retain(|one| one.route == "default");
    (copies, verdicts)
}

/// Joins a mean of every kind: `json:0.98,text:0.44`.
fn by_kind(one: &CopiesStatus, mean: impl Fn(&AgreementStatus) -> Option<f64>) -> String {
    let kinds = one.agreement.iter().filter_map(|(kind, one)| Some(format!("{kind}:{:.2}", mean(one)?)));
    let all: Vec<String> = kinds.collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn lines(elapsed: Duration, rows: &[BackendRow], copies: &[CopiesStatus]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!(
            "t={:.0}s backend={} asked={} got={} requests={} errors={} ttft_p50_ms={} ttft_p99_ms={} total_p50_ms={} \
             total_p99_ms={} tokens_per_s={:.1} cost_usd={}\n",
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
    for one in copies {
        text.push_str(&format!(
            "t={:.0}s copies_to={} pairs={} dropped={} agreement={} baseline_with_itself={} cost_usd={}\n",
            elapsed.as_secs_f64(),
            one.backend,
            one.pairs.values().sum::<u64>(),
            one.dropped,
            by_kind(one, |kind| kind.mean),
            by_kind(one, |kind| kind.floor),
            number(one.cost_usd, 6),
        ));
    }
    text
}

fn verdict_lines(elapsed: Duration, verdicts: &[VerdictStatus]) -> String {
    let line = |one: &VerdictStatus| {
        let (candidate, verdict, pairs) = (&one.candidate, one.verdict.as_str(), one.pairs);
        let seconds = elapsed.as_secs_f64();
        format!("t={seconds:.0}s verdict_on={candidate} verdict={verdict} pairs={pairs} says={:?}\n", one.says)
    };
    verdicts.iter().map(line).collect()
}

/// Returns the verdicts in words.
fn verdict_table(verdicts: &[VerdictStatus]) -> String {
    verdicts.iter().map(|one| wrapped(&format!("verdict on {}: {}", one.candidate, one.says))).collect()
}

/// Returns the copies' own table: a line for each receiver and kind of answer, beside the baseline's agreement with itself.
fn copies_table(copies: &[CopiesStatus]) -> String {
    if copies.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{:<14} {:>7} {:>7} {:>10}   {:<8} {:>7} {:>10} {:>21}\n",
        "copies to", "pairs", "dropped", "cost USD", "kind", "scored", "agreement", "baseline with itself"
    );
    for one in copies {
        let pairs: u64 = one.pairs.values().sum();
        text.push_str(&format!("{:<14} {pairs:>7} {:>7} {:>10}", one.backend, one.dropped, number(one.cost_usd, 4)));
        for (at, (kind, one)) in one.agreement.iter().enumerate() {
            if at > 0 {
                text.push_str(&format!("\n{:41}", ""));
            }
            let (mean, floor) = (number(one.mean, 3), number(one.floor, 3));
            text.push_str(&format!("   {kind:<8} {:>7} {mean:>10} {floor:>21}", one.pairs));
        }
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
        "{:<14} {:>7} {:>7} {:>9} {:>7} {:>15} {:>15} {:>9} {:>10}\n",
        "backend", "asked %", "got %", "requests", "errors", "ttft p50/p99", "total p50/p99", "tokens/s", "cost USD"
    ));
    for row in rows {
        let pair = |(p50, p99): (Option<f64>, Option<f64>)| format!("{}/{}", number(p50, 0), number(p99, 0));
        text.push_str(&format!(
            "{:<14} {:>7} {:>7} {:>9} {:>7} {:>15} {:>15} {:>9.0} {:>10}\n",
            row.name,
            row.asked.to_string(),
            number(row.got, 2),
            row.requests,
            row.errors,
            pair(row.ttft),
            pair(row.total),
            row.tokens_per_second,
            number(row.cost, 4)
        ));
    }
    let (copies, verdicts) = shadow(view);
    text + &copies_table(&copies) + &verdict_table(&verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_shown_by_receiver_and_kind() {
        let copies: CopiesStatus = serde_json::from_value(serde_json::json!({
            "route": "default", "backend": "qwen", "requests": {"sent": 60}, "dropped": 3, "cost_usd": 0.0012,
            "pairs": {"compared": 58, "failed": 2}, "agreement": {
                "json": {"pairs": 20, "mean": 0.9, "floor_pairs": 0, "floor": null},
                "text": {"pairs": 38, "mean": 0.9125, "floor_pairs": 8, "floor": 1.0},
            },
        }))
        .unwrap();
        assert_eq!(by_kind(&copies, |kind| kind.mean), "json:0.90,text:0.91");
        assert_eq!(by_kind(&copies, |kind| kind.floor), "text:1.00");
        let table = copies_table(&[copies]);
        let words: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let first = ["qwen", "60", "3", "0.0012", "json", "20", "0.900", "-"].as_slice();
        assert_eq!(words, [first, ["text", "38", "0.912", "1.000"].as_slice()]);
        let ends: Vec<usize> = table.lines().map(str::len).collect();
        assert_eq!(ends, [ends[0]; 3], "{table}");
        assert_eq!(copies_table(&[]), "");
    }
}
