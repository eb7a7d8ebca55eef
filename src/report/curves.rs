//! Curves of the page: what its charts draw beside the figures of the report.

use super::days::Days;
use super::quantile::Histogram;
use super::row::RowData;
use super::sums::TimeSums;
use super::vocabulary::{KINDS, PairKind};

/// Thousandths at which a curve of times has a point: each percent, and the tail more finely.
const TAIL: [u64; 3] = [995, 999, 1000];

/// Curves of every row, in the order of the report's rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    pub(super) rows: Vec<RowCurves>,
}

/// Curves of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RowCurves {
    pub(super) ttft: Sides,
    pub(super) total: Sides,
    /// Agreement by day of the kinds that occur, by name.
    pub(super) kinds: Vec<KindDays>,
    /// Latest days that are kept, if earlier ones were dropped.
    pub(super) only_latest: Option<usize>,
}

/// Distribution of a time on both sides: at most 103 points each, in milliseconds and the share of answers that were not
/// slower.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sides {
    pub(super) baseline: Vec<(f64, f64)>,
    pub(super) candidate: Vec<(f64, f64)>,
}

/// Agreement of one kind by day.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KindDays {
    pub(super) kind: &'static str,
    /// The earliest first.
    pub(super) days: Vec<Day>,
}

/// Agreement of one kind on one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Day {
    /// Days since 1970, UTC.
    pub(super) day: i64,
    pub(super) agreement: f64,
    /// Agreement of the baseline with itself; `None` without noise legs.
    pub(super) floor: Option<f64>,
}

impl Curves {
    /// Returns the curves of rows.
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a RowData>) -> Self {
        Self { rows: rows.map(RowCurves::of).collect() }
    }
}

impl RowCurves {
    fn of(data: &RowData) -> Self {
        let days = |kind: &PairKind| KindDays { kind: kind.as_str(), days: days(&data.days, *kind) };
        Self {
            ttft: Sides::of(&data.ttft),
            total: Sides::of(&data.total),
            kinds: KINDS.iter().map(days).filter(|of| !of.days.is_empty()).collect(),
            only_latest: data.days.is_cut().then(|| data.days.len()),
        }
    }
}

impl Sides {
    fn of(sums: &TimeSums) -> Self {
        Self { baseline: curve(&sums.baseline), candidate: curve(&sums.candidate) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn curve(histogram: &Histogram) -> Vec<(f64, f64)> {
    let n = histogram.n();
    let mut ranks: Vec<u64> = (0..=99).map(|percent| percent * 10).chain(TAIL).collect();
    for rank in &mut ranks {
        *rank = u64::try_from(u128::from(n) * u128::from(*rank) / 1000).unwrap_or(n).max(1);
    }
    ranks.dedup();
    let values = histogram.of_ranks(ranks.iter().copied());
    ranks.iter().zip(values).map(|(rank, value)| (value / 1e3, *rank as f64 / n as f64)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "sums are far below 2^53")]
fn days(days: &Days, kind: PairKind) -> Vec<Day> {
    let mean = |sum: u64, n: u64| sum as f64 / 1e4 / n as f64;
    let of = |(day, sums): (i64, super::sums::Agreement)| Day {
        day,
        agreement: mean(sums.sum, sums.n),
        floor: (sums.floor_n > 0).then(|| mean(sums.floor_sum, sums.floor_n)),
    };
    days.of(kind).map(of).collect()
}
