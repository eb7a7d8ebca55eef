//! Tokens per second of servers whose counters move only when a request ends.

use std::time::Duration;

use serde_json::Value;
use shiftgate::api::app::Options;
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::sim::{self, Behaviour, Load, SimConfig, Wire};

use crate::reload::eventually;
use crate::support::*;

#[tokio::test]
async fn a_counter_that_moves_when_a_request_ends_is_no_speed() {
    for wire in [Wire::Tgi, Wire::Sglang] {
        let (openai, _) = pair(Behaviour::default()).await;
        let load = Load { running: 1, ..Load::default() };
        let config = SimConfig::new(wire).model("qwen-served").key("qwen-key-canary");
        let qwen = sim::start(config, Behaviour { load, ..Behaviour::default() }).await.unwrap();
        let metrics = format!("http://{}/metrics", qwen.address());
        let text = file(&openai, &qwen, 100.0).replace("engine = \"vllm\"", &format!("engine = \"{}\"", wire.as_str()));
        let text = format!("{text}metrics = [\"{metrics}\"]\nprice = {{ gpu_hour = 3600.0, gpus = 1 }}\n");
        let intervals = PollIntervals { poll: Duration::from_millis(5), ..PollIntervals::default() };
        let running = launch_as(&text, Options { ask: Some(intervals), ..Options::default() }).await;
        let polls = || running.app.stats.backend("qwen").polls_ok.get();
        let fleet = async || {
            let before = polls();
            eventually(|| polls() >= before + 3).await;
            running.status().await["backends"][1]["fleet"].clone()
        };
        let while_it_works = fleet().await;
        assert_eq!((&while_it_works["running"], &while_it_works["tokens_per_second"]), (&1.into(), &Value::Null));
        assert_eq!(ask(&running, &chat("x", false), "").await.header("x-shiftgate-backend"), Some("qwen"));
        assert_eq!(fleet().await["tokens_per_second"], Value::Null, "{wire:?} after a request");
        qwen.set(Behaviour::default());
        let idle = fleet().await;
        assert_eq!((&idle["running"], &idle["tokens_per_second"]), (&0.into(), &Value::Null), "{wire:?}");
        let page = get(running.app.admin, "/metrics").await.text();
        assert!(!page.contains("shiftgate_fleet_tokens_per_second{"), "{page}");
        assert_eq!(running.status().await["backends"][1]["cost_usd"], Value::Null, "not priced by a speed of nothing");
    }
}
