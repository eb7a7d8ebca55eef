//! Figures of a row: its sums become the shape, and its findings what the verdict rests on.

use std::collections::BTreeMap;

use super::cell::Quantity;
use super::interval::{self, Interval, Scale};
use super::judge::{self, Finding};
use super::key_hours::Observations;
use super::notes;
use super::quantile::Histogram;
use super::round::{figure, instant, round, share};
use super::row::{RowData, RowKey, WorstPair};
use super::shape_row::{
    Check, Cost, CostSide, Flip, FlipFloor, Flips, Kind, KindFloor, Matrix, Means, Median, Pairing, Quantiles, Row,
    Share, Sides, Times, TokenSums, Ttft, Worst,
};
use super::sums::{Agreement, CostSums, Differing, Faults, FlipSums, TimeSums};
use super::verdict::{CheckResult, Verdict};
use super::vocabulary::{Cache, CheckName, FlipName, JUDGED, KINDS, LegOutcome, Mode, PairKind};

/// Largest difference of a share of faults that is not held against the candidate. Without any difference it is reached
/// by 492 key-hours.
pub(super) const LIMIT_SHARE: f64 = 0.01;
/// Largest loss of agreement that is not held against the candidate. Without any difference it is reached by 99
/// key-hours.
pub(super) const LIMIT_AGREEMENT: f64 = 0.05;
/// One over the part of a row's scored pairs below which a kind can stop a verdict and not delay it.
pub(super) const MIN_PART: u64 = 20;

/// A row of the report, and its findings without rounding.
#[derive(Debug)]
pub(super) struct Figured {
    pub(super) row: Row,
    pub(super) findings: Vec<Finding>,
    /// Cost of the candidate's answers in the pairs of `row.cost`, in 10⁻⁹ USD.
    pub(super) candidate_cost: u128,
}

impl Figured {
    pub(super) fn of(key: &RowKey, data: &RowData) -> Self {
        let observations = Observations::of(&data.key_hours);
        let mut findings = Vec::new();
        let checks = CheckName::ALL.iter().zip(&data.checks);
        let checks =
            checks.map(|(check, faults)| self::check(*check, *faults, key, &observations, &mut findings)).collect();
        let kinds = kinds(key, data, &observations, &mut findings);
        let scored = data.kinds.iter().map(|sums| sums.n).sum();
        let judged = judge::row(data.pairs, scored, observations.keys, &findings);
        let ratio = |quantity| ratio(&observations, quantity);
        let mut row = Row {
            route: key.route.to_string(),
            model: key.model.to_string(),
            candidate: key.candidate.to_string(),
            served_by: if key.is_served_by_candidate { "candidate" } else { "baseline" },
            sampling: if key.is_sampled { "sampled" } else { "greedy" },
            epoch: key.epoch.to_string(),
            baseline: data.baseline.1.to_string(),
            current: false,
            verdict: judged.verdict,
            why: judged.why,
            needs_pairs: judged.needs_pairs,
            from: instant(data.span.0),
            to: instant(data.span.1),
            pairs: data.pairs,
            keys: observations.keys,
            key_hours: observations.len() as u64,
            thinned: data.key_hours.is_cut(),
            percents: data.percents.iter().map(|percent| f64::from(*percent) / 100.0).collect(),
            outcomes: matrix(&data.outcomes, |position| LegOutcome::ALL.get(position).map(|word| word.as_str())),
            modes: matrix(&data.modes, |position| Mode::ALL.get(position).map(|word| word.as_str())),
            finishes: finishes(data),
            unscored: data.unscored.entries().iter().map(|(reason, n)| (reason.to_string(), *n)).collect(),
            checks,
            kinds,
            flips: flips(&data.flips),
            ttft_ms: ttft(data, &observations),
            total_ms: times(&data.total, ratio(Quantity::Total)),
            length: Pairing { n: data.lengths, ratio: ratio(Quantity::Length) },
            tokens: tokens(data),
            cost: cost(data),
            worst: data.worst.entries().keys().map(worst).collect(),
            notes: Vec::new(),
        };
        row.notes = notes::notes(&row);
        Self { row, findings, candidate_cost: data.cost.candidate.sum }
    }

    /// True if the row says how the candidate answers what the baseline serves.
    pub(super) fn is_of_baseline(&self) -> bool {
        self.row.served_by == "baseline"
    }

    /// True if no verdict was made for want of data.
    pub(super) fn is_open(&self) -> bool {
        self.row.verdict == Verdict::NotEnoughData
    }
}

fn check(
    check: CheckName,
    faults: Faults,
    key: &RowKey,
    observations: &Observations<'_>,
    findings: &mut Vec<Finding>,
) -> Check {
    let scale = if check == CheckName::Script { Scale::Unit } else { Scale::Signed };
    let difference = interval::mean(&observations.of_quantity(Quantity::Check(check)), scale);
    // The failures of a serving candidate fail over and never become pairs.
    let is_blind = check == CheckName::Failed && key.is_served_by_candidate;
    let result = match judge::result(difference.as_ref(), None, LIMIT_SHARE) {
        _ if faults.n == 0 || is_blind => CheckResult::NotJudged,
        result => result,
    };
    findings.push(Finding { name: check.as_str(), result, limit: LIMIT_SHARE, difference });
    let share = |one: u64| share(faults.both + one, faults.n);
    Check {
        check: check.as_str(),
        n: faults.n,
        both: faults.both,
        baseline_only: faults.baseline_only,
        candidate_only: faults.candidate_only,
        share: share(faults.baseline_only)
            .zip(share(faults.candidate_only))
            .map(|(baseline, candidate)| Share { baseline, candidate }),
        difference: difference.map(means),
        limit: LIMIT_SHARE,
        result,
    }
}

/// Returns the kinds that occur, by name; adds the findings of those that are judged, in the order of the verdict's table.
fn kinds(key: &RowKey, data: &RowData, observations: &Observations<'_>, findings: &mut Vec<Finding>) -> Vec<Kind> {
    let scored: u64 = data.kinds.iter().map(|sums| sums.n).sum();
    let mut kinds = Vec::new();
    let mut found = BTreeMap::new();
    for kind in KINDS {
        let Some(sums) = data.kinds.get(kind as usize).filter(|sums| sums.n > 0) else { continue };
        let loss = interval::mean(&observations.of_quantity(Quantity::Loss(kind)), Scale::Unit);
        let difference = interval::mean(&observations.of_quantity(Quantity::Difference(kind)), Scale::Signed);
        let is_side_matter = sums.n * MIN_PART < scored || (key.is_served_by_candidate && sums.floor_n == 0);
        let result = match judge::result(difference.as_ref(), loss.as_ref(), LIMIT_AGREEMENT) {
            _ if !JUDGED.contains(&kind) => CheckResult::NotJudged,
            CheckResult::Open if is_side_matter => CheckResult::NotJudged,
            result => result,
        };
        found.insert(kind.as_str(), (result, difference));
        kinds.push(self::kind(kind, sums, (loss, difference), result));
    }
    for kind in JUDGED {
        if let Some((result, difference)) = found.remove(kind.as_str()) {
            findings.push(Finding { name: agreement_of(kind), result, limit: LIMIT_AGREEMENT, difference });
        }
    }
    kinds
}

/// Returns the name of a kind's agreement among checks and totals.
pub(super) const fn agreement_of(kind: PairKind) -> &'static str {
    match kind {
        PairKind::Tools => "agreement:tools",
        PairKind::Json => "agreement:json",
        PairKind::Short => "agreement:short",
        PairKind::Empty => "agreement:empty",
        PairKind::Refusal => "agreement:refusal",
        PairKind::Text => "agreement:text",
    }
}

#[expect(clippy::cast_precision_loss, reason = "sums are far below 2^53")]
fn kind(
    kind: PairKind,
    sums: &Agreement,
    (loss, difference): (Option<Interval>, Option<Interval>),
    result: CheckResult,
) -> Kind {
    let mean = |sum: u64, n: u64| figure(sum as f64 / 1e4 / n as f64);
    let beside = (sums.floor_sum as f64 - sums.beside_sum as f64) / 1e4 / sums.floor_n as f64;
    Kind {
        kind: kind.as_str(),
        n: sums.n,
        agreement: mean(sums.sum, sums.n),
        floor: KindFloor { n: sums.floor_n, agreement: mean(sums.floor_sum, sums.floor_n) },
        loss: loss.map(means),
        difference: difference.map(means),
        limit: JUDGED.contains(&kind).then_some(LIMIT_AGREEMENT),
        result,
        beside: beside.is_finite().then_some(beside),
    }
}

fn means(interval: Interval) -> Means {
    let Interval { n, mean, low, high } = interval;
    Means { n: n as u64, mean: round(mean), low: round(low), high: round(high) }
}

fn ratio(observations: &Observations<'_>, quantity: Quantity) -> Option<Median> {
    let found = interval::median_ratio(observations.of_quantity(quantity))?;
    let (low, high) = found.bounds.unzip();
    Some(Median {
        n: found.n as u64,
        median: figure(found.median)?,
        low: low.and_then(figure),
        high: high.and_then(figure),
    })
}

fn matrix<const N: usize>(counts: &[[u64; N]; N], word: fn(usize) -> Option<&'static str>) -> Matrix {
    let mut matrix = Matrix::new();
    for (from, row) in counts.iter().enumerate() {
        for (to, n) in row.iter().enumerate().filter(|(_, n)| **n > 0) {
            if let Some((from, to)) = word(from).zip(word(to)) {
                matrix.entry(from.to_owned()).or_default().insert(to.to_owned(), *n);
            }
        }
    }
    matrix
}

fn finishes(data: &RowData) -> Matrix {
    let mut matrix = Matrix::new();
    for ((from, to), n) in data.finishes.entries() {
        matrix.entry(from.to_string()).or_default().insert(to.to_string(), *n);
    }
    matrix
}

fn flips(sums: &[FlipSums; FlipName::ALL.len()]) -> Flips {
    let [finish, exact, tool_names, tools, script, fence] = sums.map(|sums| {
        let Differing { n, count } = sums.floor;
        Flip { n: sums.pairs.n, count: sums.pairs.count, floor: FlipFloor { n, count } }
    });
    Flips { finish, exact, tool_names, tools, script, fence }
}

fn times(sums: &TimeSums, ratio: Option<Median>) -> Times {
    let (baseline, candidate) = (quantiles(&sums.baseline), quantiles(&sums.candidate));
    Times { n: sums.baseline.n(), baseline, candidate, ratio }
}

fn quantiles(histogram: &Histogram) -> Option<Quantiles> {
    let of = |percent| figure(histogram.quantile(percent)? / 1e3);
    Some(Quantiles { p50: of(50)?, p95: of(95)?, p99: of(99)? })
}

fn ttft(data: &RowData, observations: &Observations<'_>) -> Ttft {
    let of = |cache: Cache| Pairing {
        n: data.caches.get(cache as usize).copied().unwrap_or(0),
        ratio: ratio(observations, Quantity::TtftOf(cache)),
    };
    Ttft {
        all: times(&data.ttft, ratio(observations, Quantity::Ttft)),
        cold: of(Cache::Cold),
        warm: of(Cache::Warm),
        mixed: of(Cache::Mixed),
        unknown: of(Cache::Unknown),
    }
}

fn tokens(data: &RowData) -> Sides<TokenSums> {
    let of = |sums: super::sums::TokenSums| TokenSums { input: sums.input, output: sums.output };
    Sides { n: data.tokens.n, baseline: of(data.tokens.baseline), candidate: of(data.tokens.candidate) }
}

fn cost(data: &RowData) -> Cost {
    let n = data.cost.n;
    #[expect(clippy::cast_precision_loss, reason = "sums of money below 10^6 USD keep every decimal")]
    let side = |sums: CostSums| {
        let per_1000 = |answers: u64| figure(1000.0 * (sums.sum as f64 / 1e9) / answers as f64);
        CostSide { per_1000: per_1000(n), good: sums.good, per_1000_good: per_1000(sums.good) }
    };
    Cost { n, coverage: share(n, data.pairs), baseline: side(data.cost.baseline), candidate: side(data.cost.candidate) }
}

fn worst(pair: &WorstPair) -> Worst {
    Worst {
        id: pair.id.to_string(),
        trace_id: pair.trace_id.to_string(),
        at: instant(pair.at),
        kind: pair.kind.map(PairKind::as_str),
        agreement: pair.agreement.map(|agreement| f64::from(agreement) / 1e4),
        outcome: pair.outcome.as_str(),
    }
}
