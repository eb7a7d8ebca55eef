//! A served request and one copy of it, ended and not yet compared.

use std::sync::Arc;
use std::time::Duration;

use super::capture::Kept;
use super::leg::LegDone;
use super::offer::Offer;
use super::served::Served;
use crate::choose::{Choice, Sample};
use crate::compare::LegOutcome;
use crate::exchange::{Inbound, Room};
use crate::live::InForce;
use crate::model::{End, Fault, PairResult};
use crate::outcome::{Ending, LegEnd, Outcome};

/// A served request that was copied.
#[derive(Debug)]
pub(super) struct About {
    pub(super) in_force: Arc<InForce>,
    pub(super) inbound: Arc<Inbound>,
    pub(super) choice: Choice,
    pub(super) sample: Sample,
    /// Id of the pairs of this request.
    pub(super) id: u64,
    pub(super) outcome: Arc<Outcome>,
    /// The served answer.
    pub(super) kept: Kept,
    pub(super) client_waits: Duration,
    is_elsewhere: bool,
    pub(super) noise: Option<LegDone>,
    /// Requests that waited in the serving backend's queue at the beginning.
    pub(super) waiting: Option<f64>,
    /// Holds the memory of the application's body until the comparison is over.
    _room: Room,
}

/// A pair to compare.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) about: Arc<About>,
    pub(super) shadow: LegDone,
    /// True for the first pair of its request, which shows the noise leg's span.
    pub(super) is_first: bool,
}

impl About {
    pub(super) fn new(
        offer: Offer,
        mut kept: Kept,
        served: Served,
        (noise, waiting): (Option<LegDone>, Option<f64>),
    ) -> Self {
        let Offer { in_force, inbound, choice, sample, parts, room, .. } = offer;
        let Served { outcome, captured, client_waits, is_elsewhere } = served;
        kept.finish(captured, parts);
        Self {
            in_force,
            inbound,
            choice,
            sample,
            id: rand::random(),
            outcome: Arc::new(outcome),
            kept,
            client_waits,
            is_elsewhere,
            noise,
            waiting,
            _room: room,
        }
    }

    /// The served request's first leg: the one that was copied. `None` if it did not begin.
    pub(super) fn served_leg(&self) -> Option<&LegEnd> {
        self.outcome.legs.first()
    }

    /// True if the served request ended before its answer, or got it from another attempt.
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_elsewhere
            || self.outcome.legs.len() > 1
            || matches!(self.outcome.end, End::ClientGone | End::Drained)
            || self.served_leg().is_none()
    }

    /// Outcome of the served leg.
    pub(super) fn served_outcome(&self) -> LegOutcome {
        self.served_leg().map_or(LegOutcome::Cancelled, |leg| outcome_of(leg, self.kept.is_over_cap()))
    }
}

impl LegDone {
    /// Outcome of the copy.
    pub(super) fn outcome(&self) -> LegOutcome {
        if self.is_cancelled { LegOutcome::Cancelled } else { outcome_of(&self.end, self.kept.is_over_cap()) }
    }
}

impl Job {
    /// Result of the pair as far as it is known before the comparison.
    pub(super) fn result(&self) -> PairResult {
        let (served, shadow) = (self.about.served_outcome(), self.shadow.outcome());
        if self.about.is_cancelled() || shadow == LegOutcome::Cancelled {
            PairResult::Cancelled
        } else if shadow == LegOutcome::Timeout {
            PairResult::Timeout
        } else if served != LegOutcome::Ok || shadow != LegOutcome::Ok {
            PairResult::Failed
        } else if self.about.kept.is_lagged() {
            PairResult::Lagged
        } else if self.about.kept.is_over_cap() || self.shadow.kept.is_over_cap() {
            PairResult::OverCap
        } else {
            PairResult::Compared
        }
    }
}

/// Returns the outcome of a leg. One whose answer is larger than what is kept was going well.
fn outcome_of(leg: &LegEnd, is_over_cap: bool) -> LegOutcome {
    let last = leg.attempts.last();
    let fault = last.and_then(|attempt| attempt.fault);
    match (leg.ending, fault) {
        (_, Some(Fault::Shed)) if is_over_cap => LegOutcome::Ok,
        (Ending::ClientGone | Ending::Drained, _) => LegOutcome::Cancelled,
        (_, None) => LegOutcome::Ok,
        (_, Some(fault)) => of_fault(fault),
    }
}

const fn of_fault(fault: Fault) -> LegOutcome {
    match fault {
        Fault::Status(429) => LegOutcome::RateLimited,
        Fault::Status(500..) => LegOutcome::Status5xx,
        Fault::Status(..400) => LegOutcome::BadAnswer,
        Fault::Status(_) => LegOutcome::Status4xx,
        Fault::TtftTimeout | Fault::IdleTimeout | Fault::Deadline => LegOutcome::Timeout,
        Fault::Connect | Fault::Tls | Fault::Dns | Fault::UpstreamReset => LegOutcome::Reset,
        Fault::BadUpstream | Fault::SseError => LegOutcome::BadAnswer,
        Fault::ClientGone | Fault::ClientBody | Fault::Shed | Fault::Drained => LegOutcome::Cancelled,
    }
}
