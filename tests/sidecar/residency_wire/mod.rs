//! Residency on the wire: thousands of requests over every endpoint, with faults, reloads, killed backends and clients
//! that leave. The backends themselves count which requests they saw.
//!
//! `SHIFTGATE_RESIDENCY_REQUESTS=20000 cargo test --test sidecar residency_wire -- --nocapture` makes the run long and
//! prints its figures.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::reload::eventually;
use crate::support::*;

mod asked;
mod backend;

use asked::{Asked, MAX_BODY, NAMES, TAGS, When, rules};
use backend::Backend;

/// Requests of the suite's run.
const REQUESTS: u64 = 2_000;
/// Sidecars that the requests are spread over, each with a file of its own.
const ROUNDS: u64 = 8;
const CLIENTS: u64 = 8;
/// One reload, and one kill or restart, among so many requests.
const RELOAD_EVERY: u64 = 20;
const KILL_EVERY: u64 = 50;

/// The file of a generation; without rules it has no generations.
fn text(backends: &[Backend], round: u64, generation: Option<u64>) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\nallow_override = true\n\
         max_body = \"{MAX_BODY}B\"\n[rollout]\nname = \"wire\"\nbaseline = \"openai\"\n\
         percent = {{ qwen = 30, local = 30 }}\n"
    );
    if round % 4 == 3 {
        text += "sticky = []\n";
    }
    for ((at, backend), tags) in backends.iter().enumerate().zip(TAGS) {
        let (name, url) = (NAMES[at], backend.address);
        let engine = if name == "qwen" { "vllm" } else { "openai" };
        let key = if at == 0 { "client" } else { "none" };
        text += &format!("[backend.{name}]\nengine = \"{engine}\"\nurl = \"http://{url}/v1\"\napi_key = \"{key}\"\n");
        text += &format!("tags = {tags:?}\nh2 = {}\n", round % 2 == 1);
        if at > 0 {
            text += "headers = [\"x-number\", \"x-fault\", \"x-region\"]\n";
        }
    }
    for (at, (when, allow)) in generation.map_or(&[][..], rules).iter().enumerate() {
        let condition = match when {
            When::Region => "header = { x-region = \"eu*\" }",
            When::Class => "field = { \"metadata.class\" = \"secret*\" }",
            When::Audio => "path = \"/v1/audio/*\"",
        };
        text += &format!("[[residency]]\nname = \"r{at}\"\nmatch = {{ {condition} }}\nallow = {allow:?}\n");
    }
    text
}

/// What one run has counted.
#[derive(Debug, Default)]
struct Counts {
    tagged: AtomicU64,
    untagged: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
    reloads: AtomicU64,
    kills: AtomicU64,
    compared: AtomicU64,
}

/// One sidecar under rules, and one without them.
struct Round {
    /// True if no backend fails.
    is_calm: bool,
    round: u64,
    backends: Arc<Vec<Backend>>,
    ruled: Running,
    plain: Running,
    counts: Arc<Counts>,
    reloading: tokio::sync::Mutex<()>,
    /// Every request, with the generations that it may have used.
    asked: Mutex<Vec<(Asked, RangeInclusive<u64>)>>,
}

impl Round {
    fn generation(&self) -> u64 {
        self.ruled.app.store.current().snapshot.generation
    }

    /// Saves the rules of the next generation, or kills or restarts a candidate.
    async fn disturb(&self, number: u64) {
        if number.is_multiple_of(RELOAD_EVERY) {
            let _one = self.reloading.lock().await;
            let next = self.generation() + 1;
            self.ruled.app.store.reload(Ok(text(&self.backends, self.round, Some(next)).into_bytes()));
            assert_eq!(self.generation(), next, "{:?}", self.ruled.app.store.reload_error());
            self.counts.reloads.fetch_add(1, Relaxed);
        }
        if number.is_multiple_of(KILL_EVERY) && !self.is_calm {
            let _one = self.reloading.lock().await;
            self.backends[1 + (number / KILL_EVERY / 2 % 2) as usize].toggle().await;
            self.counts.kills.fetch_add(1, Relaxed);
        }
    }

    /// Sends one request, and checks who saw it.
    async fn check(&self, asked: &Asked) {
        let before = self.generation();
        let answer = asked.send(self.ruled.address(), &self.backends).await;
        let after = self.generation();
        let place = answer.as_ref().map(|answer| {
            let header = |name| answer.header(name).unwrap_or_default();
            (answer.status, header("x-shiftgate-backend").to_owned(), header("x-shiftgate-reason").to_owned())
        });
        let own =
            answer.as_ref().map(|answer| answer.header("x-shiftgate-generation").unwrap().parse::<u64>().unwrap());
        let generations = own.map_or(before..=after, |own| own..=own);
        assert!(generations.clone().all(|generation| (before..=after).contains(&generation)));
        self.asked.lock().unwrap().push((asked.clone(), generations.clone()));
        let saw = self.who_saw(asked, &generations);
        let is_tagged = generations.clone().any(|generation| asked.may_see(generation).is_some());
        let counter = if is_tagged { &self.counts.tagged } else { &self.counts.untagged };
        counter.fetch_add(1, Relaxed);
        let Some((status, backend, reason)) = place else {
            self.counts.left.fetch_add(1, Relaxed);
            return;
        };
        assert!(backend.is_empty() || asked.is_for(&backend, &generations), "{backend} answers {asked:?}");
        if reason == "refused:residency" {
            assert!(is_tagged && saw.is_empty() && backend.is_empty() && status == 503, "{asked:?}: {saw:?} {status}");
            self.counts.refused.fetch_add(1, Relaxed);
        }
        assert!(status >= 300 || saw.contains(&&*backend), "{status} of {backend:?}, which saw nothing: {asked:?}");
        if !is_tagged && asked.fault.is_none() {
            self.compare(asked, (status, backend, reason)).await;
        }
    }

    /// Returns the backends that saw a request; fails if one of them may not.
    fn who_saw(&self, asked: &Asked, generations: &RangeInclusive<u64>) -> Vec<&'static str> {
        let saw: Vec<&str> =
            self.backends.iter().filter(|one| one.saw(asked.number)).map(|one| one.shared.name).collect();
        assert!(saw.iter().all(|name| asked.is_for(name, generations)), "{saw:?} saw {asked:?} of {generations:?}");
        saw
    }

    /// Asks the sidecar without rules: an untagged request is answered as by it.
    async fn compare(&self, asked: &Asked, (status, backend, reason): (u16, String, String)) {
        let answer = asked.send(self.plain.address(), &self.backends).await.unwrap();
        let header = |name| answer.header(name).unwrap_or_default().to_owned();
        let (plain_backend, plain_reason) = (header("x-shiftgate-backend"), header("x-shiftgate-reason"));
        let is_drawn = reason == "split" && (asked.session.is_none() || self.round % 4 == 3);
        if self.is_calm && !is_drawn {
            let plain = (answer.status, plain_backend, plain_reason);
            assert_eq!((status, backend, reason), plain, "{asked:?}");
        } else if self.is_calm || (asked.kind.4 && asked.named.is_none()) {
            assert_eq!((status, answer.status), (200, 200), "{asked:?}: {backend} {reason}");
        } else {
            return;
        }
        self.counts.compared.fetch_add(1, Relaxed);
    }
}

/// Runs one round: eight clients, each with every eighth request.
async fn run_round(round: u64, numbers: std::ops::Range<u64>, counts: &Arc<Counts>) {
    let mut backends = Vec::new();
    for name in NAMES {
        backends.push(Backend::start(name).await);
    }
    let (with, without) = (text(&backends, round, Some(1)), text(&backends, round, None));
    let round = Arc::new(Round {
        is_calm: round % 4 < 2,
        round,
        backends: Arc::new(backends),
        ruled: launch(&with, false).await,
        plain: launch(&without, false).await,
        counts: Arc::clone(counts),
        reloading: tokio::sync::Mutex::new(()),
        asked: Mutex::default(),
    });
    let next = Arc::new(AtomicU64::new(numbers.start));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (round, next, end) = (Arc::clone(&round), Arc::clone(&next), numbers.end);
        clients.spawn(async move {
            while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|number| *number < end) {
                let mut rng = StdRng::seed_from_u64(number);
                round.disturb(number).await;
                round.check(&Asked::random(number, &mut rng, round.is_calm)).await;
            }
        });
    }
    clients.join_all().await;
    // A request may reach a backend after its client has left.
    for running in [&round.ruled, &round.plain] {
        eventually(|| running.app.stats.in_flight.get() == 0).await;
    }
    for (asked, generations) in &*round.asked.lock().unwrap() {
        round.who_saw(asked, generations);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_backend_sees_a_request_that_it_may_not_see() {
    let long = std::env::var("SHIFTGATE_RESIDENCY_REQUESTS").ok().and_then(|number| number.parse::<u64>().ok());
    let (requests, counts) = (long.unwrap_or(REQUESTS), Arc::new(Counts::default()));
    let began = std::time::Instant::now();
    for round in 0..ROUNDS {
        run_round(round, requests * round / ROUNDS..requests * (round + 1) / ROUNDS, &counts).await;
    }
    let Counts { tagged, untagged, refused, left, kills, compared, .. } = &*counts;
    for (count, least) in [(tagged, 2), (untagged, 4), (refused, 20), (left, 80), (kills, 200), (compared, 10)] {
        assert!(count.load(Relaxed) >= requests / least, "too few of a kind: {counts:?}");
    }
    if long.is_some() {
        report(&counts, began.elapsed());
    }
}

#[expect(clippy::print_stderr, reason = "figures of a run that somebody asked for")]
fn report(counts: &Counts, took: std::time::Duration) {
    eprintln!("{counts:?}, in {took:.1?}; 0 requests at a backend that may not see them");
}
