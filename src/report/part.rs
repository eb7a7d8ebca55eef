//! Parts of a total.

use super::traffic::{BackendTraffic, RouteTraffic};

/// A part of a total, without rounding.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) route: &'a str,
    /// Position among the rows; `None` for a route.
    pub(super) row: Option<usize>,
    pub(super) value: f64,
    pub(super) weight: f64,
    /// Sign of the value, −1, 0 or 1; 0 where it may be chance.
    pub(super) sign: i8,
    /// Candidate's share of the requests of both.
    pub(super) share: f64,
}

impl<'a> Part<'a> {
    /// Makes the part of a route, without its value.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(super) fn of_route(
        route: &'a str,
        of: &RouteTraffic,
        (baseline, candidate): (&BackendTraffic, &BackendTraffic),
    ) -> Self {
        let share = candidate.attempted as f64 / (baseline.attempted as f64 + candidate.attempted as f64);
        Part { route, row: None, value: 0.0, weight: of.chosen() as f64, sign: 0, share }
    }
}
