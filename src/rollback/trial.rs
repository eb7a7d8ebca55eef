//! Trials of one request, from its sending to its end.

use crate::guard::{Side, Ticket, Trial};
use crate::model::TraceId;

/// A request whose end is a trial.
#[derive(Debug)]
pub struct Watched(pub(super) Watch);

/// State of a watched request.
#[derive(Debug)]
pub(super) enum Watch {
    /// Nothing was generated yet; its age may decide it.
    Waiting(Ticket),
    /// Its end decides it.
    Begun(Box<Trials>),
    /// Its age has decided it.
    Decided,
}

/// The trials of one request: one of the chosen candidate's guard, or one of each candidate that a request of the
/// baseline might have gone to.
#[derive(Debug, Clone)]
pub(super) struct Trials {
    /// Numbers of guards with their trials.
    pub(super) of: Vec<(u64, Trial)>,
    /// Backend that the request was sent to.
    pub(super) side: Side,
    /// The request's trace.
    pub(super) trace: TraceId,
}

impl Watched {
    /// True until something was generated or its age decided it.
    pub const fn is_waiting(&self) -> bool {
        matches!(self.0, Watch::Waiting(_))
    }
}
