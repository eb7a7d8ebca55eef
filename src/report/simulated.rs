//! How often the report errs, simulated in the pure core: pairs that are drawn, sums, intervals, the verdict.

use std::borrow::Cow;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cell::Quantity;
use super::figures::Figured;
use super::interval::{Interval, Scale, mean};
use super::key_hours::Observations;
use super::line::{Leg, Pair, Scores};
use super::row::{RowData, RowKey};
use super::verdict::Verdict;
use super::vocabulary::{CheckName, FlipName, LegOutcome, Mode, PairKind};

/// Milliseconds since 1970 of the first pair.
const BEGIN: i64 = 1_795_161_600_000;
/// Milliseconds between two pairs.
const STEP: i64 = 1_000;

fn leg(backend: &'static str) -> Leg<'static> {
    Leg {
        backend: Cow::Borrowed(backend),
        outcome: LegOutcome::Ok,
        mode: Some(Mode::Json),
        finish: Some(Cow::Borrowed("stop")),
        is_refused: false,
        json_valid: Some(true),
        schema_valid: Some(true),
        ttft: None,
        total: None,
        input_tokens: None,
        output_tokens: None,
        is_warm: None,
        cost: None,
    }
}

fn scores() -> Scores<'static> {
    Scores {
        kind: Some(PairKind::Json),
        agreement: Some(10_000),
        reason: Cow::Borrowed("unknown"),
        flips: [Some(false); FlipName::ALL.len()],
        length_ratio: None,
    }
}

/// A stream of pairs of one row, good ones until they are changed.
struct Stream {
    random: SmallRng,
    row: RowData,
    sent: i64,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), row: RowData::default(), sent: 0 }
    }

    /// Adds a pair of a user; `change` makes it another one.
    fn pair(&mut self, user: Option<u64>, change: impl FnOnce(&mut SmallRng, &mut Pair<'static>)) {
        self.sent += 1;
        let mut pair = Pair {
            id: Cow::Owned(format!("{:016x}", self.sent)),
            at: BEGIN + self.sent * STEP,
            instance: Cow::Borrowed("0a1b2c"),
            epoch: Cow::Borrowed("5f1c09aa31d2e870"),
            route: Cow::Borrowed("default"),
            model: Cow::Borrowed("gpt-4o-mini"),
            percent: Some(5.0),
            is_served_by_candidate: false,
            key: user.map(|user| Cow::Owned(format!("{user:016x}"))),
            trace_id: Cow::Borrowed(""),
            is_greedy: true,
            is_json: true,
            baseline: leg("openai"),
            candidate: leg("qwen"),
            scores: scores(),
            floor: Some(scores()),
        };
        change(&mut self.random, &mut pair);
        self.row.add(&pair, usize::MAX, true);
    }

    fn verdict(&self) -> Verdict {
        let key = RowKey {
            route: "default".into(),
            model: "gpt-4o-mini".into(),
            candidate: "qwen".into(),
            is_served_by_candidate: false,
            is_sampled: false,
            epoch: "5f1c09aa31d2e870".into(),
        };
        Figured::of(&key, &self.row).row.verdict
    }

    fn failures(&self) -> Interval {
        mean(&Observations::of(&self.row.key_hours).of_quantity(Quantity::Check(CheckName::Failed)), Scale::Signed)
            .unwrap()
    }

    fn loss(&self) -> Interval {
        let losses = Observations::of(&self.row.key_hours).of_quantity(Quantity::Loss(PairKind::Json));
        mean(&losses, Scale::Unit).unwrap()
    }
}

/// Returns the sums of what is found for each seed, on two threads.
fn count<const N: usize>(seeds: u64, found: impl Fn(u64) -> [bool; N] + Sync) -> [usize; N] {
    let half = |odd: u64| {
        let mut sums = [0; N];
        for seed in (0..seeds).filter(|seed| seed % 2 == odd) {
            for (sum, is_found) in sums.iter_mut().zip(found(seed)) {
                *sum += usize::from(is_found);
            }
        }
        sums
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let (mut sums, others) = (half(0), other.join().unwrap());
        for (sum, other) in sums.iter_mut().zip(others) {
            *sum += other;
        }
        sums
    })
}

/// True for the interval of failures, and for that of the loss, if it misses its mean at any of six looks. In a session of
/// eight pairs all are alike: 2 % fail, and 10 % agree by a half. With `has_keys` the pairs of a session are known as such.
fn misses(seed: u64, has_keys: bool) -> [bool; 2] {
    let mut stream = Stream::new(seed);
    let mut missed = [false; 2];
    for session in 1..=240_u64 {
        let (fails, differs) = (stream.random.random_bool(0.02), stream.random.random_bool(0.1));
        for _ in 0..8 {
            stream.pair(has_keys.then_some(session), |_, pair| {
                if fails {
                    pair.candidate.outcome = LegOutcome::Timeout;
                }
                if differs {
                    pair.scores.agreement = Some(5_000);
                }
            });
        }
        if session.is_multiple_of(40) {
            for (missed, (interval, mean)) in missed.iter_mut().zip([(stream.failures(), 0.02), (stream.loss(), 0.05)])
            {
                *missed |= interval.low > mean || interval.high < mean;
            }
        }
    }
    missed
}

#[test]
fn intervals_over_sessions_of_eight_pairs_miss_in_few_runs_of_200() {
    let missed = count(200, |seed| misses(seed, true));
    assert!(missed.iter().all(|missed| *missed <= 16), "{missed:?} of 200 runs; 5 % and two standard errors are 16");
}

#[test]
fn over_pairs_they_would_miss_in_more() {
    let missed = count(40, |seed| misses(seed, false));
    assert!(missed.iter().all(|missed| *missed > 8), "{missed:?} of 40 runs");
}

/// True if one of eight looks at a growing stream says `ready`, and if the last one does. A user sends one to three pairs.
fn ready(seed: u64, draw: impl Fn(&mut SmallRng, &mut Pair<'static>)) -> [bool; 2] {
    let mut stream = Stream::new(seed);
    let mut said = [false; 2];
    for user in 1..=960_u64 {
        for _ in 0..stream.random.random_range(1..=3) {
            stream.pair(Some(user), |random, pair| draw(random, pair));
        }
        if user.is_multiple_of(120) {
            let is_ready = stream.verdict() == Verdict::Ready;
            said = [said[0] || is_ready, is_ready];
        }
    }
    said
}

#[test]
fn two_points_more_bad_outcomes_are_never_ready() {
    let [ever, _] = count(100, |seed| {
        ready(seed, |random, pair| {
            for (leg, share) in [(&mut pair.baseline, 0.01), (&mut pair.candidate, 0.03)] {
                if random.random_bool(share) {
                    leg.outcome = LegOutcome::Status5xx;
                }
            }
        })
    });
    assert_eq!(ever, 0, "of 100 runs with eight looks");
}

#[test]
fn ten_percent_less_agreement_is_never_ready() {
    let [ever, _] = count(100, |seed| {
        ready(seed, |random, pair| {
            let agreement = |random: &mut SmallRng, share| Some(if random.random_bool(share) { 0 } else { 10_000 });
            pair.scores.agreement = agreement(random, 0.15);
            if let Some(floor) = &mut pair.floor {
                floor.agreement = agreement(random, 0.05);
            }
        })
    });
    assert_eq!(ever, 0, "of 100 runs with eight looks");
}

#[test]
fn a_candidate_as_good_as_the_baseline_becomes_ready() {
    let [_, last] = count(20, |seed| {
        ready(seed, |random, pair| {
            for leg in [&mut pair.baseline, &mut pair.candidate] {
                if random.random_bool(0.001) {
                    leg.outcome = LegOutcome::Status5xx;
                }
            }
        })
    });
    assert!(last >= 18, "{last} of 20 runs");
}

#[test]
fn two_equally_noisy_backends_are_not_called_different() {
    let worse = count(40, |seed| {
        let mut stream = Stream::new(seed);
        for user in 0..600 {
            stream.pair(Some(user), |random, pair| {
                let noisy = |random: &mut SmallRng| Some(if random.random_bool(0.3) { 4_000 } else { 10_000 });
                pair.scores.agreement = noisy(random);
                if let Some(floor) = &mut pair.floor {
                    floor.agreement = noisy(random);
                }
            });
        }
        [stream.verdict() == Verdict::NotReady, stream.loss().low <= 0.05]
    });
    assert_eq!(worse, [0, 0], "each loses far more than the limit, and no more than the other");
}
