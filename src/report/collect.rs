//! The collector: takes lines in any order, in one pass, and gives the report.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::bounds::Bounds;
use super::curves::Curves;
use super::days;
use super::figures::Figured;
use super::filter::Filter;
use super::key_hours::{self, hash};
use super::line::{Counts, Line, Pair, Skip};
use super::money::{self, GpuPrices};
use super::read;
use super::round;
use super::routes::{self, Epochs};
use super::row::{RowData, RowKey};
use super::shape::{Lines, Other, Report, Skipped};
use super::totals;
use super::traffic::Traffic;

/// Milliseconds without a pair after which a row makes room for another, in a process that lives on: one day.
const IDLE: i64 = 24 * 3_600_000;

/// Takes lines and gives the report.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    filter: Filter,
    bounds: Bounds,
    lines: Lines,
    /// Milliseconds since 1970 of the first and of the last line.
    span: Option<(i64, i64)>,
    /// Hashes of the instances' names.
    instances: HashSet<u64>,
    rows: Rows,
    traffic: Traffic,
}

/// Rows by name.
#[derive(Debug, Clone)]
struct Rows {
    bounds: Bounds,
    rows: BTreeMap<RowKey, RowData>,
    /// Key-hours of all rows.
    key_hours: usize,
    /// Limit on the key-hours of each row.
    limit: usize,
    /// Days of all rows.
    days: usize,
    /// Limit on the days of each row.
    days_limit: usize,
    /// Hashes of the names of the rows that are only counted.
    others: HashSet<u64>,
    other_pairs: u64,
}

impl Default for Rows {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Collector {
    /// Makes a collector of the lines that the filter chooses.
    pub fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Makes a collector of all lines, with these bounds.
    pub fn bounded(bounds: Bounds) -> Self {
        Self { bounds, rows: Rows::new(bounds), ..Self::default() }
    }

    /// Number of pairs so far.
    pub const fn pairs(&self) -> u64 {
        self.lines.pairs
    }

    /// Takes a line without its end; `None` stands for one that was too long to be read.
    pub fn line(&mut self, line: Option<&[u8]>) {
        let Some(line) = line else {
            self.lines.skipped.too_long += 1;
            return;
        };
        match read::read(line) {
            Line::Blank => {}
            Line::Pair(pair) => {
                if self.filter.has_pair(&pair) {
                    self.pair(&pair);
                }
            }
            Line::Counts(counts) => {
                if self.filter.has_counts(&counts) {
                    self.counts(&counts);
                }
            }
            Line::Skipped(skip) => self.lines.skipped.add(skip),
        }
    }

    fn pair(&mut self, pair: &Pair<'_>) {
        self.lines.pairs += 1;
        self.seen(pair.at, &pair.instance);
        self.rows.add(pair);
    }

    fn counts(&mut self, counts: &Counts<'_>) {
        self.lines.counts += 1;
        self.seen(counts.at, &counts.instance);
        self.traffic.add(counts);
    }

    fn seen(&mut self, at: i64, instance: &str) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        if self.instances.len() < self.bounds.distinct {
            self.instances.insert(hash(instance.as_bytes()));
        }
    }

    /// Returns the report of all lines so far; `files` is the number of files that they came from.
    pub fn report(self, files: u64, prices: &GpuPrices) -> Report {
        self.report_and_curves(files, prices).0
    }

    /// Returns the report, and the curves that its page draws.
    pub fn report_and_curves(self, files: u64, prices: &GpuPrices) -> (Report, Curves) {
        let (rows, epochs, other) = self.rows.finish();
        let curves = Curves::of(rows.iter().map(|(_, data)| data));
        let mut figured: Vec<Figured> = rows.iter().map(|(key, data)| Figured::of(key, data)).collect();
        for one in &mut figured {
            one.row.current = epochs.is_current(&one.row);
        }
        let routes = routes::routes(&figured, &self.traffic);
        let totals = totals::totals(&figured, &self.traffic);
        let money = money::money(&figured, &self.traffic, prices);
        let ends = routes::ends(&self.traffic, self.span.map(|(_, last)| last));
        let report = Report {
            v: 1,
            version: env!("CARGO_PKG_VERSION"),
            from: self.span.and_then(|(first, _)| round::instant(first)),
            to: self.span.and_then(|(_, last)| round::instant(last)),
            files,
            instances: self.instances.len() as u64,
            lines: self.lines,
            other,
            routes,
            rows: figured.into_iter().map(|figured| figured.row).collect(),
            totals,
            money,
            ends,
        };
        (report, curves)
    }
}

impl Skipped {
    const fn add(&mut self, skip: Skip) {
        match skip {
            Skip::Torn => self.torn += 1,
            Skip::Foreign => self.foreign += 1,
            Skip::Newer => self.newer += 1,
        }
    }
}

impl Rows {
    fn new(bounds: Bounds) -> Self {
        let (rows, others) = (BTreeMap::new(), HashSet::new());
        let (limit, days_limit) = (usize::MAX, days::OF_ROW);
        Self { bounds, rows, key_hours: 0, limit, days: 0, days_limit, others, other_pairs: 0 }
    }

    fn add(&mut self, pair: &Pair<'_>) {
        let key = RowKey::of(pair);
        if !self.rows.contains_key(&key) && !self.has_room(&key, pair.at) {
            return;
        }
        let row = self.rows.entry(key).or_default();
        let before = row.key_hours.entries().len();
        row.add(pair, self.limit, !self.bounds.is_live);
        self.key_hours = self.key_hours - before + row.key_hours.entries().len();
        let before = row.days.len();
        if self.bounds.days > 0 {
            row.days.add(pair, self.days_limit);
        }
        self.days = self.days - before + row.days.len();
        if self.key_hours > self.bounds.key_hours + self.bounds.slack {
            self.thin(usize::MAX);
        }
        if self.days > self.bounds.days + self.bounds.slack {
            self.thin_days(usize::MAX);
        }
    }

    /// Makes room for a new row; false if the row itself is only counted.
    fn has_room(&mut self, key: &RowKey, at: i64) -> bool {
        if self.rows.len() >= self.bounds.rows_summed && self.bounds.is_live {
            self.forget(key, at);
        }
        if self.rows.len() < self.bounds.rows_summed {
            return true;
        }
        match self.rows.last_entry() {
            Some(last) if last.key() > key && !self.bounds.is_live => {
                let (key, data) = last.remove_entry();
                self.key_hours -= data.key_hours.entries().len();
                self.days -= data.days.len();
                self.leave_out(&key, data.pairs);
                true
            }
            _ => {
                self.leave_out(key, 1);
                false
            }
        }
    }

    /// Drops the rows that are over when a pair of a new row comes.
    fn forget(&mut self, key: &RowKey, at: i64) {
        let mut epochs = Epochs::default();
        epochs.add(key, at);
        for (key, row) in &self.rows {
            epochs.add(key, row.span.1);
        }
        self.rows.retain(|key, row| epochs.is_last(key) && row.span.1.saturating_add(IDLE) > at);
        self.key_hours = self.rows.values().map(|row| row.key_hours.entries().len()).sum();
        self.days = self.rows.values().map(|row| row.days.len()).sum();
        // The limit of the rows that are left counts anew when they have grown.
        self.limit = usize::MAX;
    }

    fn leave_out(&mut self, key: &RowKey, pairs: u64) {
        self.other_pairs += pairs;
        if self.others.len() < self.bounds.distinct {
            self.others.insert(hash(format!("{key:?}").as_bytes()));
        }
    }

    /// Cuts the key-hours of the rows, so that all together are within their bound, and each row's at most `most`.
    fn thin(&mut self, most: usize) {
        if self.key_hours > self.bounds.key_hours {
            let lengths = self.rows.values().map(|row| row.key_hours.entries().len()).collect();
            self.limit = self.limit.min(key_hours::limit(lengths, self.bounds.key_hours));
        }
        self.limit = self.limit.min(most);
        for row in self.rows.values_mut() {
            row.key_hours.truncate(self.limit);
        }
        self.key_hours = self.rows.values().map(|row| row.key_hours.entries().len()).sum();
    }

    /// Cuts the days of the rows, so that all together are within their bound, and each row's at most `most`.
    fn thin_days(&mut self, most: usize) {
        if self.days > self.bounds.days {
            let lengths = self.rows.values().map(|row| row.days.len()).collect();
            self.days_limit = self.days_limit.min(key_hours::limit(lengths, self.bounds.days));
        }
        self.days_limit = self.days_limit.min(most);
        for row in self.rows.values_mut() {
            row.days.truncate(self.days_limit);
        }
        self.days = self.rows.values().map(|row| row.days.len()).sum();
    }

    /// Returns the rows of the report in their order, the epochs in force, and the count of the other rows.
    fn finish(mut self) -> (Vec<(RowKey, RowData)>, Epochs, Other) {
        let Bounds { key_hours, rows: most_rows, rows_summed, days, is_live, .. } = self.bounds;
        let most = |all: usize| if self.others.is_empty() || is_live { usize::MAX } else { all / rows_summed };
        let (most, most_days) = (most(key_hours), most(days));
        self.thin(most);
        self.thin_days(most_days);
        let mut epochs = Epochs::default();
        for (key, row) in &self.rows {
            epochs.add(key, row.span.1);
        }
        let mut rows: Vec<(RowKey, RowData)> = self.rows.into_iter().collect();
        rows.sort_by_key(|(_, row)| Reverse(row.pairs));
        let others = rows.split_off(rows.len().min(most_rows));
        let pairs: u64 = others.iter().map(|(_, row)| row.pairs).sum();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        let other = Other { rows: (self.others.len() + others.len()) as u64, pairs: self.other_pairs + pairs };
        (rows, epochs, other)
    }
}

#[cfg(test)]
mod tests;
