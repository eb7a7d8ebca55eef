//! Files, facts and times for the tests of the guard.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use shiftgate::api::config::{self, Config, Secrets};
use shiftgate::api::guard::{FileFacts, Now, Side, Trial, Weight};
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
