//! The report as a value, in the shape of its JSON: fields in their order, numbers rounded, null for nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::shape_row::Row;
use super::verdict::Verdict;

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of the shape.
    pub v: u8,
    /// Version of shiftgate.
    pub version: &'static str,
    /// Time of the first line.
    pub from: Option<String>,
    /// Time of the last line.
    pub to: Option<String>,
    /// Number of files that were read.
    pub files: u64,
    /// Number of processes that wrote the lines.
    pub instances: u64,
    /// Lines by kind.
    pub lines: Lines,
    /// Rows that are only counted.
    pub other: Other,
    /// Verdicts by route and candidate.
    pub routes: Vec<Route>,
    /// Rows in their order.
    pub rows: Vec<Row>,
    /// Totals over routes or rows, by candidate.
    pub totals: Vec<Total>,
    /// Bills by candidate.
    pub money: Vec<Money>,
    /// Models that their vendor switches off.
    pub ends: Vec<Ends>,
}

/// Lines by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Pairs that the filter chose.
    pub pairs: u64,
    /// Counts that the filter chose.
    pub counts: u64,
    /// Lines that change no figure.
    pub skipped: Skipped,
}

/// Lines that change no figure, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Lines that begin with `{` and do not parse.
    pub torn: u64,
    /// Lines that are no record.
    pub foreign: u64,
    /// Lines of a later version of the schema.
    pub newer: u64,
    /// Lines of more than 4 MiB.
    pub too_long: u64,
}

/// Rows beyond the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Number of rows.
    pub rows: u64,
    /// Number of their pairs.
    pub pairs: u64,
}

/// Verdict of a candidate on a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Name of the route.
    pub route: String,
    /// Name of the candidate.
    pub candidate: String,
    /// Name of the baseline.
    pub baseline: String,
    /// Epoch of the rows that decide.
    pub epoch: String,
    /// Positions of the current rows in `rows`.
    pub rows: Vec<usize>,
    /// Verdict.
    pub verdict: Verdict,
    /// Checks that stand in the way.
    pub why: Vec<&'static str>,
    /// Number of pairs that are missing for `ready`, if both sides do not differ.
    pub needs_pairs: Option<u64>,
    /// Verdict in words.
    pub says: String,
    /// Time that counts cover.
    pub hours: f64,
    /// Share of the requests chosen for a copy that was sent, of those that could be copied.
    pub admitted: Option<f64>,
    /// Requests that were chosen for a copy, by result.
    pub shadow: Shadow,
    /// Served requests by backend.
    pub served: BTreeMap<String, Served>,
}

/// Requests that were chosen for a copy, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// The copy was sent.
    pub sent: u64,
    /// The application declined it.
    pub opted_out: u64,
    /// Requests of this kind are not copied.
    pub ineligible: u64,
    /// Residency rules keep it from the receiver.
    pub residency: u64,
    /// The receiver's engine cannot serve it.
    pub untranslatable: u64,
    /// The receiver was failing, busy or near its limit.
    pub unwell: u64,
    /// Too many copies were running.
    pub in_flight: u64,
    /// The copies took too much memory.
    pub bytes: u64,
    /// The copies cost too much.
    pub budget: u64,
}

impl Shadow {
    /// Requests that were chosen for a copy and fit for one. A file can hold any numbers, so that the sum saturates.
    pub(super) fn fit(&self) -> u64 {
        [self.unwell, self.in_flight, self.bytes, self.budget].into_iter().fold(self.sent, u64::saturating_add)
    }
}

/// Served requests of one backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Served {
    /// Requests for which the split chose it.
    pub chosen: u64,
    /// Requests that were sent to it.
    pub attempted: u64,
    /// Requests that it answered.
    pub served: u64,
    /// Requests that failed by its fault.
    pub failed: u64,
    /// Cost of `priced`, in USD.
    pub usd: Option<f64>,
    /// Answers with a known cost.
    pub priced: u64,
}

/// A figure over several routes or rows, candidate minus baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// Name of the candidate.
    pub candidate: String,
    /// Name of the figure.
    pub what: &'static str,
    /// Weighted sum of the rows.
    pub value: f64,
    /// Everything thrown together.
    pub pooled: f64,
    /// True if all rows have one sign and `pooled` has the other.
    pub reversed: bool,
    /// Parts.
    pub rows: Vec<TotalRow>,
    /// Warning in words.
    pub says: Option<String>,
}

/// Part of a total.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TotalRow {
    /// Name of the route.
    pub route: String,
    /// Position in `rows`; `None` for a whole route.
    pub row: Option<usize>,
    /// Candidate minus baseline.
    pub value: f64,
    /// Weight; all together are 1.
    pub weight: f64,
}

/// Bill of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Money {
    /// Name of the candidate.
    pub candidate: String,
    /// Requests a day on its routes.
    pub requests_per_day: Option<f64>,
    /// USD for 1,000 answers of the baseline.
    pub baseline_usd_per_1000: Option<f64>,
    /// USD for 1,000 answers of the candidate.
    pub candidate_usd_per_1000: Option<f64>,
    /// USD a month for what the baseline serves.
    pub baseline_usd_per_month: Option<f64>,
    /// USD a month if the baseline served all.
    pub all_baseline_usd_per_month: Option<f64>,
    /// USD a month for the candidate's GPUs.
    pub gpus_usd_per_month: Option<f64>,
    /// Rate at which the GPUs cost as much as the baseline.
    pub break_even: Option<BreakEven>,
}

/// Rate at which the GPUs cost as much as the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BreakEven {
    /// Requests a day.
    pub requests_per_day: f64,
    /// That in percent of the rate in force.
    pub percent: Option<f64>,
}

/// Model that its vendor switches off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// Name of the backend.
    pub backend: String,
    /// Name of the model.
    pub model: String,
    /// Date.
    pub ends: String,
    /// Days from the last line to it; negative when it is over.
    pub days: i64,
}
