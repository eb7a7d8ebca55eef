//! The breaker of one candidate: closed, open, or half-open with one probe.
//!
//! It opens after a run of failures, or at a failure rate among enough samples of a sliding window. Each change of
//! state starts a new epoch; verdicts about attempts of an older epoch are ignored.

use std::time::{Duration, Instant};

use crate::config;

/// Slots of the sliding window, which therefore forgets in steps of a tenth.
const SLOTS: usize = 10;

/// State of a breaker, as `/status` and `/metrics` show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests pass, failures are counted.
    Closed,
    /// One request passes as a probe and decides the next state.
    HalfOpen,
    /// No request passes until the end of `open_for`.
    Open,
}

impl State {
    /// Text in `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Admission of one attempt, returned with its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    epoch: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Number of the slot since the window began, in tenths of a window.
    number: u64,
    good: u32,
    bad: u32,
}

#[derive(Debug)]
enum Inner {
    Closed { run: u32, slots: [Slot; SLOTS], began: Instant },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// Breaker of one candidate.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: config::Breaker,
    epoch: u64,
    inner: Option<Inner>,
}

impl Breaker {
    /// Creates a closed breaker.
    pub(crate) fn new(config: config::Breaker) -> Self {
        Self { config, epoch: 0, inner: None }
    }

    /// State at `now`. An open breaker counts as half-open once its time is over.
    pub(crate) fn state(&self, now: Instant) -> State {
        match &self.inner {
            None | Some(Inner::Closed { .. }) => State::Closed,
            Some(Inner::Open { until }) if now < *until => State::Open,
            Some(Inner::Open { .. } | Inner::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    /// True if [`Breaker::admit`] would let a request through at `now`.
    pub(crate) fn would_admit(&self, now: Instant) -> bool {
        match &self.inner {
            None | Some(Inner::Closed { .. }) => true,
            Some(Inner::Open { until }) => now >= *until,
            Some(Inner::HalfOpen { probing }) => !probing,
        }
    }

    /// Admits an attempt; `None` if the breaker is open or its probe is running.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Pass> {
        if let Some(Inner::Open { until }) = &self.inner {
            if now < *until {
                return None;
            }
            self.enter(Inner::HalfOpen { probing: false });
        }
        if let Some(Inner::HalfOpen { probing }) = &mut self.inner {
            if *probing {
                return None;
            }
            *probing = true;
        }
        Some(Pass { epoch: self.epoch })
    }

    /// Notes the first content of an attempt; a probe's closes the breaker.
    pub(crate) fn begun(&mut self, now: Instant, pass: Pass) -> Pass {
        if pass.epoch == self.epoch && matches!(self.inner, Some(Inner::HalfOpen { .. })) {
            self.close(now);
            return Pass { epoch: self.epoch };
        }
        pass
    }

    /// Adds an attempt's verdict; true if it opens the breaker.
    pub(crate) fn verdict(&mut self, now: Instant, pass: Pass, good: bool) -> bool {
        if pass.epoch != self.epoch {
            return false;
        }
        if self.inner.is_none() {
            self.inner = Some(closed(now));
        }
        let trips = match &mut self.inner {
            Some(Inner::HalfOpen { .. }) if good => {
                self.close(now);
                false
            }
            Some(Inner::HalfOpen { .. }) => true,
            Some(Inner::Closed { run, slots, began }) => {
                *run = if good { 0 } else { *run + 1 };
                let (good_seen, bad_seen) = count(slots, slot_number(now, *began, self.config.window), good);
                let all = f64::from(good_seen) + f64::from(bad_seen);
                let share = f64::from(bad_seen) >= self.config.ratio * all && bad_seen > 0;
                !good && (*run >= self.config.failures || (all >= f64::from(self.config.min) && share))
            }
            Some(Inner::Open { .. }) | None => false,
        };
        if trips {
            self.enter(Inner::Open { until: now + self.config.open });
        }
        trips
    }

    /// Ends an attempt without a verdict.
    pub(crate) fn forget(&mut self, pass: Pass) {
        if pass.epoch == self.epoch
            && let Some(Inner::HalfOpen { probing }) = &mut self.inner
        {
            *probing = false;
        }
    }

    fn close(&mut self, now: Instant) {
        self.enter(closed(now));
    }

    fn enter(&mut self, inner: Inner) {
        self.epoch += 1;
        self.inner = Some(inner);
    }
}

fn closed(now: Instant) -> Inner {
    Inner::Closed { run: 0, slots: [Slot::default(); SLOTS], began: now }
}

fn slot_number(now: Instant, began: Instant, window: Duration) -> u64 {
    let width = (window / u32::try_from(SLOTS).unwrap_or(u32::MAX)).max(Duration::from_millis(1));
    let number = now.saturating_duration_since(began).as_nanos() / width.as_nanos();
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Adds one sample, and returns the sums (good, bad) of the window.
fn count(slots: &mut [Slot; SLOTS], number: u64, good: bool) -> (u32, u32) {
    let place = usize::try_from(number % SLOTS as u64).unwrap_or(0);
    let mut sums = (0, 0);
    for (index, slot) in slots.iter_mut().enumerate() {
        if index == place {
            if slot.number != number {
                *slot = Slot { number, good: 0, bad: 0 };
            }
            slot.good += u32::from(good);
            slot.bad += u32::from(!good);
        }
        if number - slot.number.min(number) < SLOTS as u64 {
            sums = (sums.0 + slot.good, sums.1 + slot.bad);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: config::Breaker = config::Breaker {
        failures: 5,
        ratio: 0.2,
        min: 20,
        window: Duration::from_secs(30),
        open: Duration::from_secs(10),
    };

    fn feed(breaker: &mut Breaker, now: Instant, verdicts: &[bool]) -> bool {
        verdicts.iter().any(|good| breaker.admit(now).is_some_and(|pass| breaker.verdict(now, pass, *good)))
    }

    #[test]
    fn opens_on_the_fifth_failure_in_a_row_and_a_success_breaks_the_run() {
        let now = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        assert!(!feed(&mut breaker, now, &[false, false, false, false, true, false, false, false, false]));
        assert!(feed(&mut breaker, now, &[false]));
        assert_eq!(breaker.state(now), State::Open);
        assert!(breaker.admit(now + CONFIG.open - Duration::from_millis(1)).is_none());
    }

    #[test]
    fn opens_on_a_fifth_of_twenty_but_not_of_nineteen() {
        let now = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        let mut verdicts = vec![true; 15];
        verdicts.extend([false, true, false, false]);
        assert!(!feed(&mut breaker, now, &verdicts));
        assert!(feed(&mut breaker, now, &[false]), "4 of 20");
        let mut breaker = Breaker::new(CONFIG);
        assert!(!feed(&mut breaker, now, &verdicts));
        // Samples before the window are ignored.
        assert!(!feed(&mut breaker, now + CONFIG.window * 2, &[false]));
    }

    #[test]
    fn a_failed_probe_opens_again_and_a_good_one_closes() {
        let now = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        assert!(feed(&mut breaker, now, &[false; 5]));
        let later = now + CONFIG.open;
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none());
        assert!(breaker.verdict(later, probe, false));
        let again = later + CONFIG.open;
        let probe = breaker.admit(again).unwrap();
        assert!(!breaker.verdict(again, probe, true));
        assert_eq!(breaker.state(again), State::Closed);
    }

    #[test]
    fn late_news_of_an_older_epoch_changes_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        let late: Vec<Pass> = (0..9).filter_map(|_| breaker.admit(now)).collect();
        assert!(feed(&mut breaker, now, &[false; 5]));
        let later = now + CONFIG.open;
        let probe = breaker.admit(later).unwrap();
        for pass in late {
            assert!(!breaker.verdict(later, pass, false));
            breaker.forget(pass);
        }
        assert_eq!(breaker.state(later), State::HalfOpen);
        assert!(breaker.admit(later).is_none(), "the probe still has its place");
        breaker.forget(probe);
        assert!(breaker.admit(later).is_some());
    }

    proptest! {
        /// At most one probe runs while half-open, and good samples alone never open the breaker.
        #[test]
        fn one_probe_and_no_opening_without_a_failure(steps in proptest::collection::vec((0u8..4, 0u64..12_000), 0..300)) {
            let start = Instant::now();
            let mut now = start;
            let mut breaker = Breaker::new(CONFIG);
            let mut out: Vec<Pass> = Vec::new();
            let mut probes = 0_usize;
            for (step, wait) in steps {
                now += Duration::from_millis(wait);
                let half_open = breaker.state(now) == State::HalfOpen;
                match step {
                    0 | 1 => if let Some(pass) = breaker.admit(now) {
                        if half_open { probes += 1; }
                        prop_assert!(probes <= 1, "a second probe");
                        out.push(pass);
                    },
                    _ => if let Some(pass) = out.pop() {
                        let current = pass.epoch == breaker.epoch;
                        let opened = breaker.verdict(now, pass, step == 2);
                        prop_assert!(!(opened && step == 2));
                        if half_open && current { probes = 0; }
                    }
                }
                if breaker.state(now) != State::HalfOpen { probes = 0; }
            }
        }
    }
}
