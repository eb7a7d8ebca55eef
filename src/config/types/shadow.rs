//! Copies of requests and the file of records.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{BackendId, Percent};

/// `[shadow]`: copies of requests to the other side.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Share of eligible requests that are copied.
    pub percent: Percent,
    /// Receiver of the copies.
    pub to: ShadowTo,
    /// Number of copies in flight at once.
    pub max_in_flight: usize,
    /// Bytes of copies held in memory at once.
    pub max_bytes: u64,
    /// Limit, in USD, on the cost of copies in one hour.
    pub budget_usd_per_hour: f64,
    /// Share of copied requests that the baseline gets a second time, to measure how much its own answers vary.
    pub noise_percent: Percent,
    /// Deadline of one copy.
    pub timeout: Duration,
}

/// Receiver of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowTo {
    /// This candidate gets copies of the baseline's requests.
    Candidate(BackendId),
    /// The baseline gets copies of the candidates' requests.
    Baseline,
    /// Copies go in both directions.
    Both,
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
