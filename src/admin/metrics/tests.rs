//! The page as a whole.

use std::sync::Arc;

use super::*;
use crate::admin::view::{BackendView, PercentView, RouteView};
use crate::health::{LoadReport, Reading, Report, State};
use crate::model::{Engine, Percent, Reason};
use crate::outcome::{BackendLabels, Role};
use crate::stats::Stats;

fn route() -> RouteView {
    let percent = Percent::from_hundredths(250).unwrap();
    let percents = vec![PercentView { backend: "qwen".to_owned(), asked: percent, effective: percent }];
    RouteView { name: "default".to_owned(), percents, ..RouteView::default() }
}

fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn what_is_counted_is_on_the_page() {
    let stats = Arc::new(Stats::default());
    stats.backend("qwen \"72b\"").attempts.add(3);
    let shares = stats.route("default");
    let (openai, qwen_share) = (shares.share("openai"), shares.share("qwen"));
    for _ in 0..3 {
        openai.decided(Reason::Split);
        openai.asked(Reason::Split);
    }
    qwen_share.decided(Reason::Split);
    openai.asked(Reason::Overload);
    stats.reloads.ok.add(2);
    stats.records.failed.add(2);
    stats.reloads.unusable.add(1);
    let load = LoadReport { reading: Reading { kv_usage: Some(0.5), ..Reading::default() }, ..LoadReport::default() };
    let qwen = stats.backend("qwen");
    qwen.polls_ok.add(7);
    qwen.polls_failed.add(1);
    let _open = qwen.connections.acquire(5);
    let labels =
        BackendLabels { name: "qwen".to_owned(), engine: Engine::Vllm, host: "gpu.example".to_owned(), port: 8000 };
    let qwen = BackendView {
        labels: Arc::new(labels),
        role: Role::Candidate,
        url: "http://gpu.example:8000/v1".to_owned(),
        stats: qwen,
        health: Report { state: State::Closed, cooling: false, opened: 0, probes_failed: 0, cooled: 0 },
        load: Some(load),
        is_watched: true,
        ends: None,
        has_price: true,
        idle: 2,
    };
    let view = View {
        generation: 3,
        baseline: "openai".to_owned(),
        routes: vec![route()],
        backends: vec![qwen],
        stats,
        ..View::default()
    };
    let page = render(&view, Format::Text);
    for (name, expected) in [
        ("shiftgate_fleet_kv_cache_usage_ratio{backend=\"qwen\"}", Some(0.5)),
        ("shiftgate_fleet_polls_total{backend=\"qwen\",result=\"failed\"}", Some(1.0)),
        ("shiftgate_model_lists_total{backend=\"qwen\",result=\"failed\"}", Some(0.0)),
        ("shiftgate_fleet_waiting_requests{backend=\"qwen\"}", None),
        ("shiftgate_attempts_total{backend=\"qwen \\\"72b\\\"\"}", Some(3.0)),
        ("shiftgate_config_reloads_total{result=\"ok\",kind=\"\"}", Some(2.0)),
        ("shiftgate_config_reloads_total{result=\"failed\",kind=\"unusable\"}", Some(1.0)),
        ("shiftgate_config_reloads_total{result=\"failed\",kind=\"invalid\"}", Some(0.0)),
        ("shiftgate_config_generation", Some(3.0)),
        ("shiftgate_records_total{result=\"failed\"}", Some(2.0)),
        ("shiftgate_records_total{result=\"written\"}", Some(0.0)),
        ("shiftgate_records_total{result=\"locked\"}", Some(0.0)),
        ("shiftgate_records_total{result=\"dropped\"}", Some(0.0)),
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
    let view = View { routes: vec![route()], ..View::default() };
    view.stats.route("default");
    let page = render(&view, Format::Text);
    assert!(!page.contains("shiftgate_split_percent_got"), "{page}");
}
