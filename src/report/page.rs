//! The report for a person: headings, sentences and tables, in one order for every form. Each figure has a sentence that
//! says what it is, of how many, and what it is not.

use super::blocks::{Block, Page, number, percent};
use super::ends::ends_in;
use super::page_row::{row, worst};
use super::shape::{Report, Route, Total};

/// Returns the blocks of a report.
pub(super) fn page(report: &Report) -> Vec<Block> {
    let mut page = Page(Vec::new());
    page.heading(1, "Verdict");
    if report.routes.is_empty() {
        page.words("No pair of answers was found: nothing can be said.");
    }
    for route in &report.routes {
        page.words(format!("Route {}, {}: {}", route.route, route.candidate, route.says));
    }
    for says in report.totals.iter().filter_map(|total| total.says.as_ref()) {
        page.words(format!("Beware: {says}"));
    }
    page.heading(1, "Rests on");
    lines(report, &mut page);
    for route in &report.routes {
        traffic(route, &mut page);
    }
    for (position, row) in report.rows.iter().enumerate() {
        self::row(position, row, &mut page);
    }
    totals(report, &mut page);
    money(report, &mut page);
    ends(report, &mut page);
    page.heading(1, "Worst pairs");
    page.words("At most ten of each row, to be looked up by id: first those that only the candidate failed.");
    for (position, row) in report.rows.iter().enumerate() {
        worst(position, row, &mut page);
    }
    page.0
}

fn lines(report: &Report, page: &mut Page) {
    let lines = &report.lines;
    let span = match (&report.from, &report.to) {
        (Some(from), Some(to)) => format!(", from {from} to {to}"),
        _ => String::new(),
    };
    page.words(format!(
        "{} pairs and {} counts in {} files, written by {} processes{span}.",
        lines.pairs, lines.counts, report.files, report.instances
    ));
    let skipped = &lines.skipped;
    let all = skipped.torn + skipped.foreign + skipped.newer + skipped.too_long;
    if all > 0 {
        page.words(format!(
            "{all} lines were skipped and change no figure: {} torn, {} foreign, {} of a newer version, {} too long.",
            skipped.torn, skipped.foreign, skipped.newer, skipped.too_long
        ));
    }
    if report.other.rows > 0 {
        let other = &report.other;
        page.words(format!("{} more rows with {} pairs are counted here alone.", other.rows, other.pairs));
    }
}

fn traffic(route: &Route, page: &mut Page) {
    page.heading(2, format!("Route {}, {} beside {}", route.route, route.candidate, route.baseline));
    let copies = &route.shadow;
    let fit = copies.sent + copies.unwell + copies.in_flight + copies.bytes + copies.budget;
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
        "Served requests in {} hours of counts: real traffic, not copies. A failure here was answered by the other \
         backend where it could be. USD is the cost of the answers with a known price.",
        route.hours
    );
    page.table(about, &["backend", "chosen", "attempted", "served", "failed", "USD", "priced"], served.collect());
}

fn totals(report: &Report, page: &mut Page) {
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
         Pooled is everything thrown together, as a warning alone.",
        &["candidate", "what", "value", "pooled", ""],
        report.totals.iter().map(of).collect(),
    );
}

fn money(report: &Report, page: &mut Page) {
    if !report.money.is_empty() {
        page.heading(1, "Bill");
    }
    for money in &report.money {
        let usd = |usd: Option<f64>| usd.map_or_else(|| "not known".to_owned(), |usd| format!("{usd:.2} USD"));
        page.words(format!(
            "{}: at today's rate of {} requests a day, the baseline serves for {} a month and would serve all for {}. \
             1,000 answers cost {} USD at the baseline, {} USD at the candidate.",
            money.candidate,
            number(money.requests_per_day),
            usd(money.baseline_usd_per_month),
            usd(money.all_baseline_usd_per_month),
            number(money.baseline_usd_per_1000),
            number(money.candidate_usd_per_1000)
        ));
        match (money.gpus_usd_per_month, money.break_even) {
            (Some(gpus), Some(even)) => page.words(format!(
                "{}: its GPUs cost {gpus:.2} USD a month, whatever they serve. The baseline costs as much at {} requests \
                 a day, {} % of today's; below that rate the GPUs do not pay.",
                money.candidate,
                even.requests_per_day,
                number(even.percent)
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

fn ends(report: &Report, page: &mut Page) {
    for end in &report.ends {
        page.words(format!("{} at {} {}, on {}.", end.model, end.backend, ends_in(end.days), end.ends));
    }
}
