//! Verdicts and results, as words.

use serde::{Deserialize, Serialize};

/// Answer to the question whether a candidate may take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check excludes that the candidate is worse than its limit.
    Ready,
    /// A check shows that the candidate is worse than its limit.
    NotReady,
    /// Neither can be said.
    NotEnoughData,
}

impl Verdict {
    /// Name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::NotEnoughData => "not_enough_data",
        }
    }
}

/// Result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// The difference is above the limit.
    Worse,
    /// The difference is not above the limit.
    Ok,
    /// The interval holds the limit.
    Open,
    /// The check says nothing here.
    NotJudged,
}
