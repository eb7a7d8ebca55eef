//! A row of the report for a person.

use std::collections::BTreeMap;

use super::blocks::{Page, decimals, interval, none, number, percent, several};
use super::shape_row::{Check, CostSide, Flip, Kind, Matrix, Median, Pairing, Quantiles, Row, TokenSums, Worst};
use super::verdict::{CheckResult, Verdict};

/// Sentence of the outcomes.
pub(super) const OUTCOMES: &str = "Outcomes of all pairs: failures stand here and in no score.";
/// Sentence of the modes.
pub(super) const MODES: &str = "Modes of pairs with two complete answers: json beside text is broken JSON.";

/// Adds a row: its verdict, then what it rests on.
pub(super) fn row(position: usize, row: &Row, page: &mut Page) {
    page.heading(
        1,
        format!(
            "Row {position}: route {}, model {}, {} beside {}, served by the {}, {}",
            row.route, row.model, row.candidate, row.baseline, row.served_by, row.sampling
        ),
    );
    verdict(row, page);
    let matrix = |about: &str, matrix: &Matrix, page: &mut Page| {
        page.table(about, &["baseline", "candidate", "pairs"], cells(matrix));
    };
    matrix(OUTCOMES, &row.outcomes, page);
    matrix(MODES, &row.modes, page);
    finishes(row, page);
    checks(row, page);
    kinds(row, page);
    times(row, page);
    tokens(row, page);
    costs(row, page);
    notes(row, page);
}

/// Adds a row's verdict, and of how much it is.
pub(super) fn verdict(row: &Row, page: &mut Page) {
    let verdict = match row.verdict {
        Verdict::Ready => "Ready".to_owned(),
        Verdict::NotReady => format!("Not ready: {}", row.why.join(", ")),
        Verdict::NotEnoughData => format!("Not enough data: {}", row.why.join(", ")),
    };
    let needs = row
        .needs_pairs
        .map_or_else(String::new, |needs| format!("; about {needs} more pairs if the two do not differ"));
    let current = if row.current { "" } else { " (of an earlier epoch, so that it decides nothing)" };
    page.words(format!("{verdict}{needs}{current}."));
    let percents: Vec<String> = row.percents.iter().map(f64::to_string).collect();
    page.words(format!(
        "{} of {} in {}{}, while the candidate's share was {} %. Every interval is per user and hour, because the pairs \
         of one user resemble each other; the plain figures beside them are over pairs. A user is a key on one day in \
         one process, or one request without a key.",
        several(row.pairs, "pair"),
        several(row.keys, "user"),
        several(row.key_hours, "user-hour"),
        if row.thinned { " (a part of them, chosen by hash)" } else { "" },
        if percents.is_empty() { none() } else { percents.join(" or ") }
    ));
}

/// Adds the finish reasons, and the reasons for which pairs have no agreement.
pub(super) fn finishes(row: &Row, page: &mut Page) {
    page.table(
        "Finish reasons of pairs with two complete answers.",
        &["baseline", "candidate", "pairs"],
        cells(&row.finishes),
    );
    let unscored = row.unscored.iter().map(|(reason, n)| vec![reason.clone(), n.to_string()]).collect();
    page.table("Pairs without an agreement, by reason: they are in no kind.", &["reason", "pairs"], unscored);
}

/// Adds the remarks.
pub(super) fn notes(row: &Row, page: &mut Page) {
    let notes = row.notes.iter().map(|note| vec![note.note.to_owned(), note.says.clone()]).collect();
    page.table("Remarks, which decide nothing.", &["note", "says"], notes);
}

fn cells(matrix: &Matrix) -> Vec<Vec<String>> {
    let of = |(from, to): (&String, &BTreeMap<String, u64>)| {
        to.iter().map(|(to, n)| vec![from.clone(), to.clone(), n.to_string()]).collect::<Vec<_>>()
    };
    matrix.iter().flat_map(of).collect()
}

/// Adds the checks.
pub(super) fn checks(row: &Row, page: &mut Page) {
    let of = |check: &Check| {
        vec![
            check.check.to_owned(),
            check.n.to_string(),
            check.baseline_only.to_string(),
            check.candidate_only.to_string(),
            check.both.to_string(),
            interval(check.difference, percent),
            percent(check.limit),
            word(check.result).to_owned(),
        ]
    };
    let head = ["check", "pairs", "baseline only", "candidate only", "both", "difference", "limit", "result"];
    page.table(
        "Faults by side: of the pairs that the check is over, those of one side alone and of both. failed: no complete \
         answer; refused: a formal refusal; empty: no text; cut: ended at a limit of tokens; json_broken, \
         schema_broken: JSON was asked for and does not parse or keep its schema; script: letters of another script \
         than the baseline's. The difference is the candidate's share minus the baseline's per user and hour, with its \
         interval; ok means that its upper bound is not above the limit, not that nothing was found.",
        &head,
        row.checks.iter().map(of).collect(),
    );
}

/// Adds the agreement by kind, and the properties that differ.
pub(super) fn kinds(row: &Row, page: &mut Page) {
    let of = |kind: &Kind| {
        vec![
            kind.kind.to_owned(),
            kind.n.to_string(),
            kind.agreement.map_or_else(none, decimals),
            kind.floor.n.to_string(),
            kind.floor.agreement.map_or_else(none, decimals),
            interval(kind.loss, decimals),
            interval(kind.difference, decimals),
            kind.limit.map_or_else(none, decimals),
            word(kind.result).to_owned(),
        ]
    };
    let head = ["kind", "pairs", "agreement", "noise pairs", "floor", "loss", "difference", "limit", "result"];
    page.table(
        "Agreement of both answers by kind, 0 to 1, which is not quality: the floor is the baseline with itself, over \
         the pairs that have a noise leg. Loss is 1 minus the agreement, the difference is the floor minus the \
         agreement, each per user and hour with its interval: one of them below the limit is enough. Kinds are never \
         averaged together; empty, refusal and text are not judged.",
        &head,
        row.kinds.iter().map(of).collect(),
    );
    let flips = &row.flips;
    let named = [
        ("finish", flips.finish),
        ("exact", flips.exact),
        ("tool_names", flips.tool_names),
        ("tools", flips.tools),
        ("script", flips.script),
        ("fence", flips.fence),
    ];
    let of = |(name, flip): (&str, Flip)| {
        let numbers = [flip.count, flip.n, flip.floor.count, flip.floor.n].map(|n| n.to_string());
        [vec![name.to_owned()], numbers.to_vec()].concat()
    };
    page.table(
        "Properties that differ, of the pairs in which they are known, and the same of the baseline with itself. A \
         difference is not an error.",
        &["property", "differ", "of", "floor differ", "floor of"],
        named.into_iter().filter(|(_, flip)| flip.n > 0).map(of).collect(),
    );
}

/// Adds the times and their ratios.
pub(super) fn times(row: &Row, page: &mut Page) {
    let ttft = &row.ttft_ms;
    let side = |what: &str, side: &str, n: u64, of: Option<Quantiles>| {
        let [p50, p95, p99] = [of.map(|of| of.p50), of.map(|of| of.p95), of.map(|of| of.p99)];
        vec![what.to_owned(), side.to_owned(), n.to_string(), time(p50), time(p95), time(p99)]
    };
    let mut quantiles = Vec::new();
    for (what, times) in [("first token", ttft.all), ("whole answer", row.total_ms)] {
        if times.n > 0 {
            quantiles.push(side(what, "baseline", times.n, times.baseline));
            quantiles.push(side(what, "candidate", times.n, times.candidate));
        }
    }
    page.table(
        "Times in milliseconds, within 0.1 %, of the same requests on both sides. p95 and p99 are points without an \
         interval. A copy's time is not that of a served request.",
        &["time", "side", "pairs", "p50", "p95", "p99"],
        quantiles,
    );
    let of = |(what, pairing): (&str, Pairing)| {
        let Median { n, median, low, high } = pairing.ratio?;
        let bounds = low.zip(high).map(|(low, high)| format!("{} to {}", decimals(low), decimals(high)));
        let bounds = bounds.unwrap_or_else(none);
        Some(vec![what.to_owned(), pairing.n.to_string(), n.to_string(), decimals(median), bounds])
    };
    let named = [
        ("first token", Pairing { n: ttft.all.n, ratio: ttft.all.ratio }),
        ("first token, cold", ttft.cold),
        ("first token, warm", ttft.warm),
        ("first token, mixed", ttft.mixed),
        ("first token, cache unknown", ttft.unknown),
        ("whole answer", Pairing { n: row.total_ms.n, ratio: row.total_ms.ratio }),
        ("length of text", row.length),
    ];
    page.table(
        "Ratios, candidate over baseline: the median per user and hour with its interval for one look, no part of the \
         verdict. Cold: less than half of the prompt was cached on both sides.",
        &["ratio", "pairs", "user-hours", "median", "interval"],
        named.into_iter().filter_map(of).collect(),
    );
}

/// Returns milliseconds with one decimal.
fn time(time: Option<f64>) -> String {
    time.map_or_else(none, |time| format!("{time:.1}"))
}

/// Adds the tokens of both sides.
pub(super) fn tokens(row: &Row, page: &mut Page) {
    let tokens = &row.tokens;
    if tokens.n > 0 {
        let of = |side: &str, of: TokenSums| vec![side.to_owned(), of.input.to_string(), of.output.to_string()];
        page.table(
            format!(
                "Tokens by each server's own count, of the {} pairs in which both say them. Tokenizers differ, so they \
                 are no measure of length.",
                tokens.n
            ),
            &["side", "input", "output"],
            vec![of("baseline", tokens.baseline), of("candidate", tokens.candidate)],
        );
    }
}

/// Adds the cost of both sides.
pub(super) fn costs(row: &Row, page: &mut Page) {
    let cost = &row.cost;
    if cost.n > 0 {
        let of = |side: &str, of: CostSide| {
            vec![side.to_owned(), number(of.per_1000), of.good.to_string(), number(of.per_1000_good)]
        };
        page.table(
            format!(
                "Cost in USD of the {} pairs whose cost is known on both sides, {} of all. A good answer is complete, \
                 not refused, empty, cut or broken; the price for 1,000 good ones bears that of the others. It is the \
                 price of one more answer, not that of idle GPUs.",
                cost.n,
                cost.coverage.map_or_else(none, percent)
            ),
            &["side", "per 1,000", "good", "per 1,000 good"],
            vec![of("baseline", cost.baseline), of("candidate", cost.candidate)],
        );
    }
}

/// Adds the worst pairs of a row.
pub(super) fn worst(position: usize, row: &Row, page: &mut Page) {
    let of = |pair: &Worst| {
        vec![
            pair.id.clone(),
            pair.trace_id.clone(),
            pair.at.clone().unwrap_or_default(),
            pair.kind.unwrap_or("").to_owned(),
            pair.agreement.map_or_else(none, decimals),
            pair.outcome.to_owned(),
        ]
    };
    page.table(
        format!("Of row {position}."),
        &["id", "trace", "at", "kind", "agreement", "candidate"],
        row.worst.iter().map(of).collect(),
    );
}

const fn word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Worse => "worse",
        CheckResult::Ok => "ok",
        CheckResult::Open => "open",
        CheckResult::NotJudged => "not judged",
    }
}
