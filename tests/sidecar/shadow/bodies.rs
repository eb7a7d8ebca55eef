//! What the receiver of a copy gets.

use serde_json::json;
use shiftgate::api::sim::Behaviour;

use super::*;

const HEADERS: &str = "idempotency-key: idem-canary\r\ncookie: cookie-canary\r\nopenai-organization: org-canary\r\n\
                       x-session-id: session-canary\r\nx-shiftgate-shadow: on\r\n";

fn labelled() -> String {
    with(json!({
        "metadata": {"a": "metadata-canary"}, "store": true, "service_tier": "flex", "user": "user-canary",
        "safety_identifier": "safety-canary", "prompt_cache_key": "cache-canary", "stream": true
    }))
}

#[tokio::test]
async fn a_candidate_gets_its_own_key_and_no_label_of_the_application() {
    let (running, openai, qwen) = launch_shadowed(Behaviour::default(), "").await;
    assert_eq!(ask(&running, &labelled(), HEADERS).await.status, 200);
    until_pairs(&running, 1).await;
    let copy = qwen.received().pop().unwrap();
    assert_eq!(copy.headers["authorization"], "Bearer qwen-key-canary");
    let text = format!("{:?} {}", copy.headers, String::from_utf8_lossy(&copy.body));
    for canary in ["sk-app", "idem", "cookie-", "org", "session-", "metadata", "user-", "safety", "cache-", "shadow"] {
        assert!(!text.contains(&format!("{canary}-canary")) && !text.contains(&format!("{canary}canary")), "{text}");
    }
    let body = sent(&qwen);
    for field in ["metadata", "store", "service_tier", "user", "safety_identifier", "prompt_cache_key"] {
        assert!(body.get(field).is_none(), "{field}: {body}");
    }
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
    assert_eq!(copy.headers["x-session-id"].len(), 16, "the affinity header has a hash");
    // The served request is untouched.
    assert_eq!(sent(&openai)["metadata"]["a"], "metadata-canary");
    assert!(openai.received().pop().unwrap().headers.get("x-shiftgate-shadow").is_none());
}

#[tokio::test]
async fn the_baseline_gets_the_users_name_and_nothing_to_store() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let running = launch(&shadowed(&openai, &qwen, 100.0, "openai", ""), false).await;
    let answer = ask(&running, &labelled(), HEADERS).await;
    assert_eq!((answer.status, answer.header("x-shiftgate-backend")), (200, Some("qwen")));
    until_pairs_of(&running, "openai", 1).await;
    let (copy, body) = (openai.received().pop().unwrap(), sent(&openai));
    assert_eq!(copy.headers["authorization"], "Bearer sk-app-canary");
    assert!(copy.headers.get("idempotency-key").is_none());
    for field in ["metadata", "store", "service_tier"] {
        assert!(body.get(field).is_none(), "{field}: {body}");
    }
    for field in ["user", "safety_identifier", "prompt_cache_key"] {
        assert!(body.get(field).is_some(), "{field}: {body}");
    }
    assert_eq!(body["stream_options"]["include_usage"], true, "usage is always asked for");
}

async fn until_pairs_of(running: &Running, backend: &str, count: u64) {
    let of = |status: &Value| {
        let copies = status["shadow"]["copies"].as_array().unwrap().clone();
        copies.into_iter().filter(|one| one["backend"] == backend).map(|one| sum(&one["pairs"])).sum::<u64>()
    };
    until_status(running, |status| of(status) >= count).await;
}

#[tokio::test]
async fn noise_asks_the_baseline_once_more_and_only_where_it_served() {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let text = shadowed(&openai, &qwen, 0.0, "qwen", "").replace("noise_percent = 0", "noise_percent = 100");
    let running = launch(&text, false).await;
    ask(&running, &with(json!({"metadata": {"a": "b"}})), "").await;
    let status = until_pairs(&running, 1).await;
    assert_eq!((openai.requests(), qwen.requests()), (2, 1));
    assert_eq!(counted(&status["shadow"]["noise"]["default"]), [("sent".to_owned(), 1)]);
    let agreement = &copies(&status)["agreement"]["text"];
    assert_eq!((&agreement["pairs"], &agreement["floor_pairs"]), (&1.into(), &1.into()));
    let on_candidate = launch(&text.replace("percent = { qwen = 0.0 }", "percent = { qwen = 100.0 }"), false).await;
    ask(&on_candidate, &chat("x", false), "").await;
    let status = on_candidate.status().await;
    assert_eq!(counted(&status["shadow"]["noise"]["default"]), []);
}
