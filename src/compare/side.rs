//! One side of a pair.

use super::answer::Answer;
use super::vocabulary::{LegOutcome, NullReason};

/// Facts of one leg that a comparison needs.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// End of the leg.
    pub outcome: LegOutcome,
    /// True if the answer was longer than is kept of one.
    pub is_over_cap: bool,
    /// The answer; only that of an `ok` leg within its cap is looked at.
    pub answer: Option<&'a Answer>,
    /// True if the answer was streamed.
    pub is_stream: bool,
    /// True if the answer waited for its client for more than a tenth of its time.
    pub is_slow_client: bool,
    /// Time to the first content, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Time to the end of the answer, in milliseconds.
    pub total_ms: Option<f64>,
    /// Output tokens by usage.
    pub output_tokens: Option<u64>,
    /// Cost by price, in USD.
    pub cost_usd: Option<f64>,
}

impl<'a> Side<'a> {
    /// Returns the answer that scores are about, or the reason for which there is none.
    pub(super) fn scored(&self) -> Result<&'a Answer, NullReason> {
        match self.answer {
            _ if self.outcome != LegOutcome::Ok => Err(NullReason::Outcome),
            _ if self.is_over_cap => Err(NullReason::OverCap),
            Some(answer) => Ok(answer),
            None => Err(NullReason::Outcome),
        }
    }

    /// Returns the total time; null if it is the client's.
    pub(super) fn total(&self) -> Result<f64, NullReason> {
        if self.is_slow_client {
            return Err(NullReason::SlowClient);
        }
        self.total_ms.ok_or(NullReason::Unknown)
    }

    /// Returns the time to the first content of a stream.
    pub(super) fn ttft(&self) -> Result<f64, NullReason> {
        if !self.is_stream {
            return Err(NullReason::Unstreamed);
        }
        self.ttft_ms.ok_or(NullReason::Unknown)
    }

    /// Returns the time, in milliseconds, from the first content to the end, for each character of the text.
    pub(super) fn gap(&self) -> Result<f64, NullReason> {
        let characters = self.scored()?.text().chars().count();
        let streamed = self.ttft()?;
        let gap = (self.total()? - streamed) / characters as f64;
        if characters == 0 { Err(NullReason::NoText) } else { Ok(gap.max(0.0)) }
    }
}
