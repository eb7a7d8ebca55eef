//! Reloads under load: no request fails, each uses one generation, a bad file changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::*;
use shiftgate::api::sim::{self, Behaviour, SimConfig, Wire};

#[tokio::test]
async fn reloads_under_load_fail_nothing_and_mix_nothing() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = Arc::new(launch(&file(&openai, &qwen, 0.0), true).await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (running, stop) = (Arc::clone(&running), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut asked = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let answer = ask(&running, &chat("x", asked.is_multiple_of(2)), "x-session-id: one\r\n").await;
                    assert_eq!(answer.status, 200, "client {client}: {}", answer.text());
                    assert!(answer.whole);
                    // Odd generations serve from the baseline, even ones from the candidate.
                    let generation: u64 = answer.header("x-shiftgate-generation").unwrap().parse().unwrap();
                    let expected = if generation.is_multiple_of(2) { "qwen" } else { "openai" };
                    assert_eq!(answer.header("x-shiftgate-backend"), Some(expected), "generation {generation}");
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    // Renames atomically: the watcher could read, and count, a half-written file.
    let save = |text: &str| {
        let beside = running.file.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, &running.file).unwrap();
    };
    let mut generation = 1;
    for round in 0..60 {
        if round % 3 == 2 {
            save("[rollout]\npercent = { qwen = 101 }\n");
            eventually(|| running.app.store.reload_error().is_some()).await;
            assert_eq!(running.app.store.current().snapshot.generation, generation, "a bad file changes nothing");
            continue;
        }
        generation += 1;
        let percent = if generation % 2 == 0 { 100.0 } else { 0.0 };
        let text = format!("{}# {round}\n", file(&openai, &qwen, percent));
        save(&text);
        eventually(|| running.app.store.current().snapshot.generation == generation).await;
        assert!(running.app.store.reload_error().is_none());
    }
    stop.store(true, Ordering::Relaxed);
    let mut asked = 0;
    for client in clients {
        asked += client.await.unwrap();
    }
    assert!(asked > 50, "{asked} requests while the file changed");
    assert_eq!(openai.requests() + qwen.requests(), asked);
    assert_eq!(running.app.stats.reloads.invalid.get(), 20);
    // Unchanged backends keep their pools: at most one connection per client and backend, with some slack.
    assert!(openai.opened() + qwen.opened() <= 8 + 8, "{} {}", openai.opened(), qwen.opened());
}

#[tokio::test]
async fn status_tells_what_is_refused_and_what_waits_for_a_restart() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let good = file(&openai, &qwen, 0.0);
    let running = launch(&good, true).await;
    std::fs::write(&running.file, good.replace("qwen = 0.0", "qwen = -1")).unwrap();
    eventually(|| running.app.store.reload_error().is_some()).await;
    let status = running.status().await;
    let message = status["reload_error"]["message"].as_str().unwrap();
    assert!(message.contains("rollout.toml:") && message.contains("percent of qwen is -1"), "{message}");
    assert_eq!(status["generation"], 1);
    let page = get(running.app.admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_config_reload_failed 1"), "{page}");

    std::fs::remove_file(&running.file).unwrap();
    eventually(|| running.app.store.reload_error().is_some_and(|error| error.message.contains("cannot be read"))).await;

    std::fs::write(&running.file, &good).unwrap();
    eventually(|| running.app.store.reload_error().is_none()).await;
    assert_eq!(running.app.store.current().snapshot.generation, 1, "the same bytes are no new generation");

    std::fs::write(&running.file, good.replace("[server]", "[server]\nthreads = 1")).unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    let status = running.status().await;
    assert_eq!(status["restart_needed"], serde_json::json!(["threads"]));
    assert!(status["reload_error"].is_null());
}

#[tokio::test]
async fn a_key_file_that_changes_is_used_from_the_next_request() {
    let (openai, _) = pair(Behaviour::default()).await;
    let qwen = sim::start(SimConfig::new(Wire::Vllm), Behaviour::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "first-key").unwrap();
    let text = file(&openai, &qwen, 100.0).replace(&secret_file().display().to_string(), &key.display().to_string());
    let running = launch(&text, true).await;
    let used = |at: usize| qwen.received()[at].headers["authorization"].to_str().unwrap().to_owned();
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    assert_eq!(used(0), "Bearer first-key");
    std::fs::write(&key, "second-key").unwrap();
    eventually(|| running.app.store.current().snapshot.generation == 2).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    assert_eq!(used(1), "Bearer second-key");
    let status = running.status().await.to_string();
    assert!(!status.contains("first-key") && !status.contains("second-key"));
    assert!(!format!("{:?}", running.app.store.current()).contains("second-key"));
}

pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it never holds");
}
