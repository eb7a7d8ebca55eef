//! Agreement by day, for the page: days are no part of the JSON and of no verdict.

use std::cmp::Reverse;

use super::kept::Kept;
use super::line::Pair;
use super::sums::Agreement;
use super::vocabulary::PairKind;

/// Limit on the days of a row: its latest, a year and a month. The page says when there were more.
pub(super) const OF_ROW: usize = 400;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Days of a row, the latest first.
#[derive(Debug, Clone)]
pub(super) struct Days(Kept<Reverse<i64>, Kinds>);

/// Agreement of one day by kind: only kinds that occur, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Kinds(Vec<(PairKind, Agreement)>);

impl Default for Days {
    fn default() -> Self {
        Self(Kept::new(OF_ROW))
    }
}

impl Days {
    /// Adds a pair, if it has an agreement; `limit` is that of the days of each row.
    pub(super) fn add(&mut self, pair: &Pair<'_>, limit: usize) {
        let Some((kind, agreement, floor)) = pair.agreements() else { return };
        self.0.truncate(limit);
        if let Some(kinds) = self.0.entry(&Reverse(pair.at.div_euclid(DAY))) {
            kinds.sums(kind).add(agreement, floor);
        }
    }

    /// Lowers the limit on the days.
    pub(super) fn truncate(&mut self, limit: usize) {
        self.0.truncate(limit);
    }

    /// Number of days.
    pub(super) fn len(&self) -> usize {
        self.0.entries().len()
    }

    /// True if earlier days were dropped.
    pub(super) const fn is_cut(&self) -> bool {
        self.0.is_cut()
    }

    /// Returns the days on which a kind occurs, the earliest first: days since 1970, UTC, and its sums.
    pub(super) fn of(&self, kind: PairKind) -> impl Iterator<Item = (i64, Agreement)> {
        let of = move |(Reverse(day), kinds): (&Reverse<i64>, &Kinds)| {
            let (_, sums) = kinds.0.iter().find(|(of, _)| *of == kind)?;
            Some((*day, *sums))
        };
        self.0.entries().iter().rev().filter_map(of)
    }
}

impl Kinds {
    fn sums(&mut self, kind: PairKind) -> &mut Agreement {
        let position = self.0.iter().position(|(of, _)| *of == kind).unwrap_or_else(|| {
            // A day has one or two kinds, and there are many days.
            self.0.reserve_exact(1);
            self.0.push((kind, Agreement::default()));
            self.0.len() - 1
        });
        &mut self.0[position].1
    }
}
