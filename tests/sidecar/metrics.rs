//! `/metrics` of the running sidecar, as a scraper reads it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shiftgate::api::admin::metrics::{self, Format};
use shiftgate::api::admin::{BackendView, PercentView, RouteView, View};
use shiftgate::api::health::{Report, State};
use shiftgate::api::model::{Engine, Percent, Reason};
use shiftgate::api::outcome::{BackendLabels, Role};
use shiftgate::api::sim::{Behaviour, Fault};
use shiftgate::api::stats::Stats;

use crate::exposition::Page;
use crate::support::*;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

async fn scrape(running: &Running, accept: &str) -> Answer {
    let head = format!("GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\naccept: {accept}\r\n\r\n");
    raw(running.app.admin, head.as_bytes()).await
}

pub(crate) async fn page(running: &Running) -> Page {
    Page::read(&scrape(running, OPEN_METRICS).await.text(), true)
}

/// Metric that is recorded last for a streamed request.
const LAST: &str = "gen_ai_client_token_usage_count";

/// Polls the page until it `holds`: a request is recorded shortly after its answer has left.
pub(crate) async fn page_when(running: &Running, holds: impl Fn(&Page) -> bool) -> Page {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let page = page(running).await;
            if holds(&page) {
                return page;
            }
        }
    })
    .await
    .expect("it never holds")
}

#[tokio::test]
async fn both_formats_say_the_same_and_are_named() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 50.0), false).await;
    let text = scrape(&running, "*/*").await;
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let open_metrics = scrape(&running, OPEN_METRICS).await;
    let named = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!((open_metrics.header("content-type"), open_metrics.header("vary")), (named, Some("accept")));
    let (text, open_metrics) = (Page::read(&text.text(), false), Page::read(&open_metrics.text(), true));
    assert_eq!(text.kinds, open_metrics.kinds);
    let series = |page: &Page| page.samples.iter().map(|one| (one.name.clone(), one.labels.len())).collect::<Vec<_>>();
    assert_eq!(series(&text), series(&open_metrics));
}

pub(crate) fn priced(text: &str) -> String {
    text.replace("family =", "price = { gpu_hour = 1.0, gpus = 1, tokens_per_second = 100 }\nfamily =")
}

#[tokio::test]
async fn what_can_be_known_is_there_at_zero_from_the_start() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&priced(&file(&openai, &qwen, 25.0)), false).await;
    let page = page(&running).await;
    let cost = |backend| page.all("shiftgate_cost_usd_total", &[("backend", backend), ("leg", "served")]);
    assert_eq!((cost("qwen"), cost("openai")), (vec![0.0], vec![]), "without a price it is not known");
    for (backend, reason) in [("openai", "breaker"), ("openai", "pinned:vision"), ("qwen", "override")] {
        let of = [("route", "default"), ("backend", backend), ("reason", reason)];
        assert_eq!(page.one("shiftgate_split_decisions_total", &of), 0.0, "{reason}");
    }
    for backend in ["openai", "qwen"] {
        let of = ("backend", backend);
        for name in [
            "shiftgate_attempts_total",
            "shiftgate_errors_total",
            "shiftgate_failovers_total",
            "shiftgate_backend_in_flight",
            "shiftgate_pool_connections",
            "http_client_connection_duration_seconds_count",
        ] {
            assert_eq!(page.one(name, &[of]), 0.0, "{name}");
        }
        for reason in ["connect", "tls", "reset", "timeout", "status", "error_event", "bad_answer", "replay"] {
            assert_eq!(page.one("shiftgate_upstream_retries_total", &[of, ("reason", reason)]), 0.0);
        }
        for reason in ["client", "deadline", "drain", "shed"] {
            assert_eq!(page.one("shiftgate_upstream_cancelled_total", &[of, ("reason", reason)]), 0.0);
        }
        for state in ["active", "idle"] {
            assert_eq!(page.one("http_client_open_connections", &[of, ("http_connection_state", state)]), 0.0);
        }
        let split = [("route", "default"), of, ("reason", "split")];
        assert_eq!(page.one("shiftgate_split_decisions_total", &split), 0.0);
    }
    for (name, label, words) in [
        ("shiftgate_requests_ended_total", "end", vec!["complete", "client_gone", "upstream_error", "drained"]),
        ("shiftgate_refused_total", "reason", vec!["refused:overload", "refused:path", "refused:connections"]),
        ("shiftgate_shed_total", "reason", vec!["limits.in_flight", "limits.body_bytes", "max_in_flight"]),
        ("shiftgate_config_reloads_total", "kind", vec!["", "unreadable", "invalid", "unusable"]),
        (
            "shiftgate_telemetry_dropped_total",
            "reason",
            vec!["queue_full", "export_failed", "rejected", "rate", "shutdown"],
        ),
        ("shiftgate_overhead_duration_seconds_count", "phase", vec!["request", "first_byte", "total"]),
        ("http_server_active_requests", "http_request_method", vec!["GET", "POST", "_OTHER"]),
        ("shiftgate_telemetry_exported_total", "signal", vec!["traces"]),
        ("shiftgate_telemetry_queue_length", "signal", vec!["traces"]),
    ] {
        for word in words {
            assert_eq!(page.one(name, &[(label, word)]), 0.0, "{name} {word}");
        }
    }
    assert_eq!(page.one("shiftgate_breaker_state", &[("backend", "qwen")]), 0.0);
    assert_eq!(page.one("shiftgate_split_percent", &[("backend", "qwen")]), 25.0);
    assert_eq!(page.one("shiftgate_config_reload_failed", &[]), 0.0);
    let loaded = page.one("shiftgate_config_last_success_timestamp_seconds", &[]);
    assert!(loaded > 1.7e9, "{loaded}");
    for absent in ["shiftgate_split_percent_got", "gen_ai_client_inference_duration_seconds_count"] {
        assert!(page.all(absent, &[]).is_empty(), "{absent}");
    }
}

#[tokio::test]
async fn a_streamed_request_is_measured() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 100.0), false).await;
    for _ in 0..3 {
        assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
    }
    let page = page_when(&running, |page| page.all(LAST, &[("gen_ai_token_type", "output")]) == [3.0]).await;
    let of = [
        ("gen_ai_operation_name", "chat"),
        ("gen_ai_provider_name", "vllm"),
        ("gen_ai_request_model", "qwen-served"),
        ("gen_ai_response_model", "qwen-served"),
        ("server_address", "127.0.0.1"),
        ("error_type", ""),
        ("backend", "qwen"),
        ("leg", "served"),
    ];
    assert_eq!(page.one("gen_ai_client_inference_duration_seconds_count", &of), 3.0);
    assert_eq!(page.one("gen_ai_client_inference_time_to_first_chunk_seconds_count", &of), 3.0);
    assert!(page.one("gen_ai_client_inference_time_per_output_chunk_seconds_count", &of) >= 3.0);
    let usage = running.app.stats.backend("qwen");
    for (kind, expected) in [("input", usage.input_tokens.get()), ("output", usage.output_tokens.get())] {
        let of: Vec<_> = of.into_iter().chain([("gen_ai_token_type", kind)]).collect();
        assert_eq!(page.one("gen_ai_client_token_usage_sum", &of), expected as f64, "{kind}");
        assert_eq!(page.one("gen_ai_client_token_usage_count", &of), 3.0);
    }
    let counted = |name: &str| {
        let of: Vec<_> = of.into_iter().chain([("gen_ai_token_modality", "unknown")]).collect();
        page.one(&format!("gen_ai_client_inference_usage_{name}_total"), &of)
    };
    assert_eq!(counted("input_tokens"), usage.input_tokens.get() as f64);
    assert_eq!(counted("output_tokens"), usage.output_tokens.get() as f64);
    for part in ["cache_read_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens"] {
        assert_eq!(counted(part), 0.0, "{part}: vLLM does not say");
    }
    let request = [
        ("http_request_method", "POST"),
        ("http_route", "/v1/chat/completions"),
        ("http_response_status_code", "200"),
        ("network_protocol_version", "1.1"),
        ("error_type", ""),
    ];
    assert_eq!(page.one("http_server_request_duration_seconds_count", &request), 3.0);
    assert_eq!(page.one("http_server_active_requests", &[("http_request_method", "POST")]), 0.0);
    for phase in ["request", "first_byte", "total"] {
        assert_eq!(page.one("shiftgate_overhead_duration_seconds_count", &[("phase", phase)]), 3.0);
    }
    assert_eq!(page.one("shiftgate_split_percent_got", &[("backend", "qwen")]), 100.0);
    let open =
        |state| page.one("http_client_open_connections", &[("backend", "qwen"), ("http_connection_state", state)]);
    assert_eq!(open("active") + open("idle"), page.one("shiftgate_pool_connections", &[("backend", "qwen")]));
}

#[tokio::test]
async fn embeddings_are_measured_apart_from_texts() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let body = r#"{"model":"text-embedding-3-small","input":"x y z"}"#;
    let answer = raw(running.address(), &post("/v1/embeddings", body, "")).await;
    let tokens = answer.json()["usage"]["prompt_tokens"].as_f64().unwrap();
    let of = [("gen_ai_operation_name", "embeddings"), ("gen_ai_request_model", "text-embedding-3-small")];
    let page =
        page_when(&running, |page| page.all("gen_ai_client_embeddings_duration_seconds_count", &of) == [1.0]).await;
    assert_eq!(page.one("gen_ai_client_embeddings_operation_input_tokens_sum", &of), tokens);
    assert_eq!(page.all("gen_ai_client_token_usage_sum", &[of[0], ("gen_ai_token_type", "input")]), [tokens]);
    assert!(!page.kinds.keys().any(|name| name.starts_with("gen_ai_client_inference_")), "{:?}", page.kinds);
}

#[cfg(feature = "otlp")]
#[tokio::test]
async fn traced_requests_are_exemplars() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    // Nothing listens there: exemplars do not depend on the export.
    let text = file(&openai, &qwen, 100.0) + "[telemetry]\notlp = \"http://127.0.0.1:1\"\nsample = 0.0\n";
    let running = launch_as(&text, shiftgate::api::app::Options { traces: true, ..Default::default() }).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    for (id, flags) in [(id, "01"), ("0af7651916cd43dd8448eb211c803100", "00")] {
        let parent = format!("traceparent: 00-{id}-b7ad6b7169203331-{flags}\r\n");
        assert_eq!(ask(&running, &chat("x", true), &parent).await.status, 200);
    }
    assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
    page_when(&running, |page| page.all(LAST, &[("gen_ai_token_type", "output")]) == [3.0]).await;
    let text = scrape(&running, OPEN_METRICS).await.text();
    let page = Page::read(&text, true);
    for name in [
        "gen_ai_client_inference_duration_seconds_bucket",
        "gen_ai_client_inference_time_to_first_chunk_seconds_bucket",
        "http_server_request_duration_seconds_bucket",
        "shiftgate_overhead_duration_seconds_bucket",
    ] {
        let told =
            page.samples.iter().filter(|sample| sample.name == name).filter_map(|sample| sample.exemplar.clone());
        let traces: Vec<_> = told.map(|(labels, _)| labels["trace_id"].clone()).collect();
        assert!(!traces.is_empty() && traces.iter().all(|trace| trace == id), "{name}: {traces:?}");
    }
    assert!(!scrape(&running, "text/plain").await.text().contains("trace_id"));
}

#[tokio::test]
async fn a_failover_counts_for_the_backend_that_failed() {
    let (openai, qwen) = pair(behaviour(Fault::ResetBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0).replace("enabled = false", "enabled = true");
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.header("x-shiftgate-reason"), Some("failover:reset"));
    let retries = |page: &Page, backend| -> f64 {
        page.all("shiftgate_upstream_retries_total", &[("backend", backend)]).iter().sum()
    };
    let page = page_when(&running, |page| retries(page, "qwen") == 1.0).await;
    assert_eq!(retries(&page, "openai"), 0.0);
    let calls = |labels: &[(&str, &str)]| page.one("gen_ai_client_inference_duration_seconds_count", labels);
    assert_eq!(calls(&[("backend", "qwen"), ("error_type", "upstream_reset"), ("gen_ai_request_model", "other")]), 1.0);
    assert_eq!(calls(&[("backend", "openai"), ("error_type", ""), ("gen_ai_request_model", "gpt-4o")]), 1.0);
}

#[tokio::test]
async fn who_is_at_a_limit_and_who_hangs_is_told() {
    let (openai, qwen) = pair(behaviour(Fault::HangBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0).replace("[failover]", "[limits]\nin_flight = 1\n[failover]");
    let running = launch(&text, false).await;
    let mut first = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    let request = post("/v1/chat/completions", &chat("x", true), "");
    tokio::io::AsyncWriteExt::write_all(&mut first, &request).await.unwrap();
    until(qwen.in_flight(), |count| *count == 1).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 503);
    let shed = [("http_response_status_code", "503"), ("error_type", "shed")];
    let duration = "http_server_request_duration_seconds_count";
    let now = page_when(&running, |page| page.all(duration, &shed) == [1.0]).await;
    assert_eq!(now.one("shiftgate_shed_total", &[("reason", "limits.in_flight")]), 1.0);
    assert_eq!(now.one("http_server_active_requests", &[("http_request_method", "POST")]), 1.0);
    drop(first);
    let client = [("backend", "qwen"), ("reason", "client")];
    let gone = page_when(&running, |page| page.one("shiftgate_upstream_cancelled_total", &client) == 1.0).await;
    assert_eq!(gone.one("http_server_active_requests", &[("http_request_method", "POST")]), 0.0);
}

#[tokio::test]
async fn names_that_no_backend_answers_to_are_no_labels() {
    let (openai, qwen) = pair(Behaviour { status: Some((404, None)), ..Behaviour::default() }).await;
    openai.set(Behaviour { status: Some((404, None)), ..Behaviour::default() });
    let running = launch(&file(&openai, &qwen, 0.0), false).await;
    let body = chat("x", false).replace("gpt-4o", "sk-secret-by-mistake");
    assert_eq!(ask(&running, &body, "").await.status, 404);
    let count = "gen_ai_client_inference_duration_seconds_count";
    page_when(&running, |page| page.all(count, &[]) == [1.0]).await;
    let of = [("gen_ai_request_model", "other"), ("error_type", "404")];
    assert_eq!(page(&running).await.one(count, &of), 1.0);
    assert!(!scrape(&running, OPEN_METRICS).await.text().contains("by-mistake"));
}

#[tokio::test]
async fn promtool_has_nothing_to_say() {
    let (openai, qwen) = pair(behaviour(Fault::ResetBeforeHead)).await;
    let text = file(&openai, &qwen, 100.0).replace("enabled = false", "enabled = true");
    let running = launch(&text, false).await;
    assert_eq!(ask(&running, &chat("x", true), "").await.status, 200);
    page_when(&running, |page| page.all("gen_ai_client_inference_duration_seconds_count", &[]).len() == 2).await;
    let text = scrape(&running, "text/plain").await.body;
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else { return };
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
}

proptest! {
    #[test]
    fn whatever_the_names_and_numbers_the_page_can_be_read(
        names in proptest::collection::btree_set("\\PC{0,20}|[\\n\"\\\\ #{}=,]{1,9}|.{0,9}", 1..5),
        counts in proptest::collection::vec(any::<u64>(), 3),
        lived in proptest::collection::vec(0_u64..1_000_000, 0..20),
        percent in 0.0..100.0_f64,
    ) {
        let stats = Arc::new(Stats::default());
        let mut view = View {
            loaded_at: jiff::Timestamp::from_second((percent * 1e7) as i64).unwrap(),
            stats: Arc::clone(&stats),
            ..View::default()
        };
        let percent = Percent::from_hundredths((percent * 100.0) as u16).unwrap();
        let mut held = Vec::new();
        for name in &names {
            let of = stats.backend(name);
            of.attempts.add(counts[0]);
            held.push(of.in_flight.acquire(counts[1]));
            of.priced.add(1);
            of.nano_usd.add(counts[2]);
            for millis in &lived {
                of.lifetimes.record(Duration::from_millis(*millis));
            }
            let share = stats.route(name).share(name);
            share.decided(Reason::Split);
            share.asked(Reason::Split);
            let percents = vec![PercentView { backend: name.clone(), asked: percent, effective: percent }];
            view.routes.push(RouteView { name: name.clone(), percents, ..RouteView::default() });
            let labels = BackendLabels { name: name.clone(), engine: Engine::Vllm, host: name.clone(), port: 1 };
            view.backends.push(BackendView {
                labels: Arc::new(labels),
                role: Role::Candidate,
                url: String::new(),
                stats: of,
                health: Report { state: State::Closed, cooling: false, opened: 0, probes_failed: 0, cooled: 0 },
                load: None,
                is_watched: false,
                ends: None,
                has_price: false,
                idle: counts[1],
            });
        }
        view.baseline = "the baseline's own name, longer than the others".to_owned();
        for format in [Format::Text, Format::OpenMetrics] {
            let page = Page::read(&metrics::render(&view, format), format == Format::OpenMetrics);
            for name in &names {
                let of = [("backend", name.as_str())];
                prop_assert_eq!(page.one("shiftgate_attempts_total", &of), counts[0] as f64);
                let count = page.one("http_client_connection_duration_seconds_count", &of);
                prop_assert_eq!(count, lived.len() as f64);
            }
        }
    }
}
