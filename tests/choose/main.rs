//! The one choosing function against the order of decision, over random states.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::{HeaderMap, HeaderValue};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shiftgate::api::choose::{
    Availability, Body, Choice, Facts, Instead, Known, Request, Salts, Shares, UNITS, choose, instead,
};
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::model::{BackendId, Cause, Pin, Reason, RouteId};
use shiftgate::api::wire::endpoint::Endpoint;
use shiftgate::api::wire::scan::{self, Scan};

mod expected;
mod explain;
mod residency;
mod state;

use expected::{Expected, Reasons, State};
use state::{AskedState, BodyKind, FileState, LiveState};

/// Number of files, and of requests under each: 100,000 states.
const FILES: usize = 4_000;
const REQUESTS: usize = 25;

/// Seed of the first file. The environment may set another one: any has to do.
fn first_seed() -> u64 {
    std::env::var("SHIFTGATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(14)
}

fn parse(file: &FileState) -> Config {
    let text = file.text();
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Required, &|_| None)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn headers(asked: &AskedState) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Facts of one state. The choice must not ask for the baseline's availability.
struct Live<'a> {
    state: &'a LiveState,
    baseline: usize,
}

impl Facts for Live<'_> {
    fn known(&self, backend: BackendId) -> Known {
        self.state.known[backend.index()]
    }

    fn availability(&self, backend: BackendId) -> Availability {
        assert_ne!(backend.index(), self.baseline, "the baseline is asked whatever its state");
        self.state.availability[backend.index()]
    }
}

/// One file, made ready as `live` does it.
struct Rules<'a> {
    file: &'a FileState,
    config: &'a Config,
    salts: &'a Salts,
}

impl Rules<'_> {
    fn shares(&self, withdrawn: &[usize]) -> Arc<Shares> {
        let withdrawn: Vec<BackendId> = withdrawn.iter().copied().map(BackendId::new).collect();
        Arc::new(Shares::of_file(self.config).withdrawing(&withdrawn))
    }

    /// The choice, and whether a number was drawn for it; `None` where the header names no backend.
    fn choose(
        &self,
        (shares, live): (&Arc<Shares>, &LiveState),
        (asked, scanned): (&AskedState, Option<&Scan<'_>>),
        unit: u16,
    ) -> (Option<Choice>, bool) {
        let endpoint = Endpoint::of(&asked.method, &asked.path);
        let body = match scanned {
            _ if !endpoint.is_read() => Body::NotRead,
            _ if asked.body_kind == BodyKind::OverCap => Body::OverCap,
            Some(scan) => Body::Scanned(scan),
            None => Body::Unparsable,
        };
        let headers = headers(asked);
        let request = Request { endpoint: &endpoint, path: &asked.path, query: None, headers: &headers, body };
        let facts = Live { state: live, baseline: self.file.baseline };
        let mut is_random = false;
        let draw = &mut || {
            is_random = true;
            unit
        };
        let choice = choose(self.config, (self.salts, shares), &request, &facts, draw).ok();
        (choice, is_random)
    }
}

/// Checks one state; returns the word of the reason.
fn check(rules: &Rules<'_>, state: State<'_>, unit: u16) -> &'static str {
    let State { file, live, asked } = state;
    let shares = rules.shares(&live.withdrawn);
    let scanned = scan::scan(asked.body.as_bytes()).ok();
    let (choice, is_random) = rules.choose((&shares, live), (asked, scanned.as_ref()), unit);
    let drawn = choice.as_ref().and_then(Choice::drawn);
    // The bytes of a key that is a hash are not known here: its unit is taken as it is.
    let expected = state.expected(|draw| match (draw.key, draw.hash) {
        (_, Some(hash)) => expected::unit(hash),
        (None, None) => unit,
        (Some(_), None) => drawn.unwrap().unit,
    });
    let (Some(choice), Some(expected)) = (&choice, &expected) else {
        assert!(choice.is_none() && expected.is_none(), "a backend that is not in the file: {choice:?}, {expected:?}");
        return "unknown";
    };
    assert!(state.allowed().contains(&choice.backend().index()), "{choice:?} is not allowed; expected {expected:?}");
    fits(choice, expected);
    assert!(Arc::ptr_eq(choice.shares(), &shares), "the shares are those that it was drawn from");
    let at = choice.decided().0.index();
    let share = if live.withdrawn.contains(&at) { 0 } else { file.routes[expected.route].percent[at] };
    let percent = choice.percent().map(|percent| percent.hundredths());
    assert_eq!(percent, (at != file.baseline).then_some(share), "the percent in force of the one decided for");
    draws(choice, expected, is_random, unit);
    let is_unavailable = file.failover && at != file.baseline && live.availability[at] != Availability::Free;
    assert_eq!(choice.is_forced(), expected.is_bound && is_unavailable, "{choice:?}");
    goes_instead(rules, choice, expected);
    choice.reason().as_str()
}

#[track_caller]
fn fits(choice: &Choice, expected: &Expected) {
    let is = |(backend, reason): (BackendId, &str), (at, words): &(usize, Reasons)| {
        backend.index() == *at && words.contains(reason)
    };
    let (backend, reason) = choice.decided();
    let fits = choice.route() == RouteId::new(expected.route)
        && is((choice.backend(), choice.reason().as_str()), &expected.asked)
        && is((backend, reason.as_str()), &expected.decided);
    assert!(fits, "got {choice:?}\nexpected {expected:?}");
}

#[track_caller]
fn draws(choice: &Choice, expected: &Expected, is_random: bool, unit: u16) {
    let Some(drawn) = choice.drawn() else {
        assert!(expected.draw.is_none() && !is_random, "it was not drawn: {choice:?}");
        return;
    };
    let draw = expected.draw.as_ref().unwrap_or_else(|| panic!("it was drawn: {choice:?}"));
    assert_eq!(drawn.key, draw.key);
    assert_eq!(is_random, draw.key.is_none(), "a number is drawn for a request without a key only");
    assert_eq!(drawn.key_hash.is_some(), draw.key.is_some());
    match drawn.key_hash {
        Some(hash) => {
            assert_eq!(drawn.unit, expected::unit(hash));
            assert_eq!(hash, draw.hash.unwrap_or(hash));
        }
        None => assert_eq!(drawn.unit, unit),
    }
}

/// Asks for the next backend for every reason: it is the baseline, or there is none.
#[track_caller]
fn goes_instead(rules: &Rules<'_>, choice: &Choice, expected: &Expected) {
    let Rules { file, config, .. } = rules;
    let is_last = choice.backend().index() == file.baseline || expected.is_bound;
    let is_moved = |why: Instead, word: &str| {
        let moved = instead(config, choice, why);
        let is_expected = !is_last && (file.failover || matches!(why, Instead::Pinned(_)));
        assert_eq!(moved.is_some(), is_expected, "{why:?} of {choice:?}");
        let Some(moved) = moved else { return };
        assert_eq!((moved.backend().index(), moved.reason().as_str()), (file.baseline, word));
        assert_eq!((moved.route(), moved.drawn()), (choice.route(), choice.drawn()));
        let decided =
            if matches!(why, Instead::Pinned(_)) { (config.baseline, moved.reason()) } else { choice.decided() };
        assert_eq!(moved.decided(), decided);
        assert!(instead(config, &moved, why).is_none(), "the baseline is the last one");
    };
    assert!(instead(config, choice, Instead::Unavailable(Availability::Free)).is_none());
    is_moved(Instead::Unavailable(Availability::Overload), "overload");
    is_moved(Instead::Unavailable(Availability::Cooldown), "cooldown");
    is_moved(Instead::Unavailable(Availability::Breaker), "breaker");
    for cause in Cause::ALL {
        is_moved(Instead::Failed(cause), &format!("failover:{}", cause.as_str()));
    }
    for pin in [Pin::Vision, Pin::Strict] {
        is_moved(Instead::Pinned(pin), &format!("pinned:{}", pin.as_str()));
    }
}

/// Withdrawing candidates moves their own requests, and no other.
#[track_caller]
fn only_its_own_move(rules: &Rules<'_>, State { live, asked, .. }: State<'_>, unit: u16) {
    let scanned = scan::scan(asked.body.as_bytes()).ok();
    let of = |withdrawn: &[usize]| rules.choose((&rules.shares(withdrawn), live), (asked, scanned.as_ref()), unit).0;
    let (Some(before), Some(after)) = (of(&[]), of(&live.withdrawn)) else { return };
    if !live.withdrawn.contains(&before.decided().0.index()) {
        let of = |choice: &Choice| (choice.backend(), choice.reason(), choice.decided(), choice.drawn());
        assert_eq!(of(&before), of(&after), "withdrawn are {:?}", live.withdrawn);
    }
}

/// Names the state on a panic: its seed makes it again.
struct Naming<'a>(u64, State<'a>, u16);

impl Drop for Naming<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed, State { file, live, asked }, unit) = self;
            eprintln!(
                "SHIFTGATE_TEST_SEED={seed} (first file), unit {unit}\n{}\n{live:?}\n{} {}\n{:?}\n{}",
                file.text(),
                asked.method,
                asked.path,
                asked.headers,
                asked.body
            );
        }
    }
}

/// Checks this many files, on two threads, and counts the words of their states.
fn check_files(files: usize, one_file: fn(u64, &mut BTreeMap<&'static str, usize>)) -> BTreeMap<&'static str, usize> {
    let (first, next) = (first_seed(), AtomicUsize::new(0));
    let work = || {
        let mut words = BTreeMap::new();
        while let Some(at) = Some(next.fetch_add(1, Relaxed)).filter(|at| *at < files) {
            one_file(first.wrapping_add(at as u64), &mut words);
        }
        words
    };
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        for worker in [(); 2].map(|()| scope.spawn(work)) {
            for (word, count) in worker.join().unwrap_or_else(|_| panic!("a state does not fit; it is named above")) {
                *words.entry(word).or_default() += count;
            }
        }
    });
    words
}

/// Checks one file under many requests, and counts the reasons.
fn one_file(seed: u64, reasons: &mut BTreeMap<&'static str, usize>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let file = FileState::random(&mut rng);
    let config = parse(&file);
    let rules = Rules { file: &file, config: &config, salts: &Salts::new(&config) };
    for _ in 0..REQUESTS {
        let (live, asked) = (LiveState::random(&mut rng, &file), AskedState::random(&mut rng, &file));
        let (state, unit) = (State { file: &file, live: &live, asked: &asked }, rng.random_range(0..UNITS));
        let _naming = Naming(seed, state, unit);
        *reasons.entry(check(&rules, state, unit)).or_default() += 1;
        if rng.random_bool(0.2) {
            only_its_own_move(&rules, state, unit);
        }
    }
}

#[test]
fn the_first_reason_that_applies_decides_in_a_hundred_thousand_states() {
    let reasons = check_files(FILES, one_file);
    assert_eq!(reasons.values().sum::<usize>(), FILES * REQUESTS);
    // No file of this test has residency rules.
    let pins = Pin::ALL.iter().filter(|pin| **pin != Pin::Residency).map(|pin| format!("pinned:{}", pin.as_str()));
    let others = ["split", "affinity", "override", "rolled_back", "overload", "cooldown", "breaker", "unknown"];
    for word in others.map(str::to_owned).into_iter().chain(pins) {
        assert!(reasons.get(word.as_str()).is_some_and(|count| *count >= 20), "{word} is too rare: {reasons:?}");
    }
}
