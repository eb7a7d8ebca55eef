//! Rows: pairs that may be pooled, and their sums.

use std::collections::BTreeSet;

use super::cell::{Cell, Observed, Quantity};
use super::days::Days;
use super::kept::Kept;
use super::key_hours::KeyHour;
use super::line::Pair;
use super::sums::{Agreement, Both, CostSums, Faults, FlipSums, TimeSums, TokenSums};
use super::vocabulary::{Cache, CheckName, FlipName, LegOutcome, Mode, PairKind, is_nobodys};

/// Number of pairs that are listed as the worst.
const WORST: usize = 10;
/// Limit on the pairs of finish reasons of a row; more are left out, the last ones by name. Vendors know six reasons.
const FINISHES: usize = 64;
/// Limit on the reasons of null agreements of a row; more are left out, the last ones by name. The schema has 17.
const REASONS: usize = 64;

/// Name of a row. Nothing is pooled over rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) route: Box<str>,
    pub(super) model: Box<str>,
    pub(super) candidate: Box<str>,
    pub(super) is_served_by_candidate: bool,
    pub(super) is_sampled: bool,
    pub(super) epoch: Box<str>,
}

/// Sums of a row.
#[derive(Debug, Clone)]
pub(super) struct RowData {
    pub(super) pairs: u64,
    /// Milliseconds since 1970 of the first and of the last pair.
    pub(super) span: (i64, i64),
    /// Time of the last pair, and the baseline's name then.
    pub(super) baseline: (i64, Box<str>),
    /// Shares in force, in hundredths of a percent: at most 10,001.
    pub(super) percents: BTreeSet<u16>,
    pub(super) outcomes: [[u64; LegOutcome::ALL.len()]; LegOutcome::ALL.len()],
    pub(super) modes: [[u64; Mode::ALL.len()]; Mode::ALL.len()],
    pub(super) finishes: Kept<(Box<str>, Box<str>), u64>,
    pub(super) unscored: Kept<Box<str>, u64>,
    pub(super) checks: [Faults; CheckName::ALL.len()],
    pub(super) kinds: [Agreement; PairKind::ALL.len()],
    pub(super) flips: [FlipSums; FlipName::ALL.len()],
    pub(super) ttft: TimeSums,
    pub(super) caches: [u64; Cache::COUNT],
    pub(super) total: TimeSums,
    pub(super) lengths: u64,
    pub(super) tokens: Both<TokenSums>,
    pub(super) cost: Both<CostSums>,
    pub(super) worst: Kept<WorstPair, ()>,
    pub(super) key_hours: Kept<KeyHour, Cell>,
    /// Agreement by day: the collector adds to it, because it has the limit.
    pub(super) days: Days,
}

/// A pair of the worst, in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WorstPair {
    rank: Rank,
    pub(super) id: Box<str>,
    pub(super) trace_id: Box<str>,
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) kind: Option<PairKind>,
    /// 10⁻⁴.
    pub(super) agreement: Option<u32>,
    pub(super) outcome: LegOutcome,
}

/// Order of the worst pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Failed,
    Differs(u32),
    TextDiffers(u32),
}

impl RowKey {
    pub(super) fn of(pair: &Pair<'_>) -> Self {
        Self {
            route: pair.route.as_ref().into(),
            model: pair.model.as_ref().into(),
            candidate: pair.candidate.backend.as_ref().into(),
            is_served_by_candidate: pair.is_served_by_candidate,
            is_sampled: !pair.is_greedy,
            epoch: pair.epoch.as_ref().into(),
        }
    }
}

impl Default for RowData {
    fn default() -> Self {
        Self {
            pairs: 0,
            span: (i64::MAX, i64::MIN),
            baseline: (i64::MIN, Box::default()),
            percents: BTreeSet::new(),
            outcomes: Default::default(),
            modes: Default::default(),
            finishes: Kept::new(FINISHES),
            unscored: Kept::new(REASONS),
            checks: Default::default(),
            kinds: Default::default(),
            flips: Default::default(),
            ttft: TimeSums::default(),
            caches: Default::default(),
            total: TimeSums::default(),
            lengths: 0,
            tokens: Both::default(),
            cost: Both::default(),
            worst: Kept::new(WORST),
            key_hours: Kept::new(usize::MAX),
            days: Days::default(),
        }
    }
}

impl RowData {
    /// Adds a pair; `limit` is that of the key-hours of each row. Without `has_times` its times and its length are left out.
    pub(super) fn add(&mut self, pair: &Pair<'_>, limit: usize, has_times: bool) {
        self.pairs += 1;
        self.span = (self.span.0.min(pair.at), self.span.1.max(pair.at));
        let (at, name) = &self.baseline;
        if (*at, name.as_ref()) < (pair.at, pair.baseline.backend.as_ref()) {
            self.baseline = (pair.at, pair.baseline.backend.as_ref().into());
        }
        if let Some(percent) = pair.percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
            self.percents.insert((percent * 100.0).round() as u16);
        }
        count(&mut self.outcomes, pair.baseline.outcome as usize, pair.candidate.outcome as usize);
        self.tokens.add(pair);
        self.cost.add(pair);
        if let Some(worst) = WorstPair::of(pair) {
            self.worst.entry(&worst);
        }
        let mut observed = Observed::default();
        for (check, sums) in CheckName::ALL.iter().zip(&mut self.checks) {
            if let Some(faults) = pair.faults(*check) {
                sums.add(faults);
                observed.check(*check, faults);
            }
        }
        agreement(pair, &mut self.kinds, &mut observed);
        if pair.scores.scored().is_none()
            && let Some(count) = self.unscored.entry(&pair.scores.reason.as_ref().into())
        {
            *count += 1;
        }
        if pair.is_ok() {
            if has_times {
                self.add_times(pair, &mut observed);
            }
            self.add_matches(pair);
        }
        self.key_hours.truncate(limit);
        if let Some(cell) = self.key_hours.entry(&KeyHour::of(pair)) {
            cell.add(&observed);
        }
    }

    /// Adds the times and the length of an ok pair.
    fn add_times(&mut self, pair: &Pair<'_>, observed: &mut Observed) {
        if let Some(times) = pair.baseline.ttft.zip(pair.candidate.ttft) {
            self.ttft.add(times);
            let cache = cache(pair);
            if let Some(count) = self.caches.get_mut(cache as usize) {
                *count += 1;
            }
            if let Some(ratio) = ratio(times) {
                observed.add(Quantity::Ttft, ratio);
                observed.add(Quantity::TtftOf(cache), ratio);
            }
        }
        if let Some(times) = pair.baseline.total.zip(pair.candidate.total) {
            self.total.add(times);
            if let Some(ratio) = ratio(times) {
                observed.add(Quantity::Total, ratio);
            }
        }
        if let Some(length) = pair.scores.length_ratio {
            self.lengths += 1;
            observed.add(Quantity::Length, logarithm(length));
        }
    }

    /// Adds the modes, finish reasons and equalities of an ok pair.
    fn add_matches(&mut self, pair: &Pair<'_>) {
        if let Some((baseline, candidate)) = pair.baseline.mode.zip(pair.candidate.mode) {
            count(&mut self.modes, baseline as usize, candidate as usize);
        }
        if let Some((baseline, candidate)) = pair.baseline.finish.as_ref().zip(pair.candidate.finish.as_ref())
            && let Some(count) = self.finishes.entry(&(baseline.as_ref().into(), candidate.as_ref().into()))
        {
            *count += 1;
        }
        for (position, sums) in self.flips.iter_mut().enumerate() {
            sums.add(position, &pair.scores, pair.floor.as_ref());
        }
    }
}

impl WorstPair {
    /// Returns the pair's place among the worst; `None` for one that is not bad.
    fn of(pair: &Pair<'_>) -> Option<Self> {
        let is_failed = pair.baseline.outcome == LegOutcome::Ok
            && pair.candidate.outcome != LegOutcome::Ok
            && !is_nobodys(pair.candidate.outcome);
        let rank = match pair.scores.scored() {
            _ if is_failed => Rank::Failed,
            None | Some((_, 10_000)) => return None,
            Some((PairKind::Text, agreement)) => Rank::TextDiffers(agreement),
            Some((_, agreement)) => Rank::Differs(agreement),
        };
        Some(Self {
            rank,
            id: pair.id.as_ref().into(),
            trace_id: pair.trace_id.as_ref().into(),
            at: pair.at,
            kind: pair.scores.kind,
            agreement: pair.scores.agreement,
            outcome: pair.candidate.outcome,
        })
    }
}

fn agreement(pair: &Pair<'_>, kinds: &mut [Agreement], observed: &mut Observed) {
    let Some((kind, agreement, floor)) = pair.agreements() else { return };
    if let Some(sums) = kinds.get_mut(kind as usize) {
        sums.add(agreement, floor);
    }
    observed.add(Quantity::Loss(kind), 10_000 - i64::from(agreement));
    if let Some(floor) = floor {
        observed.add(Quantity::Difference(kind), i64::from(floor) - i64::from(agreement));
    }
}

fn cache(pair: &Pair<'_>) -> Cache {
    match (pair.baseline.is_warm, pair.candidate.is_warm) {
        (Some(true), Some(true)) => Cache::Warm,
        (Some(false), Some(false)) => Cache::Cold,
        (Some(_), Some(_)) => Cache::Mixed,
        _ => Cache::Unknown,
    }
}

/// Returns the logarithm of the candidate's time over the baseline's; `None` where one is 0.
fn ratio((baseline, candidate): (u64, u64)) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "times are below 2^53 microseconds")]
    (baseline > 0 && candidate > 0).then(|| logarithm(candidate as f64 / baseline as f64))
}

/// Returns the logarithm in 10⁻⁹.
#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is below 800")]
fn logarithm(ratio: f64) -> i64 {
    (ratio.ln() * 1e9).round() as i64
}

fn count<const N: usize>(matrix: &mut [[u64; N]; N], from: usize, to: usize) {
    if let Some(count) = matrix.get_mut(from).and_then(|row| row.get_mut(to)) {
        *count += 1;
    }
}
