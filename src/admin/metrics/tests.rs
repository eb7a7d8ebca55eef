//! The page as a whole.

use super::*;
use crate::health::Reading;
use crate::model::{Engine, Reason};

fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn what_is_counted_is_on_the_page() {
    let stats = Stats::default();
    stats.backend("qwen \"72b\"").attempts.add(3);
    for _ in 0..3 {
        stats.route("default").decided(Reason::Split, "openai", "openai", Reason::Split);
    }
    stats.route("default").decided(Reason::Split, "qwen", "openai", Reason::Overload);
    stats.reloads.ok.add(2);
    stats.reloads.unusable.add(1);
    let percents = vec![("default".to_owned(), "qwen".to_owned(), 2.5)];
    let load = LoadReport { reading: Reading { kv_usage: Some(0.5), ..Reading::default() }, ..LoadReport::default() };
    let fleet = vec![FleetView { backend: "qwen".to_owned(), load, polls: (7, 1) }];
    let qwen = stats.backend("qwen");
    qwen.connections.add(5);
    let peer = Peer { name: "qwen".to_owned(), engine: Engine::Vllm, host: "gpu.example".to_owned(), port: 8000 };
    let backends = vec![BackendView { peer: Arc::new(peer), stats: qwen, idle: 2, has_price: true }];
    let baseline = "openai".to_owned();
    let in_force = InForce { generation: 3, percents, fleet, backends, baseline, ..InForce::default() };
    let page = render(&stats, &in_force, Format::Text);
    for (name, expected) in [
        ("shiftgate_fleet_kv_cache_usage_ratio{backend=\"qwen\"}", Some(0.5)),
        ("shiftgate_fleet_polls_total{backend=\"qwen\",result=\"failed\"}", Some(1.0)),
        ("shiftgate_fleet_waiting_requests{backend=\"qwen\"}", None),
        ("shiftgate_attempts_total{backend=\"qwen \\\"72b\\\"\"}", Some(3.0)),
        ("shiftgate_config_reloads_total{result=\"ok\",kind=\"\"}", Some(2.0)),
        ("shiftgate_config_reloads_total{result=\"failed\",kind=\"unusable\"}", Some(1.0)),
        ("shiftgate_config_reloads_total{result=\"failed\",kind=\"invalid\"}", Some(0.0)),
        ("shiftgate_config_generation", Some(3.0)),
        ("shiftgate_split_percent{route=\"default\",backend=\"qwen\"}", Some(2.5)),
        ("shiftgate_split_percent_got{route=\"default\",backend=\"qwen\"}", Some(25.0)),
        ("shiftgate_split_percent_got{route=\"default\",backend=\"openai\"}", Some(75.0)),
        ("shiftgate_split_decisions_total{route=\"default\",backend=\"openai\",reason=\"overload\"}", Some(1.0)),
        ("shiftgate_split_decisions_total{route=\"default\",backend=\"qwen\",reason=\"split\"}", Some(0.0)),
    ] {
        assert_eq!(sample(&page, name), expected, "{name} in {page}");
    }
    for (state, expected) in [("active", 3.0), ("idle", 2.0)] {
        let name = format!(
            "http_client_open_connections{{server_address=\"gpu.example\",server_port=\"8000\",backend=\"qwen\",\
             http_connection_state=\"{state}\"}}"
        );
        assert_eq!(sample(&page, &name), Some(expected), "{page}");
    }
}

#[test]
fn nothing_is_got_before_the_first_request() {
    let stats = Stats::default();
    stats.route("default");
    let percents = vec![("default".to_owned(), "qwen".to_owned(), 2.5)];
    let page = render(&stats, &InForce { percents, ..InForce::default() }, Format::Text);
    assert!(!page.contains("shiftgate_split_percent_got"), "{page}");
}
