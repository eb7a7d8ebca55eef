//! Report: lines of records become figures, intervals and a verdict.
//!
//! Owns: the reading of lines, the sums over them, the figures and their intervals, the verdict, the words for all of
//! them. Does not: open files, ask a network or a clock. Invariant: the same lines give the same report in whatever
//! order they come, in bounded memory; a verdict is never `ready` for want of data; no line makes it panic.

mod blocks;
mod bounds;
mod caveats;
mod cell;
mod collect;
mod curves;
mod days;
mod ends;
mod figures;
mod filter;
mod html;
mod interval;
mod judge;
mod kept;
mod key_hours;
mod line;
mod lines;
mod markdown;
mod money;
mod notes;
mod page;
mod page_row;
mod part;
mod quantile;
mod read;
mod round;
mod routes;
mod row;
mod shape;
mod shape_row;
#[cfg(test)]
mod simulated;
mod sums;
mod text;
mod totals;
mod traffic;
mod verdict;
mod vocabulary;
mod words;

pub use bounds::Bounds;
pub use collect::Collector;
pub use curves::Curves;
pub(crate) use ends::ends_in;
pub use filter::{Filter, NotATime, instant};
pub use html::html;
pub use interval::{Interval, MedianRatio, Scale, mean, median_ratio};
pub use lines::{MAX_LINE, each_line};
pub use markdown::markdown;
pub use money::GpuPrices;
pub use quantile::Histogram;
pub use shape::{BreakEven, Ends, Lines, Money, Other, Report, Route, Served, Shadow, Skipped, Total, TotalRow};
pub use shape_row::{
    Check, Cost, CostSide, Flip, FlipFloor, Flips, Kind, KindFloor, Matrix, Means, Median, Note, Pairing, Quantiles,
    Row, Share, Sides, Times, TokenSums, Ttft, Worst,
};
pub use text::{text, verdicts};
pub(crate) use text::{visible, wrapped};
pub use verdict::{CheckResult, Verdict};
