//! Copies of requests and the file of records.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{BackendId, Percent};

/// `[shadow]`: copies of requests to other backends, whose answers are compared and never served.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Share of eligible requests that are copied, on routes without a percent of their own.
    pub percent: Percent,
    /// Receivers of the copies, in the file's order; not empty, without duplicates. What another backend served is
    /// copied to each of them where one of the two is the baseline.
    pub to: Vec<BackendId>,
    /// Number of copies in flight at once; above it a request is not copied.
    pub max_in_flight: usize,
    /// Bytes of copies and their answers held in memory at once; above it a request is not copied.
    pub max_bytes: u64,
    /// Limit, in USD, on the cost of copies in one hour.
    pub budget_usd_per_hour: f64,
    /// Share of copied requests of the baseline that it gets a second time, to measure how much its own answers vary.
    pub noise_percent: Percent,
    /// Deadline of one copy.
    pub timeout: Duration,
}

/// `shadow` of a `[[route]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteShadow {
    /// `true`, or not given: `[shadow]`'s percent holds.
    Inherit,
    /// `false`: requests of the route are never copied.
    Never,
    /// The route's own percent, in place of `[shadow]`'s.
    Percent(Percent),
}

/// `[records]`: one line for each compared pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Resolved path of the file.
    pub path: PathBuf,
    /// True if prompts and answers are written too.
    pub content: bool,
    /// Size, in bytes, at which a new file is begun.
    pub max_size: u64,
    /// Number of finished files that are kept.
    pub keep: u32,
}
