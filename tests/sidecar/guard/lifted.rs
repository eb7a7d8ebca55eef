//! The ways that lift a withdrawal.

use serde_json::Value;

use super::*;
use crate::process::binary;

#[tokio::test]
async fn it_is_lifted_by_the_named_ways_and_by_no_other() {
    let [openai, qwen, other] = sims().await;
    let file = |guard: &str| guarded(&[&openai, &qwen, &other], "qwen = 50", guard, "");
    let text = file(QUICK);
    let running = launch(&text, true).await;
    let elsewhere = text.replace(&qwen.url(), &other.url());
    let ways = [
        (file("alpha = 0.5\nresume = 1"), "resumed"),
        (text.replace("qwen = 50", "qwen = 0"), "percent_zero"),
        (text.replace("name = \"test\"", "name = \"again\""), "changed"),
        (text.replace("\"*\" = \"m\"", "\"*\" = \"m\", \"x\" = \"y\""), "changed"),
        (text.replace("family = \"qwen3\"", "family = \"qwen3\"\nlate_system = \"as_user\""), "changed"),
        (elsewhere, "changed"),
    ];
    for (lifts, cause) in ways {
        tripped(&running, &qwen).await;
        let kept = [
            text.replace("qwen = 50", "qwen = 60"),
            text.replace(
                "[guard]",
                "[[route]]\nname = \"r\"\nmatch = { model = \"z-*\" }\npercent = { qwen = 1 }\n[guard]",
            ),
            text.replacen("api_key = \"none\"\nmodels", "api_key = \"client\"\nmodels", 1),
            file("alpha = 0.01\nerrors = { max_ratio = 2 }"),
        ];
        for text in kept {
            save(&running, &text).await;
            assert_eq!(state(&running).await.0, "held", "{text}");
            let answer = get(running.app.admin, "/status").await.json();
            assert_eq!(answer["routes"].as_array().unwrap().last().unwrap()["effective"]["qwen"], 0.0);
        }
        save(&running, &lifts).await;
        becomes(&running, ("watching", cause)).await;
        save(&running, &text).await;
        // Back: the same change the other way round is one as well, and lifts nothing because nothing is withdrawn.
        assert_eq!(state(&running).await.0, "watching");
    }
    tripped(&running, &qwen).await;
    save(&running, &text.replace("[guard]\nalpha = 0.5", "")).await;
    let answer = ask(&running, &chat("x", false), "").await;
    assert_ne!(by(&answer).1, "rolled_back");
    assert!(guard_of(running.app.admin, "qwen").await.is_null());
}

#[tokio::test]
async fn the_commands_say_what_is_withdrawn_and_lift_it() {
    let [openai, qwen, other] = sims().await;
    let folder = tempfile::tempdir().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "state = \"state.json\"");
    let text = text.replacen("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""), 1);
    let process = start(folder.path(), &text);
    trip((process.listen, admin), &qwen).await;
    let file = folder.path().join("rollout.toml");
    let run = |words: &[&str]| {
        let output = binary().args(words).arg("--config").arg(&file).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{words:?}: {}", said(&output.stderr));
        (said(&output.stdout), said(&output.stderr))
    };
    let (out, err) = run(&["shift", "qwen", "60"]);
    assert!(out.contains("50.00 % -> 60.00 %"), "{out}");
    assert!(err.contains("this percent has no effect yet: qwen has been held since"), "{err}");
    assert!(err.contains("shiftgate resume --config"), "{err}");
    let (status, _) = run(&["status"]);
    assert!(status.contains("guard of qwen: held"), "{status}");
    eventually_async(async || process_status(&process).await["generation"] == 2).await;
    run(&["resume"]);
    eventually_async(async || guard_of(admin, "qwen").await["cause"] == "resumed").await;
    let (_, err) = run(&["shift", "qwen", "70"]);
    assert_eq!(err, "");
    eventually_async(async || process_status(&process).await["generation"] == 4).await;
    let (history, _) = run(&["history", "--json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let causes: Vec<&str> =
        history["history"].as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["start", "guard", "shift", "resume", "guard", "shift"], "{history}");
    // Nobody runs: the history is that of the state file.
    let state = folder.path().join("state.json");
    eventually(|| std::fs::read_to_string(&state).is_ok_and(|text| text.matches("\"cause\":\"shift\"").count() == 2))
        .await;
    drop(process);
    let (table, err) = run(&["history"]);
    assert!(table.contains("resume") && err.contains("state.json"), "{table}{err}");
}

#[tokio::test]
async fn another_action_does_not_give_a_withdrawn_candidate_back() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "");
    let running = launch(&text, true).await;
    tripped(&running, &qwen).await;
    save(&running, &text.replace(QUICK, "alpha = 0.5\naction = \"alert\"")).await;
    assert_eq!(state(&running).await.0, "held");
    assert_eq!(running.status().await["routes"][0]["effective"]["qwen"], 0.0);
}
