//! The report for a person: headings, sentences and tables, in one order for every form. Each figure has a sentence that
//! says what it is, of how many, and what it is not.

use super::blocks::{Block, Page, none, number, percent, several};
use super::ends::ends_in;
use super::page_row::{row, worst};
use super::shape::{Report, Route, Total};
use super::shape_row::Row;

/// Returns the blocks of a report.
pub(super) fn page(report: &Report) -> Vec<Block> {
    let mut page = Page(Vec::new());
    page.heading(1, "Verdict");
    verdicts(report, &mut page);
    page.heading(1, "Rests on");
    lines(report, &mut page);
    for route in &report.routes {
        traffic(route, &mut page);
    }
    for (position, row) in rows(report) {
        self::row(position, row, &mut page);
    }
    totals(report, &mut page);
    money(report, &mut page);
    ends(report, &mut page);
    page.heading(1, "Worst pairs");
    page.words("At most ten of each row, to be looked up by id: first those that only the candidate failed.");
    for (position, row) in rows(report) {
        worst(position, row, &mut page);
    }
    page.0
}

/// Adds the verdicts and the warnings.
pub(super) fn verdicts(report: &Report, page: &mut Page) {
    if report.routes.is_empty() {
        page.words("No pair of answers was found: nothing can be said.");
    }
    for route in &report.routes {
        page.words(format!("Route {}, {}: {}", route.route, route.candidate, route.says));
    }
    for says in report.totals.iter().filter_map(|total| total.says.as_ref()) {
        page.words(format!("Beware: {says}"));
    }
}

/// Returns the rows with their positions: those that decide first, each part in the order of the report.
fn rows(report: &Report) -> impl Iterator<Item = (usize, &Row)> {
    let of = |current: bool| report.rows.iter().enumerate().filter(move |(_, row)| row.current == current);
    of(true).chain(of(false))
}

/// Adds the lines that were read.
pub(super) fn lines(report: &Report, page: &mut Page) {
    let lines = &report.lines;
    let span = match (&report.from, &report.to) {
        (Some(from), Some(to)) => format!(", from {from} to {to}"),
        _ => String::new(),
    };
    page.words(format!(
        "{} of answers and {} of counts in {}, written by {}{span}.",
        several(lines.pairs, "pair"),
        several(lines.counts, "line"),
        several(report.files, "file"),
        several(report.instances, "instance")
    ));
    let skipped = &lines.skipped;
    let all = skipped.torn + skipped.foreign + skipped.newer + skipped.too_long;
    if all > 0 {
        page.words(format!(
            "Skipped: {} that change no figure: {} torn, {} foreign, {} of a newer version, {} too long.",
            several(all, "line"),
            skipped.torn,
            skipped.foreign,
            skipped.newer,
            skipped.too_long
        ));
    }
    if report.other.rows > 0 {
        let other = &report.other;
        page.words(format!(
            "Left out: {} with {}, because a report has the 256 rows with the most pairs.",
            several(other.rows, "row"),
            several(other.pairs, "pair")
        ));
    }
}

/// Adds what became of a route's requests and copies.
pub(super) fn traffic(route: &Route, page: &mut Page) {
    page.heading(2, format!("Route {}, {} beside {}", route.route, route.candidate, route.baseline));
    let copies = &route.shadow;
    let fit = copies.fit();
    page.words(match route.admitted {
        Some(admitted) => format!(
            "Share admitted: {}: {} of {fit} requests that were chosen for a copy and fit for one were copied. It is a \
             share of copies, not of the traffic.",
            percent(admitted),
            copies.sent
        ),
        None => "Share admitted: not known, because no counts of copies were found.".to_owned(),
    });
    let row = |(name, n): (&str, u64)| vec![name.to_owned(), n.to_string()];
    let named = [
        ("sent", copies.sent),
        ("opted_out", copies.opted_out),
        ("ineligible", copies.ineligible),
        ("residency", copies.residency),
        ("untranslatable", copies.untranslatable),
        ("unwell", copies.unwell),
        ("in_flight", copies.in_flight),
        ("bytes", copies.bytes),
        ("budget", copies.budget),
    ];
    let named = named.into_iter().filter(|(_, n)| *n > 0).map(row).collect();
    page.table("Requests chosen for a copy, by what became of it.", &["copy", "requests"], named);
    let served = route.served.iter().map(|(name, of)| {
        let counts = [of.chosen, of.attempted, of.served, of.failed].map(|n| n.to_string());
        let mut row = vec![name.clone()];
        row.extend(counts);
        row.extend([number(of.usd), of.priced.to_string()]);
        row
    });
    let about = format!(
        "Served requests in {:.2} hours of counts: real traffic, not copies. A failure here was answered by the other \
         backend where it could be. USD is the cost of the answers with a known price.",
        route.hours
    );
    if route.hours == 0.0 {
        page.words("Served requests: not known, because no line of counts was found.");
        return;
    }
    page.table(about, &["backend", "chosen", "attempted", "served", "failed", "USD", "priced"], served.collect());
}

/// Adds the totals.
pub(super) fn totals(report: &Report, page: &mut Page) {
    let of = |total: &Total| {
        let reversed = if total.reversed { "reversed" } else { "" };
        vec![
            total.candidate.clone(),
            total.what.to_owned(),
            total.value.to_string(),
            total.pooled.to_string(),
            reversed.to_owned(),
        ]
    };
    if !report.totals.is_empty() {
        page.heading(1, "Totals");
    }
    page.table(
        "Candidate minus baseline, over routes or rows by their weights: above 0 is to the candidate's disadvantage. \
         served_failed is the share of served requests that failed, served_usd the price of a served answer, failed the \
         share of pairs, agreement the floor minus the agreement. Pooled is everything thrown together, as a warning \
         alone.",
        &["candidate", "what", "value", "pooled", ""],
        report.totals.iter().map(of).collect(),
    );
}

/// Adds the bills.
pub(super) fn money(report: &Report, page: &mut Page) {
    if !report.money.is_empty() {
        page.heading(1, "Bill");
    }
    for money in &report.money {
        let usd = |usd: Option<f64>| usd.map_or_else(|| "not known".to_owned(), |usd| format!("{usd:.2} USD"));
        page.words(format!(
            "{}: at today's rate of {} requests a day on the routes that both serve, the baseline serves for {} a month \
             and would serve all for {}. 1,000 answers cost {} USD at the baseline, {} USD at the candidate; no figure \
             here has the GPUs in it.",
            money.candidate,
            rate(money.requests_per_day),
            usd(money.baseline_usd_per_month),
            usd(money.all_baseline_usd_per_month),
            number(money.baseline_usd_per_1000),
            number(money.candidate_usd_per_1000)
        ));
        match (money.gpus_usd_per_month, money.break_even) {
            (Some(gpus), Some(even)) => page.words(format!(
                "{}: its GPUs cost {gpus:.2} USD a month, whatever they serve. The baseline costs as much at {} requests \
                 a day, {} % of today's; below that rate the GPUs do not pay. It is not said whether they can serve so \
                 many.",
                money.candidate,
                rate(Some(even.requests_per_day)),
                even.percent.map_or_else(none, |percent| format!("{percent:.1}"))
            )),
            (Some(gpus), None) => page.words(format!(
                "{}: its GPUs cost {gpus:.2} USD a month, whatever they serve. The break-even is not known without a \
                 price of the baseline.",
                money.candidate
            )),
            _ => page.words(format!("{}: no price of GPUs is in the file.", money.candidate)),
        }
    }
}

/// Returns a rate without decimals.
fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "an unknown number of".to_owned(), |rate| format!("{rate:.0}"))
}

/// Adds the models that end.
pub(super) fn ends(report: &Report, page: &mut Page) {
    for end in &report.ends {
        page.words(format!("{} at {} {}, on {}.", end.model, end.backend, ends_in(end.days), end.ends));
    }
}
