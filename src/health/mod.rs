//! Availability of a candidate: its breaker, its cool-down after a 429, its load, and the retry budget.
//!
//! Owns: small state machines that take `now`. Does not: do I/O, read clocks, choose another backend.
//! Invariant: a verdict about an attempt counts once, and only for the epoch in which the attempt began.

mod breaker;
mod budget;
mod load;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use breaker::State;
pub(crate) use breaker::{Breaker, Pass};
pub use budget::Budget;
pub(crate) use load::is_fresh;
pub use load::{Limits, Load, LoadReport, Reading};

use crate::config;

/// Cool-down after a 429 without `retry-after`.
const COOLDOWN: Duration = Duration::from_secs(1);
/// Limit of a cool-down; a longer `retry-after` counts as this.
const MAX_COOLDOWN: Duration = Duration::from_secs(60);

/// Reason for which a candidate gets no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It answered 429.
    Cooldown,
    /// Its breaker is open.
    Breaker,
}

/// Health of one candidate, shared by all requests.
#[derive(Debug)]
pub struct Health(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    breaker: Option<Breaker>,
    cool_until: Option<Instant>,
    opened: u64,
    probes_failed: u64,
    cooled: u64,
}

/// Health of a candidate, as `/status` and `/metrics` show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// State of the breaker; closed without one.
    pub state: State,
    /// True during a cool-down.
    pub cooling: bool,
    /// Times that the breaker opened.
    pub opened: u64,
    /// Those of `opened` in which a probe failed while it was half-open.
    pub probes_failed: u64,
    /// Times that a 429 began a cool-down.
    pub cooled: u64,
}

impl Health {
    /// Creates a healthy candidate; without a breaker only cool-downs apply. Counters continue from `before`.
    pub fn new(breaker: Option<config::Breaker>, before: Option<&Self>) -> Arc<Self> {
        let (opened, probes_failed, cooled) = before.map_or((0, 0, 0), |before| {
            let before = before.inside();
            (before.opened, before.probes_failed, before.cooled)
        });
        let inside = Inside { breaker: breaker.map(Breaker::new), cool_until: None, opened, probes_failed, cooled };
        Arc::new(Self(Mutex::new(inside)))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // A poisoned lock is fine: no operation leaves a partial state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits an attempt, whose ticket later reports the verdict.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Ticket, Unfit> {
        let mut inside = self.inside();
        if inside.cool_until.is_some_and(|until| now < until) {
            return Err(Unfit::Cooldown);
        }
        inside.cool_until = None;
        let pass = match &mut inside.breaker {
            Some(breaker) => Some(breaker.admit(now).ok_or(Unfit::Breaker)?),
            None => None,
        };
        drop(inside);
        Ok(Ticket { health: Arc::clone(self), pass })
    }

    /// Reason for which the candidate would not be admitted at `now`; `None` if it would. Does not start a probe.
    pub fn unfit(&self, now: Instant) -> Option<Unfit> {
        let inside = self.inside();
        if inside.cool_until.is_some_and(|until| now < until) {
            return Some(Unfit::Cooldown);
        }
        inside.breaker.as_ref().is_some_and(|breaker| !breaker.would_admit(now)).then_some(Unfit::Breaker)
    }

    /// Returns state and counters at `now`.
    pub fn report(&self, now: Instant) -> Report {
        let inside = self.inside();
        Report {
            state: inside.breaker.as_ref().map_or(State::Closed, |breaker| breaker.state(now)),
            cooling: inside.cool_until.is_some_and(|until| now < until),
            opened: inside.opened,
            probes_failed: inside.probes_failed,
            cooled: inside.cooled,
        }
    }
}

/// Observation about a candidate, for its breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// A good answer.
    Good,
    /// A failure by its own fault.
    Bad,
}

/// Right to report one attempt's verdict. Dropping it reports nothing and lets another probe start.
#[derive(Debug)]
pub struct Ticket {
    health: Arc<Health>,
    pass: Option<Pass>,
}

impl Ticket {
    /// Reports a complete, good answer.
    pub fn good(mut self, now: Instant) {
        self.verdict(now, true);
    }

    /// Reports the first content: enough for a probe. The attempt may still fail later.
    pub fn begun(&mut self, now: Instant) {
        if let Some(pass) = self.pass.take() {
            self.pass = self.health.inside().breaker.as_mut().map(|breaker| breaker.begun(now, pass));
        }
    }

    /// Reports a failure that the candidate is to blame for. True if that opened its breaker.
    pub fn bad(mut self, now: Instant) -> bool {
        self.verdict(now, false)
    }

    /// Starts a cool-down after a 429. This is not a sample: a server that answers "later" works.
    pub fn cool_down(self, now: Instant, retry_after: Option<Duration>) {
        let until = now + retry_after.unwrap_or(COOLDOWN).min(MAX_COOLDOWN);
        let mut inside = self.health.inside();
        if inside.cool_until.is_none_or(|before| before <= now) {
            inside.cooled += 1;
        }
        inside.cool_until = Some(inside.cool_until.map_or(until, |before| before.max(until)));
    }

    /// Ends the ticket with its sample and its cool-down, if any. True if that opened the breaker.
    pub fn settle(self, sample: Option<Sample>, cool_down: Option<Option<Duration>>, now: Instant) -> bool {
        match (sample, cool_down) {
            (_, Some(retry_after)) => self.cool_down(now, retry_after),
            (Some(Sample::Good), None) => self.good(now),
            (Some(Sample::Bad), None) => return self.bad(now),
            (None, None) => drop(self),
        }
        false
    }

    fn verdict(&mut self, now: Instant, good: bool) -> bool {
        let mut inside = self.health.inside();
        let (Some(pass), Some(breaker)) = (self.pass.take(), inside.breaker.as_mut()) else { return false };
        let is_probe = breaker.state(now) == State::HalfOpen;
        let opened = breaker.verdict(now, pass, good);
        inside.opened += u64::from(opened);
        inside.probes_failed += u64::from(opened && is_probe);
        opened
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take()
            && let Some(breaker) = self.health.inside().breaker.as_mut()
        {
            breaker.forget(pass);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: config::Breaker = config::Breaker {
        failures: 2,
        ratio: 1.0,
        min: 1000,
        window: Duration::from_secs(30),
        open: Duration::from_secs(10),
    };

    #[test]
    fn a_429_keeps_requests_away_until_retry_after_and_is_no_sample() {
        let health = Health::new(Some(CONFIG), None);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (retry_after, expected) in
            [(None, second), (Some(second * 7), second * 7), (Some(second * 999), second * 60)]
        {
            let at = now + second * 1000;
            let health = Health::new(Some(CONFIG), None);
            health.admit(at).unwrap().cool_down(at, retry_after);
            assert_eq!(health.admit(at + expected - Duration::from_millis(1)).unwrap_err(), Unfit::Cooldown);
            assert!(health.admit(at + expected).is_ok());
        }
        for _ in 0..5 {
            let later = now + second * 2;
            health.admit(later).unwrap().cool_down(now, Some(second));
        }
        assert_eq!(health.report(now).state, State::Closed);
        assert!(health.report(now).cooling);
    }

    #[test]
    fn a_shorter_retry_after_does_not_shorten_a_longer_one() {
        let health = Health::new(None, None);
        let now = Instant::now();
        let (first, second) = (health.admit(now).unwrap(), health.admit(now).unwrap());
        first.cool_down(now, Some(Duration::from_secs(30)));
        second.cool_down(now, Some(Duration::from_secs(1)));
        assert_eq!(health.admit(now + Duration::from_secs(29)).unwrap_err(), Unfit::Cooldown);
        assert_eq!(health.report(now).cooled, 1);
    }

    #[test]
    fn a_probe_that_says_nothing_frees_its_place() {
        let health = Health::new(Some(CONFIG), None);
        let now = Instant::now();
        assert!(!health.admit(now).unwrap().bad(now));
        assert!(health.admit(now).unwrap().bad(now));
        assert_eq!(health.admit(now).unwrap_err(), Unfit::Breaker);
        let later = now + CONFIG.open;
        let probe = health.admit(later).unwrap();
        assert_eq!(health.admit(later).unwrap_err(), Unfit::Breaker, "one probe at a time");
        drop(probe);
        let mut probe = health.admit(later).unwrap();
        probe.begun(later);
        assert_eq!(health.report(later).state, State::Closed);
        probe.good(later);
        assert!(health.admit(later).is_ok());
        assert_eq!(health.report(later).opened, 1);
    }
}
