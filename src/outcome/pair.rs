//! A served request beside a copy of it, after both have ended.

use std::sync::Arc;
use std::time::Instant;

use super::leg::LegEnd;
use super::request::Outcome;
use crate::model::SpanId;

/// One score of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Name of the score.
    pub name: &'static str,
    /// Its value; true is 1 and false is 0.
    pub value: f64,
    /// Kind of an agreement; `None` for other scores.
    pub label: Option<&'static str>,
}

/// A comparison of two answers.
#[derive(Debug)]
pub struct Comparison {
    /// Its INTERNAL span.
    pub span: SpanId,
    /// Instant of its beginning.
    pub began_at: Instant,
    /// Instant of its end.
    pub ended_at: Instant,
    /// Known scores.
    pub scores: Vec<Score>,
}

/// A served request and its copies, as one trace shows them. Holds no content, no header and no key.
#[derive(Debug)]
pub struct Pair {
    /// The served request.
    pub served: Arc<Outcome>,
    /// The copy.
    pub shadow: Arc<LegEnd>,
    /// The noise leg; present in one pair of a request only.
    pub noise: Option<Arc<LegEnd>>,
    /// The comparison; `None` if there was none.
    pub comparison: Option<Comparison>,
}

impl Pair {
    /// The copies, in order.
    pub fn copies(&self) -> impl Iterator<Item = &LegEnd> {
        std::iter::once(&self.shadow).chain(&self.noise).map(Arc::as_ref)
    }

    /// Number of spans that it exports.
    pub fn spans(&self) -> usize {
        self.copies().map(|leg| leg.attempts.len()).sum::<usize>() + usize::from(self.comparison.is_some())
    }
}
