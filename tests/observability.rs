//! Every metric and label in the examples for Prometheus and Grafana exists on `/metrics`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use shiftgate::api::app::Options;
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::sim::{Behaviour, Fault, Load};
use shiftgate::api::telemetry::names::{LABELS, METRICS};
use support::{Running, behaviour, chat, file, launch_as, pair, post, raw};

#[expect(dead_code, reason = "shared with the tests of the sidecar, which need more of it")]
#[path = "sidecar/support.rs"]
mod support;

const DASHBOARD: &str = include_str!("../examples/observability/dashboard.json");
const ALERTS: &str = include_str!("../examples/observability/alerts.yml");

/// Label names by the name of their metric.
type Series = BTreeMap<String, BTreeSet<String>>;

/// Returns the metric names in a query, with the labels that their matchers name.
fn asked(query: &str) -> Series {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Series::new();
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| c.is_ascii_lowercase()) {
        let word = rest.get(start..).unwrap();
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        rest = after;
        if !["shiftgate_", "gen_ai_", "http_", "process_"].iter().any(|family| name.starts_with(family)) {
            continue;
        }
        let labels = found.entry(name.to_owned()).or_default();
        if let Some((matchers, after)) = after.strip_prefix('{').and_then(|matchers| matchers.split_once('}')) {
            labels.extend(matchers.split(',').filter_map(|one| one.split(['=', '!']).next()).map(str::to_owned));
            rest = after;
        }
    }
    // Labels in `by (…)` may begin like metrics.
    found.retain(|name, _| !LABELS.contains(&name.as_str()));
    found
}

async fn page(running: &Running) -> Series {
    let page = support::get(running.app.admin, "/metrics").await.text();
    let mut series = Series::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        let names = labels.split("=\"").filter_map(|part| part.rsplit(['{', ',', '"']).next());
        series.entry(name.to_owned()).or_default().extend(names.map(str::to_owned));
    }
    series
}

/// Polls so fast that a rate is known after a moment.
const PACE: PollIntervals = PollIntervals {
    poll: std::time::Duration::from_millis(5),
    deadline: std::time::Duration::from_secs(10),
    retry: std::time::Duration::from_secs(60),
    hit_window: std::time::Duration::from_millis(20),
    probe_again: std::time::Duration::from_secs(60),
    models: std::time::Duration::from_secs(3600),
};

/// A sidecar with every feature that has a metric, after requests of every kind; and the candidate's server.
async fn busy() -> (Running, [shiftgate::api::sim::Sim; 2]) {
    let (openai, qwen) = pair(behaviour(Fault::None)).await;
    let pages = ["metrics", "dcgm/metrics"].map(|page| format!("http://{}/{page}", qwen.address()));
    let more = format!(
        "metrics = {pages:?}\nprice = {{ gpu_hour = 1.0, gpus = 1, tokens_per_second = 100 }}\nwatch_models = true\nfamily ="
    );
    let text = file(&openai, &qwen, 100.0).replace("enabled = false", "enabled = true").replace("family =", &more);
    let rule = "[[residency]]\nname = \"r\"\nmatch = { header = { x-region = \"eu*\" } }\nallow = [\"eu\"]\n";
    let shadow = "[shadow]\npercent = 100\nto = \"openai\"\n";
    let text = text.replace("[backend.openai]\n", &format!("{shadow}{rule}[backend.openai]\ntags = [\"eu\"]\n"));
    let text = format!("{text}[guard]\n");
    let running = launch_as(&text, Options { ask: Some(PACE), ..Options::default() }).await;
    for fault in [Fault::None, Fault::ResetBeforeHead] {
        qwen.set(behaviour(fault));
        for stream in [true, false] {
            assert_eq!(ask(&running, stream).await, 200);
        }
    }
    let embeddings = r#"{"model":"text-embedding-3-small","input":"x"}"#;
    assert_eq!(raw(running.address(), &post("/v1/embeddings", embeddings, "")).await.status, 200);
    qwen.set(Behaviour { load: Load { prefix_hits: 0.5, ..Load::default() }, ..Behaviour::default() });
    (running, [openai, qwen])
}

async fn ask(running: &Running, stream: bool) -> u16 {
    raw(running.address(), &post("/v1/chat/completions", &chat("hi", stream), "")).await.status
}

#[tokio::test]
async fn every_metric_of_the_table_is_on_the_page() {
    let (running, _servers) = busy().await;
    let missing = |page: &Series| -> Vec<&str> {
        let has =
            |name: &str| ["", "_total", "_count"].iter().any(|suffix| page.contains_key(&format!("{name}{suffix}")));
        METRICS.iter().map(|metric| metric.name).filter(|name| !has(name)).collect()
    };
    let all = async {
        while !missing(&page(&running).await).is_empty() {
            ask(&running, false).await;
        }
    };
    let done = tokio::time::timeout(support::PATIENCE, all).await;
    assert!(done.is_ok(), "{:?}", missing(&page(&running).await));
}

#[tokio::test]
async fn every_query_finds_its_metric_and_its_labels() {
    let (running, _servers) = busy().await;
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut queries: Vec<String> = queries.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(queries.len() > 20, "{}", queries.len());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    queries.extend(variables.iter().filter_map(|one| one["query"]["query"].as_str()).map(str::to_owned));
    queries.push(ALERTS.to_owned());
    // The last request may be recorded shortly after its answer; the hit rate is of the last milliseconds' requests.
    let has_all = |page: &Series, query: &str| {
        asked(query).iter().all(|(name, labels)| page.get(name).is_some_and(|known| labels.is_subset(known)))
    };
    let page = tokio::time::timeout(support::PATIENCE, async {
        loop {
            let page = page(&running).await;
            if queries.iter().all(|query| has_all(&page, query)) {
                return page;
            }
            ask(&running, false).await;
        }
    });
    let Ok(page) = page.await else {
        let page = self::page(&running).await;
        let missing: Vec<&String> = queries.iter().filter(|query| !has_all(&page, query)).collect();
        panic!("these queries name missing metrics or labels: {missing:#?}");
    };
    assert!(!has_all(&page, "rate(shiftgate_no_such_total[1m])"));
    assert!(!has_all(&page, "shiftgate_attempts_total{no_such=\"x\"}"));
}

/// Writes out the braces of a name, as a shell does: `a_{b,c}_d` is `a_b_d` and `a_c_d`. Labels, as in
/// `a{b}`, are left out.
fn written_out(name: &str) -> Vec<String> {
    let Some((before, (words, after))) = name.split_once('{').and_then(|(a, rest)| Some((a, rest.split_once('}')?)))
    else {
        return vec![name.to_owned()];
    };
    if !before.ends_with('_') {
        return vec![before.to_owned()];
    }
    words.split(',').flat_map(|word| written_out(&format!("{before}{word}{after}"))).collect()
}

#[test]
fn the_readme_names_every_metric() {
    let readme = include_str!("../README.md");
    let (_, after) = readme.split_once("### Metrics\n").unwrap();
    let rows = after.split("\n#").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let told: Vec<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2).flat_map(written_out))
        .collect();
    let is_of = |told: &str, name: &str| match told.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => told.strip_suffix("_total").unwrap_or(told) == name,
    };
    for metric in METRICS {
        assert!(told.iter().any(|told| is_of(told, metric.name)), "README does not name {}", metric.name);
    }
    for told in &told {
        assert!(METRICS.iter().any(|metric| is_of(told, metric.name)), "README names {told}");
    }
}

#[test]
fn panels_have_ids_of_their_own_and_alerts_say_what_to_do() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let alerts = ALERTS.matches("- alert: ").count();
    assert!(alerts >= 6);
    for part in ["summary: ", "description: ", "severity: "] {
        assert_eq!(ALERTS.matches(part).count(), alerts, "{part}");
    }
}
