//! Who is copied, by the backends' own count.

use std::collections::BTreeSet;

use shiftgate::api::sim::Behaviour;

use super::*;

const KEYS: u32 = 400;

/// Sends a request for each key, and returns the keys whose request was copied.
async fn copied(percent: u32) -> BTreeSet<String> {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let more = "max_in_flight = 1000";
    let text =
        shadowed(&openai, &qwen, 0.0, "qwen", more).replace("percent = 100\n", &format!("percent = {percent}\n"));
    let running = launch(&text, false).await;
    for key in 0..KEYS {
        let answer = ask(&running, &chat(&format!("key-{key}"), false), &format!("x-session-id: user-{key}\r\n")).await;
        assert_eq!(answer.status, 200);
    }
    let status = until_status(&running, |status| status["shadow"]["in_flight"] == 0).await;
    let sent = copies(&status)["requests"]["sent"].as_u64().unwrap();
    assert_eq!(sum(&copies(&status)["requests"]), sent, "{status}");
    until_pairs(&running, sent).await;
    let prompt = |got: &shiftgate::api::sim::Received| {
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        body["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    let copied: BTreeSet<String> = qwen.received().iter().map(prompt).collect();
    assert_eq!(copied.len() as u64, sent, "no request is copied twice");
    copied
}

#[tokio::test]
async fn keys_of_a_lower_percent_are_copied_at_a_higher_one_too() {
    let (few, more) = tokio::join!(copied(10), copied(30));
    for (copied, share) in [(&few, 0.1), (&more, 0.3)] {
        let (expected, sigma) = (f64::from(KEYS) * share, (f64::from(KEYS) * share * (1.0 - share)).sqrt());
        assert!((copied.len() as f64 - expected).abs() <= 4.0 * sigma, "{} of {expected}", copied.len());
    }
    assert!(few.is_subset(&more), "{:?}", few.difference(&more));
}
