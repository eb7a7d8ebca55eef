//! One copy: planned, admitted, sent, read to its end.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::body;
use super::budget::Budget;
use super::capture::{Kept, MAX_ANSWER};
use super::offer::Offer;
use super::shared::Shared;
use super::targets::{is_candidate_well, is_load_low};
use crate::backend::{Failure, Target};
use crate::config::Shadow;
use crate::exchange::{LegError, Plan, Room, open, read_to_end};
use crate::model::{BackendId, CopyResult, Fault};
use crate::outcome::{Ending, LegEnd, LegKind, Miss, MissKind, OtherAnswer, Role, Trail};
use crate::stats::{Permit, lock};
use crate::telemetry::cost;
use crate::wire::answer_facts::Usage;

/// Tokens that an answer is charged for if the application does not limit them.
const TOKENS: u64 = 1024;
/// Limit of the tokens that an answer is charged for: no model generates more. The application's limit may be any number.
const MAX_TOKENS: u64 = 131_072;
/// Bytes of a body that are charged as one token.
const BYTES_PER_TOKEN: u64 = 4;

/// A copy that may be sent.
#[derive(Debug)]
pub(super) struct ReadyLeg {
    pub(super) to: BackendId,
    kind: LegKind,
    plan: Plan,
    target: Arc<Target>,
    permit: Permit,
    /// Memory of the copy's bodies.
    body_room: Room,
    /// Memory of its answer while it is opened.
    room: Room,
    kept: Kept,
    /// Money taken from the budget, in USD.
    charge: f64,
    /// Requests that waited in the server's queue when the copy was sent.
    waiting: Option<f64>,
}

/// A copy after its end.
#[derive(Debug)]
pub(super) struct LegDone {
    pub(super) to: BackendId,
    pub(super) end: Arc<LegEnd>,
    /// The answer as far as it is kept. Holds its memory until the comparison is over.
    pub(super) kept: Kept,
    pub(super) is_cancelled: bool,
    pub(super) cost_usd: Option<f64>,
    pub(super) waiting: Option<f64>,
}

/// Returns the reason for which a request can never be copied to this backend; `None` if it can.
pub(super) fn impossible(offer: &Offer, to: BackendId, now: Instant) -> Option<CopyResult> {
    let is_eligible = offer.inbound.scan().is_some_and(|scan| body::is_eligible(offer.inbound.endpoint(), scan));
    if !is_eligible {
        return Some(CopyResult::Ineligible);
    }
    offer.in_force.copy(&offer.choice, &offer.inbound.to_choose(), to, now).err()
}

/// Prepares a copy, or returns the first reason against it.
pub(super) fn prepare(
    shared: &Shared,
    offer: &Offer,
    (to, kind): (BackendId, LegKind),
    now: Instant,
) -> Result<ReadyLeg, CopyResult> {
    let config = &offer.in_force.snapshot.config;
    let (Some(scan), Some(shadow)) = (offer.inbound.scan(), &config.shadow) else { return Err(CopyResult::Ineligible) };
    if !body::is_eligible(offer.inbound.endpoint(), scan) {
        return Err(CopyResult::Ineligible);
    }
    let choice = offer.in_force.copy(&offer.choice, &offer.inbound.to_choose(), to, now)?;
    let served = offer.in_force.target(&choice);
    let target = shared.receivers.of(served, shadow.timeout).map_err(|_| CopyResult::Unwell)?;
    let role = offer.in_force.role(to);
    let copy = Arc::new(offer.inbound.with_body(body::of_copy(offer.inbound.endpoint(), scan, role == Role::Baseline)));
    let plan = Plan::new(&copy, &target, role).map_err(|_| CopyResult::Untranslatable)?;
    if !is_well(shared, offer, served, (to, role), now) {
        return Err(CopyResult::Unwell);
    }
    let permit = shared.stats.shadow.in_flight.try_acquire(1, shadow.max_in_flight as u64);
    let permit = permit.ok_or(CopyResult::InFlight)?;
    let room = || Room::of(&shared.stats.shadow.bytes, shadow.max_bytes);
    let mut body_room = room();
    let bytes = copy.body().map_or(0, Bytes::len) + plan.body_len();
    if !body_room.hold(bytes as u64) {
        return Err(CopyResult::Bytes);
    }
    let reading = served.load.reading(now);
    let charge = estimate(&target, plan.model(), scan_tokens(offer), reading.tokens_per_second);
    if !charged(shared, shadow, charge, now) {
        return Err(CopyResult::Budget);
    }
    let plan = plan
        .with_affinity(offer.sample.key)
        .with_max_whole(MAX_ANSWER as u64)
        .without_client_deadlines()
        .traced(offer.trace, shared.tracer.is_some());
    let kept = Kept::new(offer.inbound.endpoint(), offer.inbound.is_stream(), room());
    Ok(ReadyLeg { to, kind, plan, target, permit, body_room, room: room(), kept, charge, waiting: reading.waiting })
}

fn is_well(shared: &Shared, offer: &Offer, served: &Target, (to, role): (BackendId, Role), now: Instant) -> bool {
    if shared.receivers.is_paused(&served.config.name, now) {
        return false;
    }
    match role {
        Role::Baseline => !served.quota.is_tight(now) && is_load_low(served, now),
        Role::Candidate => is_candidate_well(served, offer.in_force.shares.is_withdrawn(to), now),
    }
}

/// Tokens that the copy is charged for: of the prompt by its length, of the answer by its limit.
fn scan_tokens(offer: &Offer) -> Usage {
    let input = offer.inbound.body().map_or(0, Bytes::len) as u64 / BYTES_PER_TOKEN;
    let output = offer.inbound.scan().and_then(body::max_tokens).unwrap_or(TOKENS).min(MAX_TOKENS);
    Usage { input, output, ..Usage::default() }
}

/// Returns the cost of these tokens in USD; 0 without a price, so that the budget does not bind.
fn estimate(target: &Target, model: &str, tokens: Usage, measured: Option<f64>) -> f64 {
    cost::usd(target.config.price.as_ref(), model, tokens, || measured).unwrap_or(0.0)
}

fn charged(shared: &Shared, shadow: &Shadow, usd: f64, now: Instant) -> bool {
    let mut budget = lock(&shared.budget);
    budget.get_or_insert_with(|| Budget::full(shadow.budget_usd_per_hour, now)).charge(usd, now)
}

impl ReadyLeg {
    /// Sends the copy and reads its answer, until `cancel`.
    pub(super) async fn run(mut self, shared: Arc<Shared>, cancel: CancellationToken) -> LegDone {
        let mut trail = self.plan.trail(self.kind);
        let read = {
            let work = Box::pin(exchange(&self.plan, &self.target, (&mut self.room, &mut self.kept), &mut trail));
            tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                read = work => Some(read),
            }
        };
        let Self { to, target, permit, body_room, room, mut kept, charge, waiting, .. } = self;
        drop((permit, body_room, room));
        let is_cancelled = read.is_none();
        if !matches!(read, Some(Ok(_))) {
            kept.clear();
        }
        let ending = match read {
            None => Ending::ClientGone,
            Some(Ok(ending)) => ending,
            Some(Err(LegError::NoRoom | LegError::Failed(Failure::TooLarge(_)))) => {
                kept.give_up_over_cap();
                Ending::Missed(Miss { fault: Fault::Shed, kind: MissKind::Process })
            }
            Some(Err(error)) => {
                let miss = error.miss(trail.is_stream(), trail.facts.first_content.is_some());
                if let MissKind::Busy(retry_after) = miss.kind {
                    shared.receivers.pause(&target.config.name, retry_after, Instant::now());
                }
                Ending::Missed(miss)
            }
        };
        let end = trail.end(ending, OtherAnswer::NotAsked, Instant::now());
        let cost_usd = settle(&shared, &target, &end, charge);
        LegDone { to, end: Arc::new(end), kept, is_cancelled, cost_usd, waiting }
    }
}

async fn exchange(
    plan: &Plan,
    target: &Target,
    (room, kept): (&mut Room, &mut Kept),
    trail: &mut Trail,
) -> Result<Ending, LegError> {
    let opened = open(plan, None, Instant::now(), room, trail).await;
    match &opened {
        Ok(opened) => target.quota.note(opened.head.status, &opened.head.headers, Instant::now()),
        Err(LegError::Rejected { status: status @ StatusCode::TOO_MANY_REQUESTS, .. }) => {
            target.quota.note(*status, &http::HeaderMap::new(), Instant::now());
        }
        Err(_) => {}
    }
    read_to_end(opened?, |bytes| if kept.push(bytes) { Ok(()) } else { Err(LegError::NoRoom) }, trail).await
}

/// Corrects the charge by the tokens that the backend counted; the charge stays where these are not known. Returns the
/// cost, if it is known.
fn settle(shared: &Shared, target: &Target, end: &LegEnd, charge: f64) -> Option<f64> {
    let now = Instant::now();
    let measured = || target.load.reading(now).tokens_per_second;
    if let Some(usage) = end.facts.usage {
        target.load.add_copied(usage.output);
    }
    let cost = end.facts.usage.and_then(|usage| cost::usd(target.config.price.as_ref(), &end.model, usage, measured));
    let known = cost.or_else(|| is_free(end).then_some(0.0)).or_else(|| abandoned(target, end, charge, measured()));
    if let (Some(cost), Some(budget)) = (known, lock(&shared.budget).as_mut()) {
        budget.settle(charge, cost, now);
    }
    cost
}

/// Returns the most that a copy is charged for which was cancelled in the middle of its work: [`TOKENS`] of its answer,
/// and at most its charge. `None` if it was not cancelled.
fn abandoned(target: &Target, end: &LegEnd, charge: f64, measured: Option<f64>) -> Option<f64> {
    let usage = Usage { output: TOKENS, ..Usage::default() };
    (end.ending == Ending::ClientGone).then(|| estimate(target, &end.model, usage, measured).min(charge))
}

/// True if the backend cannot have generated anything: it was not reached, or it refused. One that was left in the
/// middle of its work may bill it.
fn is_free(end: &LegEnd) -> bool {
    let Some(last) = end.attempts.last() else { return true };
    match last.status.map(StatusCode::from_u16) {
        Some(status) => !status.is_ok_and(|status| status.is_success()),
        None => matches!(last.fault, Some(Fault::Connect | Fault::Tls | Fault::Dns)),
    }
}
