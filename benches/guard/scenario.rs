//! Scenarios: the events at the servers, and the bounds that have to hold.

use std::time::Duration;

use crate::run::Outcome;
use crate::server::Mode;

/// Requests that may reach the candidate from the onset to the hold.
const MOST_REQUESTS: u64 = 170;
/// Time from the onset to the hold.
const HELD_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) candidate: Mode,
    pub(crate) baseline: Mode,
    /// Time after which both are well again; `None` for never.
    pub(crate) lasts: Option<Duration>,
    /// Time from the onset up to which a rollback is looked for.
    pub(crate) look: Duration,
    /// Open sockets of the bench in one run, at most: two for each request under way, and some.
    pub(crate) sockets: u64,
    bound: Bound,
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    /// Soon held in at least 19 of 20 runs, then rolled back in all, and no request fails.
    Held,
    /// Rolled back in all.
    RolledBack,
    /// Rolled back in at most so many of 20 runs.
    Left(usize),
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HALF: Mode = Mode::Fails(0.5, Duration::ZERO);

/// All scenarios, in the order in which they run.
pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "errors",
        candidate: Mode::Fails(0.2, Duration::ZERO),
        baseline: Mode::Well,
        lasts: None,
        look: SECOND.saturating_mul(130),
        sockets: 200,
        bound: Bound::Held,
    },
    Scenario {
        name: "restart",
        candidate: Mode::Dead,
        baseline: Mode::Well,
        lasts: Some(MINUTE),
        look: SECOND.saturating_mul(120),
        sockets: 200,
        bound: Bound::Left(3),
    },
    Scenario {
        name: "dead",
        candidate: Mode::Dead,
        baseline: Mode::Well,
        lasts: None,
        look: MINUTE.saturating_mul(6),
        sockets: 200,
        bound: Bound::RolledBack,
    },
    Scenario {
        name: "hung",
        candidate: Mode::Hangs,
        baseline: Mode::Well,
        lasts: None,
        look: MINUTE.saturating_mul(7),
        sockets: 800,
        bound: Bound::RolledBack,
    },
    Scenario {
        name: "both",
        candidate: HALF,
        baseline: HALF,
        lasts: Some(MINUTE),
        look: SECOND.saturating_mul(130),
        sockets: 200,
        bound: Bound::Left(2),
    },
    Scenario {
        name: "both-late",
        candidate: HALF,
        baseline: Mode::Fails(0.5, SECOND.saturating_mul(10)),
        lasts: Some(MINUTE),
        look: SECOND.saturating_mul(130),
        sockets: 2_400,
        bound: Bound::Left(2),
    },
];

impl Scenario {
    /// Returns a sentence with the counts, and whether the bound held.
    pub(crate) fn judge(&self, outcomes: &[Outcome]) -> (String, bool) {
        let runs = outcomes.len();
        let count = |is: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
        let rolled_back = count(&|outcome| outcome.rolled_back.is_some());
        let held = count(&|outcome| outcome.held.is_some());
        let soon = count(&|outcome| {
            outcome.held.is_some_and(|(after, requests)| after <= HELD_WITHIN && requests <= MOST_REQUESTS)
        });
        let failed: u64 = outcomes.iter().map(|outcome| outcome.tally.failures()).sum();
        let early = count(&|outcome| outcome.is_early);
        let within = self.look.as_secs();
        let text =
            format!("{held} of {runs} held, {rolled_back} rolled back within {within} s, {early} before the onset");
        let (text, is_kept) = match self.bound {
            Bound::Held => {
                let least = runs - share(runs, 1);
                let more = format!(
                    "{soon} held within 10 s and {MOST_REQUESTS} requests (at least {least}), {failed} requests failed (none)"
                );
                (format!("{text} (all); {more}"), soon >= least && rolled_back == runs && failed == 0)
            }
            Bound::RolledBack => (format!("{text} (all)"), rolled_back == runs),
            Bound::Left(most) => {
                let most = share(runs, most);
                (format!("{text} (at most {most})"), rolled_back <= most)
            }
        };
        (text, is_kept && early == 0)
    }
}

/// Returns so many of 20 as a number of `runs`, rounded down.
const fn share(runs: usize, of_20: usize) -> usize {
    runs * of_20 / 20
}
