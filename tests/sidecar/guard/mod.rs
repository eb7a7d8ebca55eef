//! The guard on the served path: what withdraws a candidate, what lifts that, what is kept, shown and told.

mod kept;
mod lifted;
mod told;
mod withdrawn;

use std::path::Path;

use serde_json::Value;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Wire};

use crate::process::Process;
use crate::reload::eventually;
use crate::support::*;

/// Few failures suffice, so that a test is short; statistics have tests of their own.
pub(super) const QUICK: &str = "alpha = 0.5";

/// A file with two candidates; `guard` are the lines of `[guard]`, `server` more lines of `[server]`.
pub(super) fn guarded(sims: &[&Sim; 3], percents: &str, guard: &str, server: &str) -> String {
    let [openai, qwen, other] = sims.map(Sim::url);
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
request_log = false
{server}
[rollout]
name = "test"
baseline = "openai"
percent = {{ {percents} }}
sticky = ["header:x-session-id"]
[failover]
retry_budget = 1.0
[backend.openai]
engine = "openai"
url = "{openai}"
api_key = "none"
[backend.qwen]
engine = "vllm"
url = "{qwen}"
api_key = "none"
models = {{ "*" = "m" }}
family = "qwen3"
breaker = {{ failures = 1000, min = 1000000, ratio = 1.0 }}
[backend.zeta]
engine = "vllm"
url = "{other}"
api_key = "none"
models = {{ "*" = "m" }}
family = "qwen3"
[guard]
{guard}
"#
    )
}

pub(super) async fn sims() -> [Sim; 3] {
    let vllm = || sim::start(SimConfig::new(Wire::Vllm).model("m"), Behaviour::default());
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    [openai, vllm().await.unwrap(), vllm().await.unwrap()]
}

pub(super) fn fails() -> Behaviour {
    Behaviour { status: Some((500, None)), ..Behaviour::default() }
}

pub(super) async fn guard_of(admin: std::net::SocketAddr, name: &str) -> Value {
    let answer = get(admin, "/status").await;
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    let backends = status["backends"].as_array().unwrap();
    backends.iter().find(|one| one["name"] == name).unwrap()["guard"].clone()
}

/// Lets every other answer of the candidate fail until its guard acts.
pub(super) async fn trip(at: (std::net::SocketAddr, std::net::SocketAddr), qwen: &Sim) -> Value {
    let (listen, admin) = at;
    for _ in 0..60 {
        for behaviour in [fails(), Behaviour::default()] {
            qwen.set(behaviour);
            let before = qwen.requests();
            // Until the candidate is drawn once.
            for _ in 0..200 {
                let answer = raw(listen, &post("/v1/chat/completions", &chat("x", true), "")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                if qwen.requests() > before {
                    break;
                }
            }
        }
        let guard = guard_of(admin, "qwen").await;
        if guard["state"] != "watching" {
            qwen.set(Behaviour::default());
            return guard;
        }
    }
    panic!("the guard did not act");
}

pub(super) async fn tripped(running: &Running, qwen: &Sim) -> Value {
    trip((running.address(), running.app.admin), qwen).await
}

/// Saves the file as an editor does, and waits until it is in force and the guards have followed it.
pub(super) async fn save(running: &Running, text: &str) {
    let before = running.app.store.current().snapshot.generation;
    let beside = running.file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, &running.file).unwrap();
    eventually_async(async || {
        let page = get(running.app.admin, "/history").await.json();
        page["history"].as_array().unwrap().last().unwrap()["generation"].as_u64().unwrap() > before
    })
    .await;
}

pub(super) async fn state(running: &Running) -> (String, Value) {
    let guard = guard_of(running.app.admin, "qwen").await;
    (guard["state"].as_str().unwrap().to_owned(), guard["cause"].clone())
}

/// Waits until the guard's state and cause are these.
pub(super) async fn becomes(running: &Running, expected: (&str, &str)) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (state, cause) = state(running).await;
        if (state.as_str(), cause.as_str()) == (expected.0, Some(expected.1)) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state} {cause} instead of {expected:?}");
        tokio::task::yield_now().await;
    }
}

pub(super) fn by(answer: &Answer) -> (String, String) {
    let header = |name| answer.header(name).unwrap().to_owned();
    (header("x-shiftgate-backend"), header("x-shiftgate-reason"))
}

pub(super) fn start(folder: &Path, text: &str) -> Process {
    let file = folder.join("rollout.toml");
    std::fs::write(&file, text).unwrap();
    Process::start(&file)
}

pub(super) async fn process_status(process: &Process) -> Value {
    get(process.admin.parse().unwrap(), "/status").await.json()
}

/// Waits until the state file names this state.
pub(super) async fn written(path: &Path, state: &str) {
    eventually(|| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"state\":\"{state}\""))))
        .await;
}

/// Answers each POST with the next status; returns the bodies.
pub(super) async fn eventually_async(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it does not come true");
        tokio::task::yield_now().await;
    }
}
