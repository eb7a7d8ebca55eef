//! Seeded simulations: false alarms, and the requests that it takes until a failing candidate is held.
//!
//! Failures are rare and the baseline's good answers change nothing, so the time to the baseline's next failure is
//! drawn instead of each of its requests.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shiftgate::api::config::GuardErrors;
use shiftgate::api::guard::{Ended, Event, Evidence, Ledger, OtherSide, Outlook, Side, Trial, Weight};
use shiftgate::api::model::Percent;

const ALPHA: f64 = 0.01;
const DEFAULTS: GuardErrors = GuardErrors { max_ratio: 1.5, floor: 0.005, overdue: Duration::from_secs(30) };
const FAILED: Ended = Ended::Failed(OtherSide::Answered);

fn weight(percent: f64) -> Weight {
    let of = |percent| Percent::try_from(percent).unwrap();
    Weight::of(of(percent), of(100.0 - percent)).unwrap()
}

fn ln_threshold() -> f64 {
    (1.0 / ALPHA).ln()
}

/// Number of tries up to and including the first success.
fn geometric(rng: &mut StdRng, chance: f64) -> u64 {
    if chance <= 0.0 {
        return u64::MAX >> 1;
    }
    1 + (rng.random::<f64>().ln() / (-chance).ln_1p()) as u64
}

/// One candidate with its ledger and its evidence, fed with requests of one route.
struct Run {
    rng: StdRng,
    ledger: Ledger,
    evidence: Evidence,
    requests: u64,
}

impl Run {
    fn new(seed: u64, errors: &GuardErrors) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            ledger: Ledger::default(),
            evidence: Evidence::new(errors),
            requests: 0,
        }
    }

    /// Adds a trial; true if the evidence suffices after it.
    fn add(&mut self, side: Side, weight: Weight, key: Option<u64>, is_good: bool) -> bool {
        let ended = if is_good { Ended::Answered } else { FAILED };
        let Some(event) = self.ledger.add(&Trial { side, weight: Some(weight), key, epoch: 0 }, ended) else {
            return false;
        };
        self.evidence.add(event);
        // The other events lower it.
        matches!(event, Event::CandidateFault(_)) && self.evidence.ln(false) >= ln_threshold()
    }

    /// Sends `most` requests; stops where the evidence suffices, and says so.
    fn send(&mut self, most: u64, percent: f64, (baseline, candidate): (f64, f64)) -> bool {
        let (weight, share) = (weight(percent), percent / 100.0);
        let end = self.requests + most;
        let of_baseline = (1.0 - share) * baseline;
        let mut next_fault = self.requests.saturating_add(geometric(&mut self.rng, of_baseline));
        let mut next_trial = self.requests.saturating_add(geometric(&mut self.rng, share));
        loop {
            let next = next_fault.min(next_trial);
            if next > end {
                self.requests = end;
                return false;
            }
            self.requests = next;
            if next == next_fault {
                self.add(Side::Baseline, weight, None, false);
                next_fault += geometric(&mut self.rng, of_baseline);
            }
            if next == next_trial {
                let is_good = self.rng.random::<f64>() >= candidate;
                if self.add(Side::Candidate, weight, None, is_good) {
                    return true;
                }
                next_trial += geometric(&mut self.rng, share);
            }
        }
    }

    fn counted(&self) -> u64 {
        let counted = self.ledger.tally().counted;
        counted.candidate + counted.baseline
    }
}

/// Largest number of false alarms among `runs`: alpha and two standard deviations.
fn most_alarms(runs: u32) -> usize {
    let runs = f64::from(runs);
    (runs * ALPHA + 2.0 * (runs * ALPHA * (1.0 - ALPHA)).sqrt()) as usize
}

fn alarms(runs: u32, mut is_alarm: impl FnMut(u64) -> bool) -> usize {
    (0..runs).filter(|run| is_alarm(u64::from(*run))).count()
}

/// *Ratio* alone, looked at after every event, while the percent changes every 150 events.
#[test]
fn no_true_ratio_within_the_limit_alarms() {
    for (ratio, max_ratio) in [(1.0, 1.0), (1.0, 1.5), (1.5, 1.5)] {
        let errors = GuardErrors { max_ratio, ..DEFAULTS };
        let found = alarms(1_000, |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut evidence = Evidence::new(&errors);
            (0..1_000).any(|event| {
                let weight = weight([5.0, 10.0, 1.0, 25.0][event / 150 % 4]);
                let w = weight.get();
                let is_candidate = rng.random::<f64>() < w * ratio / (1.0 - w + w * ratio);
                evidence.add(if is_candidate {
                    Event::CandidateFault(Some(weight))
                } else {
                    Event::BaselineFault(weight)
                });
                is_candidate && evidence.sums().ratio.ln() >= ln_threshold()
            })
        });
        assert!(found <= most_alarms(1_000), "ratio {ratio} at {max_ratio}: {found}");
    }
}

/// Both tests together with the defaults, each event looked at, while the percent changes.
#[test]
fn no_rates_within_the_limits_alarm() {
    let mut failed = Vec::new();
    for (baseline, candidate) in [(0.005, 0.005), (0.02, 0.03), (0.0001, 0.005)] {
        let found = alarms(1_000, |seed| {
            let mut run = Run::new(seed, &DEFAULTS);
            [5.0, 25.0, 1.0, 10.0].into_iter().any(|percent| run.send(4_000, percent, (baseline, candidate)))
        });
        if found > most_alarms(1_000) {
            failed.push((baseline, candidate, found));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Sums up weights, to draw from them by [`draw`].
fn cumulated(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect()
}

fn draw(rng: &mut StdRng, cumulated: &[f64]) -> usize {
    let at = rng.random::<f64>() * cumulated.last().unwrap();
    cumulated.partition_point(|sum| *sum < at).min(cumulated.len() - 1)
}

/// Sticky users by Zipf's law, of whom 20 of 3,000 fail always, whoever serves them; 20,000 requests.
fn poisoned(seed: u64, has_keys: bool) -> bool {
    const USERS: usize = 3_000;
    const REQUESTS: f64 = 20_000.0;
    let errors = GuardErrors { max_ratio: 1.0, floor: 0.0001, ..DEFAULTS };
    let mut run = Run::new(seed, &errors);
    let weight = weight(5.0);
    // Users get a side once. The others fail seldom.
    let is_candidate: Vec<bool> = (0..USERS).map(|_| run.rng.random::<f64>() < weight.get()).collect();
    let mut fails = vec![0.002; USERS];
    for _ in 0..20 {
        let user = run.rng.random_range(0..USERS);
        *fails.get_mut(user).unwrap() = 1.0;
    }
    // Requests that change something: failures, and good answers of the candidate.
    let total: f64 = (1..=USERS).map(|rank| 1.0 / rank as f64).sum();
    let faults = cumulated(fails.iter().enumerate().map(|(user, fails)| fails / (user + 1) as f64 / total));
    let goods = cumulated(fails.iter().zip(&is_candidate).enumerate().map(|(user, (fails, is_candidate))| {
        if *is_candidate { (1.0 - fails) / (user + 1) as f64 / total } else { 0.0 }
    }));
    let (fault, good) = (faults.last().unwrap(), goods.last().unwrap());
    (0..(REQUESTS * (fault + good)) as u64).any(|_| {
        let is_good = run.rng.random::<f64>() * (fault + good) >= *fault;
        let user = draw(&mut run.rng, if is_good { &goods } else { &faults });
        let side = if *is_candidate.get(user).unwrap() { Side::Candidate } else { Side::Baseline };
        let hash = (user as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        run.add(side, weight, has_keys.then_some(hash), is_good)
    })
}

#[test]
fn users_who_always_fail_do_not_alarm() {
    let found = alarms(1_000, |seed| poisoned(seed, true));
    assert!(found <= most_alarms(1_000), "{found}");
    // The test fails without the rule.
    let found = alarms(200, |seed| poisoned(seed, false));
    assert!(found > most_alarms(200), "{found}");
}

/// The candidate fails 20 times as often, and still 25 times less than the floor.
#[test]
fn a_rare_failure_that_the_baseline_does_not_have_never_alarms() {
    // 10^7 requests at 0.5 % are 50,000 trials of the candidate. Good answers only lower the evidence of the floor, so all
    // but the last 400 of a stretch are left out, which can only cause more alarms.
    const STRETCH: u64 = 400;
    let weight = weight(0.5);
    let found = alarms(1_000, |seed| {
        let mut run = Run::new(seed, &DEFAULTS);
        let mut trials = 0;
        loop {
            let stretch = geometric(&mut run.rng, 0.0002);
            trials += stretch;
            if trials > 50_000 {
                return false;
            }
            for _ in 0..(stretch - 1).min(STRETCH) {
                run.add(Side::Candidate, weight, None, true);
            }
            if run.add(Side::Candidate, weight, None, false) {
                return true;
            }
        }
    });
    assert_eq!(found, 0);
    // In full, some of them.
    for seed in 0..3 {
        assert!(!Run::new(seed, &DEFAULTS).send(10_000_000, 1.0, (0.00001, 0.0002)), "{seed}");
    }
}

#[test]
fn without_data_it_never_alarms() {
    assert!(Evidence::new(&DEFAULTS).ln(false) < ln_threshold());
    let mut run = Run::new(0, &DEFAULTS);
    assert!(!run.send(10_000_000, 0.01, (0.005, 0.0)), "the baseline's failures alone");
    assert!(!run.send(2_000_000, 10.0, (0.0, 0.0)), "good answers alone");
}

/// Median of the requests until the evidence suffices, after `healthy` counted events.
fn median(percent: f64, rates: (f64, f64), healthy: u64) -> f64 {
    const RUNS: u64 = 51;
    let mut taken: Vec<u64> = (0..RUNS)
        .filter_map(|seed| {
            let mut run = Run::new(seed, &DEFAULTS);
            while run.counted() < healthy {
                if run.send(500, percent, (rates.0, rates.0)) {
                    return None;
                }
            }
            let before = run.requests;
            assert!(run.send(20_000_000, percent, rates), "it is seen in the end");
            Some(run.requests - before)
        })
        .collect();
    assert!(taken.len() > 46);
    taken.sort_unstable();
    *taken.get(taken.len() / 2).unwrap() as f64
}

#[test]
fn it_takes_as_many_requests_as_the_table_says() {
    let mut failed = Vec::new();
    for (rates, healthy, expected) in [
        ((0.005, 0.05), 0, [10_500.0, 2_900.0, 800.0]),
        ((0.005, 0.02), 0, [89_000.0, 18_000.0, 5_200.0]),
        ((0.0005, 0.02), 0, [42_000.0, 8_300.0, 1_700.0]),
        ((0.005, 0.05), 1_000, [32_000.0, 8_100.0, 2_600.0]),
    ] {
        for (percent, expected) in [1.0, 5.0, 25.0].into_iter().zip(expected) {
            let found = median(percent, rates, healthy);
            if found > expected * 1.5 || found * 1.5 < expected {
                failed.push((rates, percent, healthy, found, expected));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// The closed form behind `needs`, against the simulation.
#[test]
fn the_closed_form_is_near_the_truth() {
    let mut failed = Vec::new();
    for (percent, healthy) in [(1.0, 0), (5.0, 0), (25.0, 0), (5.0, 1_000)] {
        let found = median(percent, (0.005, 0.025), healthy);
        let outlook = Outlook {
            errors: DEFAULTS,
            alpha: ALPHA,
            weight: percent / 100.0,
            baseline_rate: 0.005,
            candidate_rate: 0.025,
            counted: healthy,
        };
        let expected = outlook.requests().unwrap();
        if !(0.7..1.5).contains(&(expected / found)) {
            failed.push((percent, healthy, found, expected));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
