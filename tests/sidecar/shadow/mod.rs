//! Copies of requests: who is copied, what the receiver gets, what the served path notices, what is written.

use std::time::Duration;

use serde_json::Value;
use shiftgate::api::sim::{Behaviour, Sim};

use super::support::*;

mod bodies;
mod crashes;
mod hostile;
mod isolation;
mod planted;
mod reasons;
mod results;
mod sample;
mod verdict;

/// Returns a file for a pair whose requests are all copied to `to`; `more` ends its `[shadow]`.
pub(super) fn shadowed(openai: &Sim, qwen: &Sim, percent: f64, to: &str, more: &str) -> String {
    let shadow = format!("[shadow]\npercent = 100\nto = \"{to}\"\nnoise_percent = 0\n{more}\n");
    file(openai, qwen, percent).replace("[rollout]\n", &format!("{shadow}[rollout]\n"))
}

/// A sidecar at 0 % whose baseline's requests are all copied to the candidate.
pub(super) async fn launch_shadowed(behaviour: Behaviour, more: &str) -> (Running, Sim, Sim) {
    let (openai, qwen) = pair(behaviour).await;
    let running = launch(&shadowed(&openai, &qwen, 0.0, "qwen", more), false).await;
    (running, openai, qwen)
}

/// The part of `/status` about the copies of the default route.
pub(super) fn copies(status: &Value) -> &Value {
    let copies = status["shadow"]["copies"].as_array().unwrap();
    copies.iter().find(|one| one["route"] == "default").unwrap()
}

/// Waits until the status `holds`, and returns it.
pub(super) async fn until_status(running: &Running, holds: impl Fn(&Value) -> bool) -> Value {
    let polled = async {
        loop {
            let status = running.status().await;
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, polled).await {
        Ok(status) => status,
        Err(_) => panic!("it never holds: {}", running.status().await),
    }
}

/// Waits until so many pairs have ended, and returns the status.
pub(super) async fn until_pairs(running: &Running, count: u64) -> Value {
    until_status(running, |status| sum(&copies(status)["pairs"]) >= count).await
}

/// Sum of the counts of an object.
pub(super) fn sum(counts: &Value) -> u64 {
    counts.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

/// The counts of an object that are not 0.
pub(super) fn counted(counts: &Value) -> Vec<(String, u64)> {
    let counts = counts.as_object().unwrap().iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap()));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Waits for the file of records to hold so many pairs, and returns these.
pub(super) async fn until_records(path: &std::path::Path, count: usize) -> Vec<Value> {
    let read = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let pairs: Vec<Value> = lines.into_iter().filter(|line| line["kind"] == "pair").collect();
            if pairs.len() >= count {
                return pairs;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the records are not there")
}
