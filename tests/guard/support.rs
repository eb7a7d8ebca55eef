//! Files, facts and times for the tests of the guard.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::guard::{Ended, FileFacts, Guard, Move, MoveKind, Now, OtherSide, Side, Trial, Weight};
use shiftgate::api::model::Percent;

pub(crate) const FILE: &str = r#"[server]
state = "state.json"
[rollout]
name = "n"
baseline = "openai"
percent = { qwen = 5 }
[[route]]
name = "nightly"
percent = { qwen = 25 }
overdue = "2m"
[backend.openai]
engine = "openai"
url = "http://127.0.0.1:1/v1"
api_key = "client"
[backend.qwen]
engine = "vllm"
url = "http://127.0.0.1:2/v1"
api_key = "none"
[guard]
"#;

pub(crate) fn config(text: &str) -> Config {
    config::parse(Path::new("rollout.toml"), text.as_bytes(), Secrets::Skip, &|_| None).unwrap()
}

pub(crate) fn facts(text: &str) -> FileFacts {
    let config = config(text);
    FileFacts::of(&config, config.backend("qwen").unwrap()).unwrap()
}

/// A clock for one test: times count from its making.
#[derive(Clone, Copy)]
pub(crate) struct Times(Instant);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn ms(self, ms: u64) -> Now {
        let time = Timestamp::from_second(1_795_000_000).unwrap();
        Now { at: self.0 + Duration::from_millis(ms), time: time + Duration::from_millis(ms) }
    }

    pub(crate) fn s(self, seconds: u64) -> Now {
        self.ms(seconds * 1_000)
    }
}

pub(crate) fn weight(candidate: f64, baseline: f64) -> Option<Weight> {
    Weight::of(Percent::try_from(candidate).unwrap(), Percent::try_from(baseline).unwrap())
}

pub(crate) fn trial(side: Side, epoch: u64) -> Trial {
    Trial { side, weight: weight(5.0, 95.0), key: None, epoch }
}

pub(crate) const FAILED: Ended = Ended::Failed(OtherSide::Answered);

pub(crate) fn guard(text: &str, now: Now) -> Guard {
    Guard::new(facts(text), 1, now)
}

/// Sends failures, each after a good answer, until something moves.
pub(crate) fn fail(guard: &mut Guard, now: Now) -> Vec<Move> {
    for _ in 0..40 {
        let Some(epoch) = guard.drawn() else { return Vec::new() };
        assert!(guard.trial(&trial(Side::Candidate, epoch), Ended::Answered, now).is_empty());
        let moves = guard.trial(&trial(Side::Candidate, epoch), FAILED, now);
        if !moves.is_empty() {
            return moves;
        }
    }
    Vec::new()
}

/// A candidate that is rolled back by its failures, at 60 s.
pub(crate) fn rolled_back(times: Times) -> Guard {
    let mut guard = guard(FILE, times.s(0));
    assert_eq!(kinds(&fail(&mut guard, times.s(0))), [MoveKind::Held]);
    assert_eq!(kinds(&guard.tick(true, times.s(60))), [MoveKind::RolledBack]);
    guard
}

pub(crate) fn kinds(moves: &[Move]) -> Vec<MoveKind> {
    moves.iter().map(|one| one.kind).collect()
}

pub(crate) fn changed(from: &str, to: &str) -> String {
    let text = FILE.replace(from, to);
    assert_ne!(text, FILE, "{from}");
    text
}
