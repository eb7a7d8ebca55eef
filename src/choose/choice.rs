//! The one function that decides where a request goes, and where it goes instead.

use std::sync::Arc;

use super::assign::Salts;
use super::eligible::Eligible;
use super::order::{self, Drawn, UnknownBackend};
use super::request::{Availability, Facts, Request};
use super::shares::Shares;
use crate::config::Config;
use crate::model::{BackendId, Cause, Percent, Pin, Reason, RouteId};

/// The backend that a request goes to, and why. Made by [`choose`] and [`instead`] only: whoever holds one has passed
/// the filter of [`Eligible`].
#[derive(Debug, Clone)]
pub struct Choice {
    route: RouteId,
    decided: (BackendId, Reason),
    asked: (BackendId, Reason),
    drawn: Option<Drawn>,
    is_forced: bool,
    shares: Arc<Shares>,
    eligible: Eligible,
}

/// Why the backend of a choice does not serve the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// It may not be asked now.
    Unavailable(Availability),
    /// Its translation showed that it cannot serve the request.
    Pinned(Pin),
    /// It was asked and failed before its first content.
    Failed(Cause),
}

impl Choice {
    /// The route that the request matched.
    pub const fn route(&self) -> RouteId {
        self.route
    }

    /// The backend to ask.
    pub const fn backend(&self) -> BackendId {
        self.asked.0
    }

    /// Why that backend is asked.
    pub const fn reason(&self) -> Reason {
        self.asked.1
    }

    /// The backend and the reason before availability and failures were looked at.
    pub const fn decided(&self) -> (BackendId, Reason) {
        self.decided
    }

    /// The draw, for a request that the split decided.
    pub const fn drawn(&self) -> Option<Drawn> {
        self.drawn
    }

    /// True if the backend is asked whatever its breaker says, because no other one can serve the request.
    pub const fn is_forced(&self) -> bool {
        self.is_forced
    }

    /// The shares that the request was drawn from.
    pub const fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// The percent in force of the backend that was decided for; `None` for one that is not a candidate of the route.
    pub fn percent(&self) -> Option<Percent> {
        let (backend, _) = self.decided;
        self.shares.effective(self.route).find(|(candidate, _)| *candidate == backend).map(|(_, percent)| percent)
    }

    /// The choice as decided, whatever the availability: for a request that no other backend can serve.
    #[must_use]
    pub fn forced(&self) -> Self {
        Self { asked: self.decided, is_forced: true, ..self.clone() }
    }

    fn moved(&self, to: BackendId, reason: Reason) -> Option<Self> {
        self.eligible.contains(to).then(|| Self { asked: (to, reason), ..self.clone() })
    }
}

/// Decides where a request goes: the order of decision, then the candidate's availability. `draw` gives a unit where
/// there is no key.
pub fn choose(
    config: &Config,
    (salts, shares): (&Salts, &Arc<Shares>),
    request: &Request<'_>,
    facts: &dyn Facts,
    draw: &mut dyn FnMut() -> u16,
) -> Result<Choice, UnknownBackend> {
    let eligible = Eligible::every();
    let decision = order::decide(config, (salts, shares), request, facts, draw)?;
    let decided = (decision.backend, decision.reason);
    let choice = Choice {
        route: decision.route,
        decided,
        asked: decided,
        drawn: decision.drawn,
        is_forced: false,
        shares: Arc::clone(shares),
        eligible,
    };
    let choice = match decision.reason {
        Reason::Split if shares.is_withdrawn(decision.backend) => {
            // Its share counts as the baseline's.
            let moved = choice.moved(config.baseline, Reason::RolledBack);
            moved.map_or(choice, |moved| Choice { decided: moved.asked, ..moved })
        }
        _ => choice,
    };
    if !config.failover.enabled || choice.backend() == config.baseline {
        return Ok(choice);
    }
    Ok(match facts.availability(choice.backend()) {
        Availability::Free => choice,
        unavailable => instead(config, &choice, Instead::Unavailable(unavailable)).unwrap_or_else(|| choice.forced()),
    })
}

/// Decides where a request goes whose chosen backend does not serve it; `None` where no other backend may. With
/// `[failover]` off only a pin moves a request.
pub fn instead(config: &Config, choice: &Choice, why: Instead) -> Option<Choice> {
    let baseline = config.baseline;
    if choice.backend() == baseline {
        return None;
    }
    let reason = match why {
        Instead::Pinned(pin) => {
            let pinned = (baseline, Reason::Pinned(pin));
            return choice.moved(baseline, pinned.1).map(|moved| Choice { decided: pinned, ..moved });
        }
        Instead::Unavailable(Availability::Free) => return None,
        Instead::Unavailable(Availability::Overload) => Reason::Overload,
        Instead::Unavailable(Availability::Cooldown) => Reason::Cooldown,
        Instead::Unavailable(Availability::Breaker) => Reason::Breaker,
        Instead::Failed(cause) => Reason::Failover(cause),
    };
    config.failover.enabled.then(|| choice.moved(baseline, reason)).flatten()
}
