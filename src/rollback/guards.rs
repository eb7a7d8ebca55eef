//! The guards of all candidates, and everything that reaches them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::ends;
use super::entry::{Entry, Totals};
use super::history::{self, History};
use super::inside::Inside;
use super::log::log;
use super::message::Message;
use super::notify::Notices;
use super::rules;
use super::seen::{self, CandidateGuard, GuardSeen};
use super::trial::{Trials, Watch, Watched};
use crate::choose::Choice;
use crate::config::Config;
use crate::guard::{
    BaselineHealth, Ended, EntryCause, Guard, Lift, Move, MoveKind, Now, Side, State, StateFile, Waiting,
};
use crate::live::{InForce, Store};
use crate::model::{Percent, Reason, TraceId};
use crate::outcome::{Outcome, Role};
use crate::stats::{Stats, lock};

/// Interval at which ages are looked at. A request is overdue by at most so much more than the file says.
const TICK: Duration = Duration::from_millis(200);
/// Candidates without a guard whose counters are kept; at the limit all of them begin anew, as after a restart.
const MAX_GONE: usize = 64;
/// Interval at which the sums of a hold are written, because answers come in meanwhile, and at which a file that could not
/// be written is tried again.
const RESAVE: Duration = Duration::from_secs(10);

/// The guards of a process, shared by requests, the reader of the file and the admin port.
#[derive(Debug)]
pub struct Guards {
    /// True while there is a candidate to guard.
    is_on: AtomicBool,
    inside: Mutex<Inside>,
    store: Arc<Store>,
    stats: Arc<Stats>,
    notices: Notices,
    disk: Disk,
    /// Held from a look at the state until it is written, so that no older state replaces a newer one.
    saving: tokio::sync::Mutex<()>,
    /// Wakes the writer of the state file.
    changed: Notify,
    /// Ends [`Guards::run`].
    stop: CancellationToken,
    /// Name of the process in messages.
    instance: String,
}

impl Guards {
    /// Begins with what the state file says, and withdraws before the first request whom it says to.
    pub fn new(store: Arc<Store>, stats: Arc<Stats>, instance: String) -> Arc<Self> {
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
        let (is_on, inside) = (AtomicBool::new(false), Mutex::new(inside));
        let (saving, changed, stop) = (tokio::sync::Mutex::default(), Notify::new(), CancellationToken::new());
        let guards = Self { is_on, inside, store, stats, notices, disk, saving, changed, stop, instance };
        guards.begin(&in_force, &state, now);
        Arc::new(guards)
    }

    fn begin(&self, in_force: &InForce, state: &StateFile, now: Now) {
        let inside = &mut *lock(&self.inside);
        inside.history.generation(in_force, EntryCause::Start, now);
        let mut moves = Vec::new();
        for (id, facts) in rules::candidates(&in_force.snapshot.config) {
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
            inside.entries.push(Entry::new(number, guard, Totals::default(), in_force.health(id).report(now.at)));
        }
        inside.is_changed = true;
        self.is_on.store(!inside.entries.is_empty(), Relaxed);
        self.withdraw(inside);
        let is_found = |name: &str| inside.entries.iter().any(|entry| entry.name() == name);
        let gone =
            state.candidates.iter().filter(|saved| saved.state != State::Watching && !is_found(&saved.candidate));
        for saved in gone {
            let name = &saved.candidate;
            let why = match in_force.snapshot.config.guard {
                None => "the file has no [guard] any more".to_owned(),
                Some(_) => format!("{name} is not a candidate of the file any more"),
            };
            tracing::info!(backend = name, event = "lifted", from = saved.state.as_str(), to = "watching", "{why}");
            inside.history.lifted(saved, why, now);
        }
        self.tell(inside, in_force, moves, now);
    }

    /// Takes a new reading of the file. `cause` returns what made it, for the history.
    pub fn follow(&self, cause: impl FnOnce() -> EntryCause) {
        let now = this_moment();
        let in_force = self.store.current();
        let config = &in_force.snapshot.config;
        let inside = &mut *lock(&self.inside);
        if inside.history.is_of(in_force.snapshot.generation) {
            return;
        }
        inside.history.generation(&in_force, cause(), now);
        inside.is_changed = true;
        let mut moves = Vec::new();
        let mut found = rules::candidates(config);
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
                if inside.gone.len() >= MAX_GONE {
                    inside.gone.clear();
                }
                inside.gone.insert(entry.name().to_owned(), entry.totals.clone());
                self.tell_of(inside, &in_force, (&entry, ended), now);
            }
        }
        for (id, facts) in found {
            let (number, epoch) = inside.number();
            let totals = inside.gone.remove(&facts.candidate).unwrap_or_default();
            let guard = Guard::new(facts, epoch, now);
            kept.push(Entry::new(number, guard, totals, in_force.health(id).report(now.at)));
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
        let left = route.left();
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
        let watch = inside.waiting.watch(now, rules::overdue(settings, route), is_streamed, trials);
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
        if (inside.has_hold() || self.disk.is_failing()) && now.at.saturating_duration_since(inside.saved_at) >= RESAVE
        {
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
        let mut entries = std::mem::take(&mut inside.entries);
        for (number, one) in moves {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.number == number) {
                entry.copies = self.stats.shadow.answered(entry.name());
                self.tell_of(inside, in_force, (entry, vec![one]), now);
            }
        }
        inside.entries = entries;
    }

    /// Tells of the moves of one candidate: history, log, trace, message.
    fn tell_of(&self, inside: &mut Inside, in_force: &InForce, (entry, moves): (&Entry, Vec<Move>), now: Now) {
        for one in moves {
            inside.is_changed = true;
            self.changed.notify_one();
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
            candidates: inside.entries.iter().map(|entry| self.candidate(entry, config)).collect(),
            unwatched: inside.waiting.unwatched(),
            messages: self.notices.counts().to_vec(),
            state: self.disk.seen(),
            state_errors: self.disk.errors(),
        }
    }

    fn candidate(&self, entry: &Entry, config: &Config) -> CandidateGuard {
        let (answered, of) = self.stats.shadow.answered(entry.name());
        let since = (answered.saturating_sub(entry.copies.0), of.saturating_sub(entry.copies.1));
        seen::candidate(entry, &rules::shares(config, entry.name()), since)
    }

    /// Returns the history as JSON.
    pub fn history(&self) -> serde_json::Result<Vec<u8>> {
        let entries = lock(&self.inside).history.entries();
        history::to_json(&entries)
    }

    /// Looks at ages, writes the state file and sends messages, until [`Guards::finish`].
    pub async fn run(self: Arc<Self>) {
        tokio::spawn(Arc::clone(&self).send_messages());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let next = async |ticks: &mut tokio::time::Interval| {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.changed.notified() => {}
            }
        };
        while self.stop.run_until_cancelled(next(&mut ticks)).await.is_some() {
            self.tick();
            self.save().await;
        }
    }

    /// Writes the state as it is at the end of the process, and delivers messages within `limit`. A hold keeps the time
    /// that it has left.
    pub async fn finish(self: &Arc<Self>, limit: Duration) {
        self.stop.cancel();
        {
            let inside = &mut *lock(&self.inside);
            inside.is_changed |= inside.has_hold();
        }
        self.save().await;
        self.notices.finish(limit).await;
    }

    async fn send_messages(self: Arc<Self>) {
        self.notices.send().await;
    }

    /// Writes the state file if the state has changed.
    async fn save(self: &Arc<Self>) {
        let _saving = self.saving.lock().await;
        let (candidates, history) = {
            let now = this_moment();
            let inside = &mut *lock(&self.inside);
            if !inside.is_changed {
                return;
            }
            (inside.is_changed, inside.saved_at) = (false, now.at);
            let candidates = inside.entries.iter().map(|entry| entry.guard.saved(now)).collect();
            (candidates, inside.history.entries())
        };
        let guards = Arc::clone(self);
        // It fails only if the runtime ends, which the state of the file survives.
        drop(
            tokio::task::spawn_blocking(move || {
                let state = StateFile { candidates, history: history.as_ref().clone() };
                guards.disk.write(&state.write());
            })
            .await,
        );
    }
}

fn this_moment() -> Now {
    Now { at: Instant::now(), time: jiff::Timestamp::now() }
}
