//! Decides where a request goes, and where it goes if that backend cannot serve it.

use std::sync::Arc;

use super::assign::{Salts, unit_of_hash};
use super::eligible::Eligible;
use super::key::Keyed;
use super::order::{self, Drawn};
use super::place;
use super::refused::NotChosen;
use super::request::{Availability, Facts, Request};
use super::sample::{Sample, sample};
use super::shares::Shares;
use crate::config::Config;
use crate::model::{BackendId, Cause, CopyResult, Percent, Pin, Reason, RouteId};

/// The backend that a request goes to, and the reason. Only [`choose`] and [`instead`] make one, so that every choice
/// has passed the filter of [`Eligible`].
#[derive(Debug, Clone)]
pub struct Choice {
    route: RouteId,
    decided: (BackendId, Reason),
    asked: (BackendId, Reason),
    drawn: Option<Drawn>,
    is_forced: bool,
    is_bound: bool,
    shares: Arc<Shares>,
    eligible: Eligible,
    key_hash: Option<u64>,
    first_try: Option<BackendId>,
    sample: Option<Sample>,
}

/// Reason for which the chosen backend does not serve the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instead {
    /// Its health or load does not allow a request.
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

    /// The backend to send the request to.
    pub const fn backend(&self) -> BackendId {
        self.asked.0
    }

    /// The reason for that backend.
    pub const fn reason(&self) -> Reason {
        self.asked.1
    }

    /// The backend and the reason before availability and failures were checked.
    pub const fn decided(&self) -> (BackendId, Reason) {
        self.decided
    }

    /// The draw; `None` if the split did not decide.
    pub const fn drawn(&self) -> Option<Drawn> {
        self.drawn
    }

    /// True if the backend is asked even with an open breaker, because no other backend can serve the request.
    pub const fn is_forced(&self) -> bool {
        self.is_forced
    }

    /// The shares that the request was drawn from.
    pub const fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    /// The backends that may see the request.
    pub const fn eligible(&self) -> &Eligible {
        &self.eligible
    }

    /// Hash of the request's key, the same on every route; `None` without a key, or if neither an affinity header nor
    /// the guard needs it.
    pub const fn key_hash(&self) -> Option<u64> {
        self.key_hash
    }

    /// The backend that the split chose for the first try of a request that an SDK repeats; `None` for other requests,
    /// and without a key, which alone tells.
    pub const fn first_try(&self) -> Option<BackendId> {
        self.first_try
    }

    /// The draw for shadows; `None` if the request is not copied.
    pub const fn sample(&self) -> Option<Sample> {
        self.sample
    }

    /// Percent in force of the backend decided for; `None` if it is not a candidate of the route.
    pub fn percent(&self) -> Option<Percent> {
        let (backend, _) = self.decided;
        self.shares.effective(self.route).find(|(candidate, _)| *candidate == backend).map(|(_, percent)| percent)
    }

    /// Returns the choice as decided, ignoring availability: for a request that no other backend can serve.
    #[must_use]
    pub fn forced(&self) -> Self {
        Self { asked: self.decided, is_forced: true, ..self.clone() }
    }

    /// Returns the choice of another backend, if it may see the request. A request that the split does not decide alone
    /// is not copied.
    fn moved(&self, to: BackendId, reason: Reason) -> Option<Self> {
        self.eligible.contains(to).then(|| Self { asked: (to, reason), sample: None, ..self.clone() })
    }
}

/// Decides where a request goes: by the order of decision, then by residency, then by the candidate's availability.
/// `draw` returns a unit for a request without a key.
pub fn choose(
    config: &Config,
    (salts, shares): (&Salts, &Arc<Shares>),
    request: &Request<'_>,
    facts: &dyn Facts,
    draw: &mut dyn FnMut() -> u16,
) -> Result<Choice, NotChosen> {
    let eligible = Eligible::of(config, request);
    let keyed = Keyed::new(&config.sticky, request.headers, request.scan());
    let decision = order::decide(config, (salts, shares), (request, facts), (&eligible, &keyed), draw)?;
    let unit = |route| {
        let hash = keyed.get().zip(salts.of(route)).map(|(key, salt)| salt.hash(&key.value));
        decision.drawn.map(|drawn| drawn.unit).unwrap_or_else(|| hash.map_or_else(&mut *draw, unit_of_hash))
    };
    let decision = place::place(config, shares, (request, facts), &eligible, decision, unit)?;
    let decided = (decision.backend, decision.reason);
    let choice = Choice {
        route: decision.route,
        decided,
        asked: decided,
        drawn: decision.drawn,
        is_forced: false,
        is_bound: decision.is_bound,
        shares: Arc::clone(shares),
        eligible,
        key_hash: None,
        first_try: None,
        sample: None,
    };
    let choice = available(config, with_rollback(config, choice), facts);
    // A failover may still send it to the baseline.
    let takes_affinity = [choice.backend(), config.baseline].iter().any(|id| config[*id].affinity.is_some());
    let needs_key = takes_affinity || config.guard.is_some();
    let key_hash = needs_key.then(|| keyed.get().map(|key| salts.affinity().hash(&key.value))).flatten();
    let first_try = first_try(config, (salts, shares), &choice, &keyed);
    let sample = match choice.reason() {
        Reason::Split | Reason::RolledBack => sample(config, salts, choice.route, (request.headers, &keyed), draw),
        _ => None,
    };
    Ok(Choice { key_hash, first_try, sample, ..choice })
}

/// Returns the backend that the split chose for the first try of a repeated request, which its key tells.
fn first_try(
    config: &Config,
    (salts, shares): (&Salts, &Shares),
    choice: &Choice,
    keyed: &Keyed<'_>,
) -> Option<BackendId> {
    if choice.reason() != Reason::Pinned(Pin::Retry) {
        return None;
    }
    let (key, salt) = keyed.get().zip(salts.of(choice.route))?;
    let owner = shares.owner(choice.route, unit_of_hash(salt.hash(&key.value)));
    Some(owner.filter(|owner| !shares.is_withdrawn(*owner)).unwrap_or(config.baseline))
}

/// Returns the choice of `to` for a copy of the request behind `choice`, or the reason for which it gets none.
pub(crate) fn copy(
    config: &Config,
    choice: &Choice,
    (request, facts): (&Request<'_>, &dyn Facts),
    to: BackendId,
) -> Result<Choice, CopyResult> {
    let copied = choice.moved(to, choice.reason()).ok_or(CopyResult::Residency)?;
    let lacks = to != config.baseline && place::lack(config, request, facts, to).is_some();
    if lacks { Err(CopyResult::Untranslatable) } else { Ok(copied) }
}

/// Gives the share of a withdrawn candidate to the baseline.
fn with_rollback(config: &Config, choice: Choice) -> Choice {
    if choice.reason() != Reason::Split || !choice.shares.is_withdrawn(choice.backend()) {
        return choice;
    }
    match choice.moved(config.baseline, Reason::RolledBack) {
        Some(moved) => Choice { decided: moved.asked, ..moved },
        None => choice,
    }
}

/// Sends a request whose candidate is not available to the baseline; to the candidate all the same if the baseline may
/// not serve it.
fn available(config: &Config, choice: Choice, facts: &dyn Facts) -> Choice {
    if !config.failover.enabled || choice.backend() == config.baseline {
        return choice;
    }
    match facts.availability(choice.backend()) {
        Availability::Free => choice,
        unavailable => instead(config, &choice, Instead::Unavailable(unavailable)).unwrap_or_else(|| choice.forced()),
    }
}

/// Decides where a request goes if the chosen backend does not serve it; `None` if no other backend may. Without
/// `[failover]` only a pin moves a request.
pub fn instead(config: &Config, choice: &Choice, why: Instead) -> Option<Choice> {
    let baseline = config.baseline;
    // Stored state stays with its owner: another backend would not know the id.
    if choice.backend() == baseline || choice.is_bound {
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
