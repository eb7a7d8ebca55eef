//! The steps of one request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;

use super::answer::AnswerBody;
use super::early::EarlyHead;
use super::intake::{self, Taken};
use super::progress::Progress;
use super::respond::{self, LocalReply};
use super::shared::Proxy;
use super::tunnel;
use crate::backend::{Failure, RequestBody};
use crate::choose::{self, Choice, Instead, NotChosen};
use crate::config::Config;
use crate::exchange::{Inbound, LegError, Plan, PlanError, open};
use crate::live::{Admission, InForce};
use crate::model::{Cause, Limit, Reason};
use crate::outcome::{LegKind, Params};
use crate::stats::lock;
use crate::translate::TranslateError;
use crate::wire::error_body::ApiError;
use crate::wire::framing::Fault;

/// A leg that may begin: its choice, its plan, and the backend's admission.
struct Ready {
    choice: Choice,
    plan: Plan,
    admission: Admission,
}

impl Proxy {
    /// Answers one request.
    pub(super) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        fault: Option<Fault>,
    ) -> Response<AnswerBody> {
        let mut progress = Progress::begin(&self, &request);
        let Taken { inbound, unread, upgrade } = match intake::take(&self, request, fault, &mut progress).await {
            Ok(taken) => taken,
            Err(reply) => return respond::reply(progress, &reply),
        };
        let ready = match self.choose_and_plan(&inbound, &mut progress) {
            Ok(ready) => ready,
            Err(reply) => return respond::reply(progress, &reply),
        };
        if let Some(upgrade) = upgrade {
            let Ready { choice, mut plan, admission } = ready;
            progress.begin_leg(&choice, plan.trail(LegKind::Served), admission);
            return Box::pin(tunnel::open(self, plan, upgrade, progress)).await;
        }
        let Some(wait) = self.early_head(&progress.in_force.snapshot.config, &ready.choice, &inbound) else {
            return self.relay(ready, &inbound, unread, progress).await;
        };
        let head = EarlyHead::new(wait, &ready.plan, &progress);
        let ready = Ready { plan: ready.plan.without_client_deadlines(), ..ready };
        head.before(Box::pin(async move { self.relay(ready, &inbound, None, progress).await })).await
    }

    /// Asks the chosen backend and passes its answer on, or that of the baseline after a failure.
    async fn relay(
        &self,
        ready: Ready,
        inbound: &Arc<Inbound>,
        unread: Option<RequestBody>,
        mut progress: Box<Progress>,
    ) -> Response<AnswerBody> {
        let Ready { choice, mut plan, admission } = ready;
        let started = progress.clock.began_at;
        progress.offer_copy(&choice, inbound);
        progress.watch(&choice, inbound.is_stream());
        let (trail, room) = progress.begin_leg(&choice, plan.trail(LegKind::Served), admission);
        let error = match open(&plan, unread, started, room, trail).await {
            Ok(opened) => return respond::pass_on(opened, &plan, progress),
            Err(error) => error,
        };
        // Rare and large, like the early head.
        Box::pin(self.answer_instead(&choice, inbound, error, progress)).await
    }

    /// Returns the time after which a request gets an early head; `None` if it gets none: one that may not fail over, or
    /// whose client would give up before.
    fn early_head(&self, config: &Config, choice: &Choice, inbound: &Inbound) -> Option<Duration> {
        let wait = config.failover.early_head.filter(|_| inbound.is_stream() && inbound.is_replay_safe())?;
        choose::instead(config, choice, Instead::Failed(Cause::Timeout))?;
        let now = Instant::now();
        if inbound.sdk_timeouts().has_passed(now, now + wait) {
            return None;
        }
        let running = self.stats.in_flight.get();
        lock(&self.budget).allows(now, config.failover.retry_budget, running).then_some(wait)
    }

    /// Answers a request whose first leg failed: through the baseline, or with the failure.
    async fn answer_instead(
        &self,
        choice: &Choice,
        inbound: &Arc<Inbound>,
        error: LegError,
        mut progress: Box<Progress>,
    ) -> Response<AnswerBody> {
        let Some((cause, instead, mut plan)) = self.may_fail_over(choice, inbound, &error, &progress) else {
            return give_up(progress, error);
        };
        progress.fails_over(&error, cause);
        drop(error);
        let Ok(admission) = progress.in_force.admit(&instead, Instant::now()) else {
            return respond::reply(progress, &LocalReply::Overload(Limit::MaxInFlight));
        };
        let started = progress.clock.began_at;
        let (trail, room) = progress.begin_next_leg(&instead, plan.trail(LegKind::Served), admission);
        match open(&plan, None, started, room, trail).await {
            Ok(opened) => respond::pass_on(opened, &plan, progress),
            Err(error) => give_up(progress, error),
        }
    }

    /// Chooses a backend and translates for it. If that backend cannot serve the request or is not available, takes the
    /// one of [`choose::instead`]; if that one cannot serve it either, asks the chosen backend all the same.
    fn choose_and_plan(&self, inbound: &Arc<Inbound>, progress: &mut Progress) -> Result<Ready, LocalReply> {
        let in_force = Arc::clone(&progress.in_force);
        let config = &in_force.snapshot.config;
        let now = Instant::now();
        let draw = &mut || rand::random_range(0..choose::UNITS);
        let chosen = in_force.choose(&inbound.to_choose(), now, draw);
        let mut choice = chosen.map_err(|error| not_chosen(config, error, progress))?;
        if let Some(scan) = inbound.scan() {
            progress.asks(Params::of(scan, self.sinks.has_tracer()));
        }
        loop {
            progress.decide(&choice);
            let plan = match self.plan(&in_force, &choice, inbound, progress) {
                Ok(plan) => plan,
                Err(PlanError::MalformedPath) => return Err(LocalReply::MalformedPath),
                Err(PlanError::Untranslatable(stop)) => {
                    choice = after_stop(&in_force, &choice, stop)?;
                    continue;
                }
            };
            match in_force.admit(&choice, now) {
                Ok(admission) => return Ok(Ready { choice, plan, admission }),
                Err(unavailable) => {
                    let moved = choose::instead(config, &choice, Instead::Unavailable(unavailable));
                    let is_free_to_move = !choice.is_forced();
                    let full = LocalReply::Overload(Limit::MaxInFlight);
                    choice = moved.filter(|_| is_free_to_move).ok_or(full)?;
                }
            }
        }
    }

    fn plan(
        &self,
        in_force: &InForce,
        choice: &Choice,
        inbound: &Arc<Inbound>,
        progress: &Progress,
    ) -> Result<Plan, PlanError> {
        let plan = Plan::new(inbound, in_force.target(choice), in_force.role(choice.backend()))?;
        let max_body = in_force.snapshot.config.server.max_body;
        let plan = plan.with_affinity(choice.key_hash());
        Ok(plan.with_max_whole(max_body).traced(progress.trace_for_backends(), self.sinks.has_tracer()))
    }

    /// Returns the leg to run after a failed one; `None` if the application gets the failure.
    fn may_fail_over(
        &self,
        choice: &Choice,
        inbound: &Arc<Inbound>,
        error: &LegError,
        progress: &Progress,
    ) -> Option<(Cause, Choice, Plan)> {
        let in_force = &progress.in_force;
        let config = &in_force.snapshot.config;
        let cause = error.cause().filter(|_| inbound.is_replay_safe())?;
        let has_given_up = inbound.sdk_timeouts().has_passed(progress.clock.began_at, Instant::now());
        if has_given_up && !progress.is_early() {
            // The client has given up: a second answer would be paid for and not be read.
            return None;
        }
        let instead = choose::instead(config, choice, Instead::Failed(cause))?;
        // A baseline with another engine may not be able to serve the request.
        let plan = self.plan(in_force, &instead, inbound, progress).ok()?;
        let running = self.stats.in_flight.get();
        if lock(&self.budget).try_failover(Instant::now(), config.failover.retry_budget, running) {
            return Some((cause, instead, plan));
        }
        self.stats.over_budget.add(1);
        None
    }
}

/// Returns the answer to a request without a backend.
fn not_chosen(config: &Config, error: NotChosen, progress: &mut Progress) -> LocalReply {
    match error {
        NotChosen::UnknownBackend => LocalReply::UnknownOverride,
        NotChosen::Residency(refused) => {
            progress.refused_by(&refused);
            LocalReply::Residency(refused.message(config))
        }
        NotChosen::Unable(refused, pinned) => {
            progress.refused_by(&refused);
            let message = format!("{}; {}", pinned.why, refused.message(config));
            LocalReply::Untranslatable(Box::new(ApiError { message, ..pinned.to_error() }))
        }
    }
}

/// Returns the choice after the translation found the chosen backend unable; fails if no backend is left.
fn after_stop(in_force: &InForce, choice: &Choice, stop: TranslateError) -> Result<Choice, LocalReply> {
    let config = &in_force.snapshot.config;
    match stop {
        TranslateError::Pinned(pinned) => {
            if let Some(moved) = choose::instead(config, choice, Instead::Pinned(pinned.pin)) {
                in_force.route(choice.route()).stats().pinned_late(pinned.pin);
                in_force.target(choice).stats.pinned(&pinned);
                return Ok(moved);
            }
            // A request moved here for the candidate's health returns to the candidate: no other backend can serve it.
            let was_moved = matches!(choice.reason(), Reason::Overload | Reason::Cooldown | Reason::Breaker);
            if was_moved { Ok(choice.forced()) } else { Err(LocalReply::Untranslatable(Box::new(pinned.to_error()))) }
        }
        TranslateError::Invalid(error) => Err(LocalReply::Untranslatable(error)),
    }
}

/// Answers with a failure after which no other backend is asked.
fn give_up(mut progress: Box<Progress>, error: LegError) -> Response<AnswerBody> {
    let is_told = LocalReply::tells(&error);
    progress.missed(&error, is_told);
    if matches!(error, LegError::Failed(Failure::ClientDeadline)) {
        return respond::hang_up(progress);
    }
    respond::reply(progress, &LocalReply::of(error))
}
