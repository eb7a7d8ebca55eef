//! The guards of all candidates, and everything that reaches them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::ends;
use super::entry::{Entry, Totals};
use super::history::History;
use super::message::Message;
use super::notify::Notices;
use super::seen::{self, GuardSeen};
use super::trial::{Trials, Watch, Watched};
use crate::choose::Choice;
use crate::config::{Config, Guard as Settings, Route};
use crate::guard::{
    BaselineHealth, Ended, EntryCause, FileFacts, Guard, Lift, Move, MoveKind, Now, OtherSide, Side, StateFile, Waiting,
};
use crate::live::{InForce, Store};
use crate::model::{BackendId, Percent, Reason, TraceId};
use crate::outcome::{LegKind, Outcome, Role};
use crate::stats::lock;
use crate::telemetry::SPANS;

/// Interval at which ages are looked at. A request is overdue by at most so much more than the file says.
const TICK: Duration = Duration::from_millis(200);
/// Interval at which the sums of a hold are written, because answers come in meanwhile.
const RESAVE: Duration = Duration::from_secs(10);

/// The guards of a process, shared by requests, the reader of the file and the admin port.
#[derive(Debug)]
pub struct Guards {
    /// True while there is a candidate to guard.
    is_on: AtomicBool,
    inside: Mutex<Inside>,
    store: Arc<Store>,
    notices: Notices,
    disk: Disk,
    /// Name of the process in messages.
    instance: String,
}

#[derive(Debug)]
struct Inside {
    entries: Vec<Entry>,
    waiting: Waiting<Box<Trials>>,
    baseline: BaselineHealth,
    history: History,
    /// Counters of candidates that left the file, for those that return.
    gone: BTreeMap<String, Totals>,
    next_number: u64,
    /// True if the state differs from that of the file.
    is_changed: bool,
    saved_at: Instant,
}

impl Guards {
    /// Begins with what the state file says, and withdraws before the first request whom it says to.
    pub fn new(store: Arc<Store>, instance: String) -> Arc<Self> {
        let now = this_moment();
        let in_force = store.current();
        let config = &in_force.snapshot.config;
        let (disk, state) = Disk::open(config.server.state.clone());
        let inside = Inside {
            entries: Vec::new(),
            waiting: Waiting::default(),
            baseline: BaselineHealth::new(now.at),
            history: History::new(state.history.clone()),
            gone: BTreeMap::new(),
            next_number: 1,
            is_changed: false,
            saved_at: now.at,
        };
        let notices = Notices::default();
        let guards = Self { is_on: AtomicBool::new(false), inside: Mutex::new(inside), store, notices, disk, instance };
        guards.begin(&in_force, &state, now);
        Arc::new(guards)
    }

    fn begin(&self, in_force: &InForce, state: &StateFile, now: Now) {
        let inside = &mut *lock(&self.inside);
        inside.history.generation(in_force, EntryCause::Start, now);
        let mut moves = Vec::new();
        for (id, facts) in candidates(&in_force.snapshot.config) {
            let (number, epoch) = inside.number();
            let saved = state.candidates.iter().find(|saved| saved.candidate == facts.candidate);
            let guard = match saved {
                None => Guard::new(facts, epoch, now),
                Some(saved) => {
                    let (guard, lifted) = Guard::restore(facts, saved, epoch, now);
                    moves.extend(lifted.into_iter().map(|one| (number, one)));
                    if guard.is_withdrawn() {
                        let (name, why) = (&saved.candidate, saved.why.as_deref().unwrap_or_default());
                        tracing::warn!(backend = name, since = %saved.since, "{name} is still withdrawn: {why}");
                    }
                    guard
                }
            };
            inside.entries.push(Entry::new(number, guard, Totals::default(), report(in_force, id, now.at)));
        }
        inside.is_changed = true;
        self.is_on.store(!inside.entries.is_empty(), Relaxed);
        self.withdraw(inside);
        self.tell(inside, in_force, moves, now);
    }

    /// Takes a new reading of the file. `cause` is that of its history.
    pub fn follow(&self, cause: EntryCause) {
        let now = this_moment();
        let in_force = self.store.current();
        let config = &in_force.snapshot.config;
        let inside = &mut *lock(&self.inside);
        if !inside.history.generation(&in_force, cause, now) {
            return;
        }
        inside.is_changed = true;
        let mut moves = Vec::new();
        let mut found = candidates(config);
        let lift = if config.guard.is_none() { Lift::GuardGone } else { Lift::CandidateGone };
        let mut kept = Vec::new();
        for mut entry in std::mem::take(&mut inside.entries) {
            let number = entry.number;
            if let Some(at) = found.iter().position(|(_, facts)| facts.candidate == entry.name()) {
                let reloaded = entry.guard.reload(found.swap_remove(at).1, now);
                moves.extend(reloaded.moves.into_iter().map(|one| (number, one)));
                if let Some(warning) = reloaded.warning {
                    tracing::warn!(backend = entry.name(), "{warning}");
                }
                kept.push(entry);
            } else {
                let ended = entry.guard.remove(&lift, now);
                inside.gone.insert(entry.name().to_owned(), entry.totals.clone());
                self.tell_of(inside, &in_force, (&entry, ended), now);
            }
        }
        for (id, facts) in found {
            let (number, epoch) = inside.number();
            let totals = inside.gone.remove(&facts.candidate).unwrap_or_default();
            let guard = Guard::new(facts, epoch, now);
            kept.push(Entry::new(number, guard, totals, report(&in_force, id, now.at)));
        }
        inside.entries = kept;
        self.is_on.store(!inside.entries.is_empty(), Relaxed);
        self.withdraw(inside);
        self.tell(inside, &in_force, moves, now);
    }

    /// Watches a request that is being sent; `None` if it is no trial.
    pub fn sent(&self, in_force: &InForce, choice: &Choice, is_streamed: bool, trace: TraceId) -> Option<Watched> {
        let is_drawn = choice.reason() == Reason::Split && choice.decided().1 == Reason::Split && !choice.is_forced();
        if !is_drawn || !self.is_on.load(Relaxed) {
            return None;
        }
        let config = &in_force.snapshot.config;
        let (settings, route) = (config.guard.as_ref()?, &config[choice.route()]);
        let side = if choice.backend() == config.baseline { Side::Baseline } else { Side::Candidate };
        let now = Instant::now();
        let left = left(route);
        let might =
            route.percent.iter().filter(|(candidate, _)| side == Side::Baseline || *candidate == choice.backend());
        let fit: Vec<(&str, Percent)> = might
            .filter(|(candidate, own)| {
                *own > Percent::ZERO && in_force.is_fit(*candidate, side == Side::Candidate, now)
            })
            .map(|(candidate, own)| (config[*candidate].name.as_str(), *own))
            .collect();
        let inside = &mut *lock(&self.inside);
        // A request that took an older reading is no trial of what the file says by then.
        if !inside.history.is_of(in_force.snapshot.generation) {
            return None;
        }
        let trial = |(name, own): (&str, Percent)| {
            let entry = inside.entries.iter().find(|entry| entry.name() == name)?;
            Some((entry.number, entry.guard.draw(side, (own, left), choice.key_hash())?))
        };
        let of: Vec<_> = fit.into_iter().filter_map(trial).collect();
        if of.is_empty() {
            return None;
        }
        let trials = Box::new(Trials { of, side, trace });
        let watch = inside.waiting.watch(now, overdue(settings, route), is_streamed, trials);
        Some(Watched(watch.map_or_else(Watch::Begun, Watch::Waiting)))
    }

    /// Notes that something was generated, or that the leg has failed: its age does not decide any more.
    pub fn begun(&self, watched: &mut Watched) {
        if let Watch::Waiting(ticket) = watched.0 {
            watched.0 = lock(&self.inside).waiting.take(ticket).map_or(Watch::Decided, Watch::Begun);
        }
    }

    /// Takes the end of a request. Returns the candidate that it made a guard act on.
    pub fn ended(&self, watched: Option<Watched>, in_force: &InForce, outcome: &Outcome) -> Option<Arc<str>> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        let now = this_moment();
        let has_failover = in_force.snapshot.config.failover.enabled;
        let inside = &mut *lock(&self.inside);
        inside.note_baseline(outcome, now.at);
        let mut moves = Vec::new();
        for leg in outcome.legs.iter().filter(|leg| leg.role == Role::Candidate) {
            moves.extend(inside.breaker(in_force, &leg.backend.name, now));
        }
        let trials = watched.and_then(|watched| match watched.0 {
            Watch::Waiting(ticket) => inside.waiting.take(ticket),
            Watch::Begun(trials) => Some(trials),
            Watch::Decided => None,
        });
        if let (Some(trials), Some(end)) = (trials, ends::of(outcome, has_failover)) {
            moves.extend(inside.decide(&trials, end, now));
        }
        let acted = moves.iter().find(|(_, one)| one.kind == MoveKind::Held || one.kind == MoveKind::RolledBack);
        let acted = acted.and_then(|(number, _)| inside.entry(*number)).map(|entry| entry.name().into());
        self.act(inside, moves, now);
        acted
    }

    /// Looks at ages, holds and breakers.
    fn tick(&self) {
        if !self.is_on.load(Relaxed) {
            return;
        }
        let (now, in_force) = (this_moment(), self.store.current());
        let inside = &mut *lock(&self.inside);
        let mut moves = Vec::new();
        while let Some(trials) = inside.waiting.next_overdue(now.at) {
            if trials.side == Side::Baseline {
                inside.baseline.answered(false, now.at);
            }
            moves.extend(inside.decide(&trials, (Ended::Overdue, ends::OVERDUE), now));
        }
        let names: Vec<String> = inside.entries.iter().map(|entry| entry.name().to_owned()).collect();
        for name in names {
            moves.extend(inside.breaker(&in_force, &name, now));
        }
        let is_well = inside.baseline.is_well(now.at);
        for entry in &mut inside.entries {
            let number = entry.number;
            moves.extend(entry.guard.tick(is_well, now).into_iter().map(|one| (number, one)));
        }
        let is_held = inside.entries.iter().any(|entry| entry.guard.state() == crate::guard::State::Held);
        if is_held && now.at.saturating_duration_since(inside.saved_at) >= RESAVE {
            inside.is_changed = true;
        }
        self.act(inside, moves, now);
    }

    /// Puts moves in force, then tells of them.
    fn act(&self, inside: &mut Inside, moves: Vec<(u64, Move)>, now: Now) {
        if moves.is_empty() {
            return;
        }
        self.withdraw(inside);
        self.tell(inside, &self.store.current(), moves, now);
    }

    /// Withdraws exactly whom the guards withdraw.
    fn withdraw(&self, inside: &Inside) {
        let withdrawn = inside.entries.iter().filter(|entry| entry.guard.is_withdrawn());
        self.store.withdraw(withdrawn.map(|entry| entry.name().to_owned()).collect());
    }

    fn tell(&self, inside: &mut Inside, in_force: &InForce, moves: Vec<(u64, Move)>, now: Now) {
        let entries = std::mem::take(&mut inside.entries);
        for (number, one) in moves {
            if let Some(entry) = entries.iter().find(|entry| entry.number == number) {
                self.tell_of(inside, in_force, (entry, vec![one]), now);
            }
        }
        inside.entries = entries;
    }

    /// Tells of the moves of one candidate: history, log, trace, message.
    fn tell_of(&self, inside: &mut Inside, in_force: &InForce, (entry, moves): (&Entry, Vec<Move>), now: Now) {
        for one in moves {
            inside.is_changed = true;
            inside.history.moved(entry.name(), &one, now);
            log(entry.name(), &one);
            let config = &in_force.snapshot.config;
            if let Some(notify) = config.guard.as_ref().and_then(|guard| guard.notify.as_ref()) {
                self.notices.queue(notify, Message::of(config, &self.instance, entry, &one));
            }
        }
    }

    /// Returns what is shown.
    pub fn seen(&self) -> GuardSeen {
        let config = &self.store.current().snapshot.config;
        let inside = lock(&self.inside);
        GuardSeen {
            candidates: inside
                .entries
                .iter()
                .map(|entry| seen::candidate(entry, &shares(config, entry.name())))
                .collect(),
            unwatched: inside.waiting.unwatched(),
            messages: self.notices.counts(),
            state: self.disk.seen(),
            state_errors: self.disk.errors(),
        }
    }

    /// Returns the history as JSON.
    pub fn history(&self) -> serde_json::Result<Vec<u8>> {
        lock(&self.inside).history.to_json()
    }

    /// Looks at ages, writes the state file and sends messages, until the process ends.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let sender = tokio::spawn(Arc::clone(&self).send_messages());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
            self.save().await;
        }
        sender.abort();
    }

    async fn send_messages(self: Arc<Self>) {
        self.notices.send().await;
    }

    /// Writes the state file if the state has changed.
    pub async fn save(self: &Arc<Self>) {
        let state = {
            let now = this_moment();
            let inside = &mut *lock(&self.inside);
            if !inside.is_changed {
                return;
            }
            (inside.is_changed, inside.saved_at) = (false, now.at);
            let candidates = inside.entries.iter().map(|entry| entry.guard.saved(now)).collect();
            StateFile { candidates, history: inside.history.entries().clone() }
        };
        let guards = Arc::clone(self);
        // It fails only if the runtime ends, which the state of the file survives.
        drop(tokio::task::spawn_blocking(move || guards.disk.write(&state.write())).await);
    }
}

impl Inside {
    /// Returns the number of the next guard and that of its first epoch.
    fn number(&mut self) -> (u64, u64) {
        let number = self.next_number;
        self.next_number += 1;
        (number, 1)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    fn decide(&mut self, trials: &Trials, end: (Ended, &'static str), now: Now) -> Vec<(u64, Move)> {
        let mut moves = Vec::new();
        for (number, trial) in &trials.of {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == *number) {
                let of = entry.trial((trial, trials.trace), end, now);
                moves.extend(of.into_iter().map(|one| (*number, one)));
            }
        }
        moves
    }

    /// Tells a candidate's guard how its breaker changed.
    fn breaker(&mut self, in_force: &InForce, name: &str, now: Now) -> Vec<(u64, Move)> {
        let is_well = self.baseline.is_well(now.at);
        let id = in_force.snapshot.config.backend(name);
        let entry = self.entries.iter_mut().find(|entry| entry.name() == name);
        let (Some(id), Some(entry)) = (id, entry) else { return Vec::new() };
        let number = entry.number;
        let moves = entry.breaker(report(in_force, id, now.at), is_well, now);
        moves.into_iter().map(|one| (number, one)).collect()
    }

    /// Notes how the baseline answered, whatever sent the request there.
    fn note_baseline(&mut self, outcome: &Outcome, now: Instant) {
        let served = outcome.legs.iter().filter(|leg| leg.role == Role::Baseline && leg.kind == LegKind::Served);
        for leg in served.filter(|_| outcome.operation.is_some()) {
            match ends::of_leg(leg, OtherSide::NotAnswered) {
                Ended::Answered => self.baseline.answered(true, now),
                Ended::Failed(_) | Ended::Cut => self.baseline.answered(false, now),
                _ => {}
            }
        }
    }
}

fn this_moment() -> Now {
    Now { at: Instant::now(), time: jiff::Timestamp::now() }
}

/// The candidates that the file has a guard for.
fn candidates(config: &Config) -> Vec<(BackendId, FileFacts)> {
    config.backends_with_ids().filter_map(|(id, _)| Some((id, FileFacts::of(config, id)?))).collect()
}

fn report(in_force: &InForce, id: BackendId, now: Instant) -> crate::health::Report {
    in_force.health(id).report(now)
}

/// Age at which a request of a route is overdue.
fn overdue(settings: &Settings, route: &Route) -> Duration {
    route.overdue.unwrap_or(settings.errors.overdue)
}

/// The baseline's percent on a route of the file.
fn left(route: &Route) -> Percent {
    let shifted: u16 = route.percent.iter().map(|(_, percent)| percent.hundredths()).sum();
    Percent::from_hundredths(10_000_u16.saturating_sub(shifted)).unwrap_or_default()
}

/// Percents of a candidate and of the baseline on each route of the file.
fn shares(config: &Config, name: &str) -> Vec<(Percent, Percent)> {
    let own = |route: &Route| {
        let id = config.backend(name);
        route.percent.iter().find(|(candidate, _)| Some(*candidate) == id).map_or(Percent::ZERO, |(_, own)| *own)
    };
    config.routes.iter().map(|route| (own(route), left(route))).collect()
}

fn log(name: &str, one: &Move) {
    let (from, to, why) = (one.from.as_str(), one.to.as_str(), one.why.as_str());
    match one.kind {
        MoveKind::Held | MoveKind::RolledBack => {
            let tally = &one.tally;
            // tracing-opentelemetry exports only `i64` as an integer; other integers become strings.
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let span = tracing::info_span!(
                target: SPANS,
                "shiftgate.rolled_back",
                shiftgate.backend = name,
                shiftgate.guard.event = one.kind.as_str(),
                shiftgate.guard.cause = one.cause.as_str(),
                shiftgate.guard.why = why,
                shiftgate.guard.evidence = one.evidence,
                shiftgate.guard.threshold = one.threshold,
                shiftgate.guard.candidate.trials = number(tally.trials.candidate),
                shiftgate.guard.candidate.counted = number(tally.counted.candidate),
                shiftgate.guard.baseline.trials = number(tally.trials.baseline),
                shiftgate.guard.baseline.counted = number(tally.counted.baseline),
            );
            let _inside = span.enter();
            tracing::warn!(backend = name, event = one.kind.as_str(), from, to, "{why}");
        }
        MoveKind::Released | MoveKind::Lifted => {
            tracing::info!(backend = name, event = one.kind.as_str(), from, to, "{why}");
        }
    }
}
