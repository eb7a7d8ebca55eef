//! Load that backends report and its effect on the running sidecar; the test serves the metrics pages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use shiftgate::api::app::Options;
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::sim::{self, Behaviour, Load, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::reload::eventually;
use crate::support::*;

const PACE: PollIntervals = PollIntervals {
    poll: Duration::from_millis(5),
    deadline: Duration::from_secs(10),
    retry: Duration::from_millis(1),
    hit_window: Duration::from_millis(20),
    probe_again: Duration::from_millis(1),
    models: Duration::from_secs(3600),
};

/// A server of one page that the test can change.
struct Pages {
    url: String,
    page: Arc<Mutex<Vec<u8>>>,
    /// Heads of the requests received so far.
    asked: watch::Receiver<Vec<String>>,
    open: watch::Receiver<usize>,
}

impl Pages {
    async fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let page = Arc::new(Mutex::new(answer(200, page)));
        let (told, asked) = watch::channel(Vec::new());
        let (opened, open) = watch::channel(0);
        let (told, opened, shown) = (Arc::new(told), Arc::new(opened), Arc::clone(&page));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (told, opened, shown) = (Arc::clone(&told), Arc::clone(&opened), Arc::clone(&shown));
                opened.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    let mut got = Vec::new();
                    while stream.read_buf(&mut got).await.is_ok_and(|read| read > 0) {
                        if got.ends_with(b"\r\n\r\n") {
                            let answer = shown.lock().unwrap().clone();
                            told.send_modify(|told| told.push(String::from_utf8(std::mem::take(&mut got)).unwrap()));
                            drop(stream.write_all(&answer).await);
                        }
                    }
                    opened.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, page, asked, open }
    }

    /// Changes the answer and waits until a poll has read it, which is when the next poll begins.
    async fn show(&self, answer: Vec<u8>) {
        *self.page.lock().unwrap() = answer;
        let before = self.asked.borrow().len();
        until(self.asked.clone(), |asked| asked.len() >= before + 3).await;
    }
}

fn answer(status: u16, page: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{page}", page.len())
        .into_bytes()
}

fn vllm(waiting: u32, running: u32, kv_usage: f64) -> String {
    format!(
        "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{engine=\"0\"}} {waiting}.0\n\
         vllm:num_requests_running{{engine=\"0\"}} {running}.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} {kv_usage}\n"
    )
}

/// A file for a pair whose candidate's metrics pages are polled.
fn with_metrics(openai: &Sim, qwen: &Sim, urls: &[&str], more: &str) -> String {
    let lines = format!("timeout = {{ total = \"20s\" }}\nmetrics = {urls:?}\n{more}\n");
    file(openai, qwen, 100.0).replace("timeout = { total = \"20s\" }\n", &lines)
}

async fn start(text: &str, watch: bool) -> Running {
    launch_as(text, Options { watch, ask: Some(PACE), ..Options::default() }).await
}

async fn fleet_of(running: &Running) -> Value {
    running.status().await["backends"][1]["fleet"].clone()
}

async fn who(running: &Running) -> (String, String) {
    let answer = ask(running, &chat("x", false), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let header = |name| answer.header(name).unwrap().to_owned();
    (header("x-shiftgate-backend"), header("x-shiftgate-reason"))
}

const SPLIT: (&str, &str) = ("qwen", "split");
const OVERLOAD: (&str, &str) = ("openai", "overload");

#[track_caller]
fn assert_who(found: &(String, String), expected: (&str, &str)) {
    assert_eq!((found.0.as_str(), found.1.as_str()), expected);
}

#[tokio::test]
async fn above_a_limit_requests_go_to_the_baseline_until_it_recovers() {
    let pages = Pages::start(&vllm(5, 2, 0.9)).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = with_metrics(&openai, &qwen, &[&pages.url], "max_waiting = 5\nmax_kv_usage = 0.9");
    let running = start(&text.replace("enabled = false", "enabled = true"), false).await;
    for (page, expected) in
        [(vllm(5, 2, 0.9), SPLIT), (vllm(6, 2, 0.1), OVERLOAD), (vllm(0, 2, 0.91), OVERLOAD), (vllm(0, 0, 0.0), SPLIT)]
    {
        pages.show(answer(200, &page)).await;
        assert_who(&who(&running).await, expected);
        let fleet = fleet_of(&running).await;
        assert_eq!((&fleet["overloaded"], &fleet["error"]), (&(expected == OVERLOAD).into(), &Value::Null), "{fleet}");
    }
    let decided = running.status().await["routes"][0]["requests"].clone();
    assert_eq!(decided, serde_json::json!({"qwen": 4}), "the split chose the candidate each time");
}

#[tokio::test]
async fn with_failover_off_nothing_is_moved() {
    let pages = Pages::start(&vllm(99, 2, 1.0)).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running =
        start(&with_metrics(&openai, &qwen, &[&pages.url], "max_waiting = 0\nmax_kv_usage = 0.5"), false).await;
    pages.show(answer(200, &vllm(99, 2, 1.0))).await;
    assert_eq!(fleet_of(&running).await["overloaded"], true);
    assert_who(&who(&running).await, SPLIT);
}

#[tokio::test]
async fn status_and_metrics_tell_what_the_pages_say() {
    let engine = Pages::start(&vllm(3, 12, 0.4375)).await;
    let gpus = "DCGM_FI_DEV_FB_USED{gpu=\"0\"} 70000\nDCGM_FI_DEV_FB_FREE{gpu=\"0\"} 10000\nDCGM_FI_DEV_GPU_UTIL 87\n";
    let gpus = Pages::start(gpus).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = start(&with_metrics(&openai, &qwen, &[&engine.url, &gpus.url], ""), false).await;
    engine.show(answer(200, &vllm(3, 12, 0.4375))).await;
    let status = running.status().await;
    assert_eq!(status["backends"][0]["fleet"], Value::Null);
    let mut fleet = status["backends"][1]["fleet"].clone();
    assert!(fleet["age_s"].take().as_f64().unwrap() < 10.0);
    let expected = serde_json::json!({
        "waiting": 3, "running": 12, "kv_usage": 0.4375, "tokens_per_second": null,
        "gpu_memory_bytes": {"used": 73_400_320_000_u64, "total": 83_886_080_000_u64}, "gpu_utilization": 0.87,
        "age_s": null, "error": null, "overloaded": false
    });
    assert_eq!(fleet, expected);
    let page = get(running.app.admin, "/metrics").await.text();
    for line in [
        "shiftgate_fleet_waiting_requests{backend=\"qwen\"} 3",
        "shiftgate_fleet_kv_cache_usage_ratio{backend=\"qwen\"} 0.4375",
        "shiftgate_fleet_gpu_memory_used_bytes{backend=\"qwen\"} 73400320000",
        "shiftgate_fleet_polls_total{backend=\"qwen\",result=\"failed\"} 0",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
    assert!(!page.contains("shiftgate_fleet_waiting_requests{backend=\"openai\"}"), "{page}");
    // The backend's key is not sent to another server's page.
    let asked = engine.asked.borrow()[0].to_ascii_lowercase();
    assert!(asked.starts_with("get /metrics http/1.1\r\n") && !asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn each_engines_own_page_is_read() {
    for (wire, path, kv_usage) in [
        (Wire::Vllm, "/metrics", Some(0.75)),
        (Wire::Sglang, "/metrics", Some(0.75)),
        (Wire::Trtllm, "/prometheus/metrics", Some(0.75)),
        (Wire::Trtllm, "/metrics", Some(0.75)),
        (Wire::Tgi, "/metrics", None),
    ] {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let load = Load { running: 4, waiting: 7, kv_usage: 0.75, prefix_hits: 0.25 };
        let server = sim::start(SimConfig::new(wire), Behaviour { load, ..Behaviour::default() }).await.unwrap();
        let [page, gpus] = [path, "/dcgm/metrics"].map(|path| format!("http://{}{path}", server.address()));
        let running = start(&with_metrics(&openai, &qwen, &[&page, &gpus], ""), false).await;
        let asked = |path: &str| server.received().iter().filter(|request| request.target == path).count();
        eventually(|| asked(path) >= 2).await;
        let fleet = fleet_of(&running).await;
        assert_eq!((fleet["waiting"].as_u64(), fleet["running"].as_u64()), (Some(7), Some(4)), "{wire:?} {fleet}");
        assert_eq!((fleet["kv_usage"].as_f64(), &fleet["error"]), (kv_usage, &Value::Null), "{wire:?} {fleet}");
        assert_eq!(fleet["gpu_utilization"], 0.97, "{wire:?} {fleet}");
        let told = hit_rate(&running, async |_| {
            let asked = raw(server.address(), &post("/v1/chat/completions", &chat("eight words", false), "")).await;
            assert_eq!(asked.status, 200, "{wire:?}: {}", asked.text());
        });
        let share = match wire {
            Wire::Vllm | Wire::Sglang => told.await,
            _ => running.status().await["backends"][1]["prefix_hit_rate"].as_f64().unwrap_or(-1.0),
        };
        match wire {
            // The server finds a whole number of each prompt's tokens.
            Wire::Vllm => assert!(share > 0.1 && share <= 0.25, "{share}"),
            Wire::Sglang => assert_eq!(share, 0.25),
            _ => assert_eq!(share, -1.0, "{wire:?} does not say"),
        }
    }
}

/// Repeats a step, which gets its number, until the candidate's prefix hit rate is known.
async fn hit_rate(running: &Running, step: impl AsyncFn(u64)) -> f64 {
    let known = async {
        for number in 0.. {
            step(number).await;
            if let Some(rate) = running.status().await["backends"][1]["prefix_hit_rate"].as_f64() {
                return rate;
            }
        }
        unreachable!()
    };
    tokio::time::timeout(PATIENCE, known).await.expect("the rate is not known")
}

#[tokio::test]
async fn the_prefix_hit_rate_is_of_the_servers_own_counters() {
    let page = |number: u64| {
        let (hits, queries) = (5_000 + 90 * number, 9_000 + 100 * number);
        format!(
            "{}vllm:prefix_cache_queries_total {queries}.0\nvllm:prefix_cache_hits_total {hits}.0\n",
            vllm(0, 1, 0.1)
        )
    };
    let pages = Pages::start(&page(0)).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = start(&with_metrics(&openai, &qwen, &[&pages.url], ""), false).await;
    pages.show(answer(200, &page(0))).await;
    let status = running.status().await;
    for backend in [&status["backends"][0], &status["backends"][1]] {
        assert_eq!(backend.get("prefix_hit_rate"), Some(&Value::Null), "no prompt was looked up: {backend}");
    }
    let text = async || get(running.app.admin, "/metrics").await.text();
    assert!(!text().await.contains("shiftgate_prefix_hit_ratio"));
    assert_eq!(hit_rate(&running, async |number| pages.show(answer(200, &page(number))).await).await, 0.9);
    for number in 100.. {
        pages.show(answer(200, &page(number))).await;
        if text().await.contains("\nshiftgate_prefix_hit_ratio{backend=\"qwen\"} 0.9\n") {
            break;
        }
        assert!(number < 1_000, "{}", text().await);
    }
    let sglang = "sglang:num_running_reqs 1.0\nsglang:cache_hit_rate{tp_rank=\"0\"} 0.96\n";
    pages.show(answer(200, sglang)).await;
    assert_eq!(hit_rate(&running, async |_| ()).await, 0.96);
    // A rate that the server no longer reports is unknown again.
    pages.show(answer(200, &vllm(0, 1, 0.1))).await;
    eventually(|| {
        running.app.store.current().targets_off_path()[1]
            .load
            .reading(std::time::Instant::now())
            .prefix_hit_rate
            .is_none()
    })
    .await;
}

#[tokio::test]
async fn what_is_no_page_is_said_and_what_was_known_holds_for_a_while() {
    let pages = Pages::start(&vllm(9, 1, 0.1)).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text =
        with_metrics(&openai, &qwen, &[&pages.url], "max_waiting = 5").replace("enabled = false", "enabled = true");
    let running = start(&text, false).await;
    pages.show(answer(200, &vllm(9, 1, 0.1))).await;
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x 1\n".repeat(3 << 20)).into_bytes();
    for (wrong, said) in [
        (answer(503, "no"), "it answered 503"),
        (answer(200, "<html></html>"), "there is no metric of a known engine in it"),
        (endless, "the answer is larger than 8388608 bytes"),
    ] {
        pages.show(wrong).await;
        let fleet = fleet_of(&running).await;
        assert_eq!(fleet["error"], format!("{}: {said}", pages.url), "{fleet}");
        assert_eq!((&fleet["waiting"], &fleet["overloaded"]), (&9.into(), &true.into()), "{fleet}");
    }
    assert_who(&who(&running).await, OVERLOAD);
    assert!(running.app.stats.backend("qwen").polls_failed.get() >= 3);
}

#[tokio::test]
async fn a_page_that_never_comes_holds_nobody_up_and_leaves_the_candidate_in() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", deaf.local_addr().unwrap());
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = with_metrics(&openai, &qwen, &[&url], "max_waiting = 0").replace("enabled = false", "enabled = true");
    let running = start(&text, false).await;
    let (_held, _) = tokio::time::timeout(PATIENCE, deaf.accept()).await.unwrap().unwrap();
    assert_who(&who(&running).await, SPLIT);
    let fleet = fleet_of(&running).await;
    assert_eq!((&fleet["waiting"], &fleet["error"]), (&Value::Null, &"no good poll yet".into()), "{fleet}");
}

#[tokio::test]
async fn a_reload_ends_polls_that_left_the_file_and_keeps_the_others() {
    let (first, second) = (Pages::start(&vllm(1, 1, 0.1)).await, Pages::start(&vllm(2, 1, 0.1)).await);
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = with_metrics(&openai, &qwen, &[&first.url], "");
    let running = start(&text, true).await;
    until(first.asked.clone(), |asked| asked.len() > 2).await;
    std::fs::write(&running.file, format!("{text}# the section is the same\n")).unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    first.show(answer(200, &vllm(1, 1, 0.1))).await;
    assert_eq!(*first.open.borrow(), 1, "the poll went on where it was");
    std::fs::write(&running.file, text.replace(&first.url, &second.url)).unwrap();
    until(first.open.clone(), |open| *open == 0).await;
    second.show(answer(200, &vllm(2, 1, 0.1))).await;
    assert_eq!(fleet_of(&running).await["waiting"], 2);
    drop(running);
    until(second.open.clone(), |open| *open == 0).await;
}

#[tokio::test]
async fn a_machines_price_is_that_of_the_tokens_it_generates() {
    let page = |total: u64| format!("{}vllm:generation_tokens_total {total}.0\n", vllm(0, 1, 0.1));
    let pages = Pages::start(&page(1000)).await;
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = with_metrics(&openai, &qwen, &[&pages.url], "price = { gpu_hour = 3600.0, gpus = 1 }");
    let running = start(&text, false).await;
    let cost = async || {
        ask(&running, &chat("x", false), "").await;
        running.status().await["backends"][1]["cost_usd"].as_f64()
    };
    pages.show(answer(200, &page(1000))).await;
    assert_eq!((fleet_of(&running).await["tokens_per_second"].as_f64(), cost().await), (Some(0.0), None));
    pages.show(answer(200, &page(900_000))).await;
    let speed = fleet_of(&running).await["tokens_per_second"].as_f64().unwrap();
    assert!(speed > 0.0);
    let tokens = running.app.stats.backend("qwen").output_tokens.get();
    let one = cost().await.unwrap();
    let tokens = running.app.stats.backend("qwen").output_tokens.get() - tokens;
    // The machine costs one dollar per second. The rate falls slightly while the counter stands still.
    #[expect(clippy::cast_precision_loss, reason = "a few tokens")]
    let least = tokens as f64 / speed;
    assert!(one >= least * 0.99, "{one} for {tokens} tokens at {speed} in a second");
}

#[tokio::test]
async fn a_server_is_asked_for_its_context_until_it_answers() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    qwen.set(Behaviour { status: Some((503, None)), ..Behaviour::default() });
    let running = start(&file(&openai, &qwen, 100.0), false).await;
    let target = Arc::clone(&running.app.store.current().targets_off_path()[1]);
    eventually(|| qwen.requests() >= 3).await;
    assert_eq!(target.max_model_len(), None);
    qwen.set(Behaviour::default());
    eventually(|| target.max_model_len().is_some()).await;
    assert_eq!(target.max_model_len(), Some(32_768));
    assert_eq!(openai.requests(), 0, "OpenAI does not say, and is not asked");
    assert!(qwen.received().iter().all(|request| request.target == "/v1/models"));
    // A request that does not fit the context is not sent to that backend.
    let answer = ask(&running, &chat(&"word ".repeat(32_768), false), "").await;
    assert_eq!(answer.header("x-shiftgate-reason"), Some("pinned:context"));
    assert_who(&who(&running).await, SPLIT);
}
