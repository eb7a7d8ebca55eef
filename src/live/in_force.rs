//! The state that a request takes once and keeps: the snapshot, the shares, the handles of backends.
//!
//! Invariant: on the request path a [`Choice`] is the only way to a backend's handle.

use std::sync::Arc;
use std::time::Instant;

use super::snapshot::Snapshot;
use super::targets::{RouteHandle, Targets};
use crate::backend::{ModelEnd, PrepareError, Target};
use crate::choose::{self, Availability, Choice, Eligible, Facts, Known, NotChosen, Request, Shares};
use crate::config::Config;
use crate::health::{Health, State, Ticket, Unfit};
use crate::model::{BackendId, CopyResult, RouteId};
use crate::outcome::{BackendLabels, Restricted, Role};
use crate::stats::{Permit, Placement, Stats};
use crate::telemetry::meters::Meters;

/// Limit on the models of one backend whose ends are told, those that end first: with the longest names they fit in a
/// line of counts.
const MAX_ENDS: usize = 16;

/// State in force at one moment.
#[derive(Debug)]
pub struct InForce {
    /// The snapshot of the file.
    pub snapshot: Arc<Snapshot>,
    /// The percents in force.
    pub shares: Arc<Shares>,
    targets: Arc<Targets>,
}

/// Admission of one request to a backend.
#[derive(Debug)]
pub struct Admission {
    /// Place among the backend's requests in flight.
    pub permit: Permit,
    /// Reports the verdict about the backend; `None` if its health does not move requests.
    pub ticket: Option<Ticket>,
}

impl InForce {
    /// Prepares the state for a file. Every step that can fail is here.
    pub(super) fn prepare(config: Config, previous: Option<&Self>, stats: &Stats) -> Result<Self, PrepareError> {
        let targets = Targets::prepare(&config, previous.map(|previous| previous.targets.as_ref()), stats)?;
        let generation = previous.map_or(1, |previous| previous.snapshot.generation + 1);
        let shares = Arc::new(Shares::of_file(&config));
        Ok(Self { snapshot: Arc::new(Snapshot::new(config, generation)), shares, targets: Arc::new(targets) })
    }

    /// Returns the same snapshot with exactly the candidates of these names withdrawn.
    pub(super) fn withdrawing(&self, names: &[String]) -> Self {
        let ids: Vec<BackendId> = names.iter().filter_map(|name| self.snapshot.config.backend(name)).collect();
        let shares = Arc::new(self.shares.withdrawing(&ids));
        Self { snapshot: Arc::clone(&self.snapshot), shares, targets: Arc::clone(&self.targets) }
    }

    /// Breaker and cool-down of a candidate.
    pub fn health(&self, candidate: BackendId) -> &Arc<Health> {
        &self.targets.backend(candidate).health
    }

    /// True if a candidate could serve a request that the split gives it: its breaker is closed, and it is neither
    /// cooling down nor, unless `is_admitted` says that the request has its place, overloaded.
    pub fn is_fit(&self, candidate: BackendId, is_admitted: bool, now: Instant) -> bool {
        let report = self.targets.backend(candidate).health.report(now);
        let is_free = || FactsAt { in_force: self, now }.availability(candidate) == Availability::Free;
        report.state == State::Closed && !report.cooling && (is_admitted || is_free())
    }

    /// Decides where a request goes, by the facts about backends at `now`.
    pub fn choose(
        &self,
        request: &Request<'_>,
        now: Instant,
        draw: &mut dyn FnMut() -> u16,
    ) -> Result<Choice, NotChosen> {
        let rules = (&self.snapshot.salts, &self.shares);
        choose::choose(&self.snapshot.config, rules, request, &FactsAt { in_force: self, now }, draw)
    }

    /// Returns the choice of `to` for a copy of a request, or the reason for which it gets none.
    pub fn copy(
        &self,
        choice: &Choice,
        request: &Request<'_>,
        to: BackendId,
        now: Instant,
    ) -> Result<Choice, CopyResult> {
        choose::copy(&self.snapshot.config, choice, (request, &FactsAt { in_force: self, now }), to)
    }

    /// The handle of the chosen backend.
    pub fn target(&self, choice: &Choice) -> &Arc<Target> {
        self.targets.backend(choice.backend())
    }

    /// Returns the baseline.
    pub fn baseline(&self) -> &Arc<Target> {
        self.targets.backend(self.snapshot.config.baseline)
    }

    /// Telemetry labels of the backend decided for.
    pub fn decided_labels(&self, choice: &Choice) -> &Arc<BackendLabels> {
        let (backend, _) = choice.decided();
        &self.targets.backend(backend).labels
    }

    /// The backend's part in the rollout.
    pub fn role(&self, backend: BackendId) -> Role {
        if backend == self.snapshot.config.baseline { Role::Baseline } else { Role::Candidate }
    }

    /// Takes a place at the chosen backend, and a ticket if its health moves requests. Fails with the reason for which
    /// the backend is not available.
    pub fn admit(&self, choice: &Choice, now: Instant) -> Result<Admission, Availability> {
        let target = self.target(choice);
        let limit = target.config.max_in_flight.map_or(u64::MAX, |limit| limit as u64);
        let permit = target.stats.in_flight.try_acquire(1, limit).ok_or(Availability::Overload)?;
        let is_guarded = self.snapshot.config.failover.enabled && self.role(choice.backend()) == Role::Candidate;
        let ticket = match is_guarded.then(|| target.health.admit(now)) {
            None => None,
            Some(Ok(ticket)) => Some(ticket),
            Some(Err(_)) if choice.is_forced() => None,
            Some(Err(unfit)) => return Err(availability(unfit)),
        };
        Ok(Admission { permit, ticket })
    }

    /// Names and counters of the residency rules that match a request; `None` if no rule does.
    pub fn restricted(&self, eligible: &Eligible, placement: Placement) -> Option<Restricted> {
        let rules: Vec<_> = eligible.rules().iter().filter_map(|at| self.targets.rule(*at).cloned()).collect();
        let names = || eligible.rule_names(&self.snapshot.config).join(",");
        (!rules.is_empty()).then(|| Restricted { names: names(), rules, placement })
    }

    /// The counters of a route.
    pub fn route(&self, route: RouteId) -> &RouteHandle {
        self.targets.route(route)
    }

    /// Returns the models of a backend that end and that matter: the file names them, or applications asked for them. The
    /// first to end comes first; `None` if the backend's list of models is not known.
    pub fn ends(&self, target: &Target, meters: &Meters) -> Option<Vec<ModelEnd>> {
        let is_wanted =
            |model: &str| self.snapshot.config.names_model(&target.config, model) || meters.has_model(model);
        let mut ends = target.ends.of(is_wanted)?;
        ends.truncate(MAX_ENDS);
        Some(ends)
    }

    /// Handles of all backends, in the file's order: for status pages, polls and probes. Requests of applications use
    /// [`InForce::target`].
    pub fn targets_off_path(&self) -> &[Arc<Target>] {
        self.targets.all()
    }
}

const fn availability(unfit: Unfit) -> Availability {
    match unfit {
        Unfit::Cooldown => Availability::Cooldown,
        Unfit::Breaker => Availability::Breaker,
    }
}

/// Facts about the backends at one moment.
struct FactsAt<'a> {
    in_force: &'a InForce,
    now: Instant,
}

impl Facts for FactsAt<'_> {
    fn known(&self, backend: BackendId) -> Known {
        let facts = &self.in_force.targets.backend(backend).facts;
        let probed = facts.probed();
        Known {
            max_model_len: facts.max_model_len(),
            max_input_tokens: facts.max_input_tokens(),
            missing: probed.unwrap_or_default(),
            is_probed: probed.is_some(),
        }
    }

    fn availability(&self, backend: BackendId) -> Availability {
        let target = self.in_force.targets.backend(backend);
        let limit = target.config.max_in_flight.map_or(u64::MAX, |limit| limit as u64);
        if target.load.is_over(target.limits(), self.now) || target.stats.in_flight.get() >= limit {
            return Availability::Overload;
        }
        target.health.unfit(self.now).map_or(Availability::Free, availability)
    }
}
