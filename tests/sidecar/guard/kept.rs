//! A restart keeps withdrawals; a state file that cannot be used is left alone.

use serde_json::Value;

use super::*;

#[tokio::test]
async fn it_stays_through_a_killed_process() {
    use std::os::unix::fs::PermissionsExt;
    let [openai, qwen, other] = sims().await;
    let folder = tempfile::tempdir().unwrap();
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "state = \"state.json\"");
    let first = start(folder.path(), &text);
    let at = (first.listen, first.admin.parse().unwrap());
    trip(at, &qwen).await;
    let path = folder.path().join("state.json");
    written(&path, "held").await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    first.signal("-KILL");
    drop(first);
    let second = start(folder.path(), &text);
    let admin = second.admin.parse().unwrap();
    let guard = guard_of(admin, "qwen").await;
    assert_eq!((&guard["state"], &guard["cause"]), (&"held".into(), &"errors".into()), "{guard}");
    let chats = || qwen.received().iter().filter(|one| one.target.contains("chat")).count();
    let asked = chats();
    for _ in 0..20 {
        let answer = raw(second.listen, &post("/v1/chat/completions", &chat("x", true), "")).await;
        assert_eq!(by(&answer).0, "openai");
    }
    assert_eq!(chats(), asked);
    let page: Value = serde_json::from_slice(&get(admin, "/history").await.body).unwrap();
    let causes: Vec<&Value> = page["history"].as_array().unwrap().iter().map(|one| &one["cause"]).collect();
    assert_eq!(causes, ["start", "guard", "start"], "{page}");
    // A second process beside it works, in memory, and says so.
    let beside = start(folder.path(), &text);
    let status = process_status(&beside).await;
    assert_eq!(status["state"]["error"], "another process writes to it", "{status}");
    assert_eq!(process_status(&second).await["state"]["error"], Value::Null);
    let metrics = get(beside.admin.parse().unwrap(), "/metrics").await.text();
    assert!(!metrics.contains("shiftgate_guard_state_errors_total 0\n"), "{metrics}");
    drop((beside, second));
    // Another `resume` at start lifts.
    let third = start(folder.path(), &text.replace(QUICK, "alpha = 0.5\nresume = 7"));
    let guard = guard_of(third.admin.parse().unwrap(), "qwen").await;
    assert_eq!((&guard["state"], &guard["cause"]), (&"watching".into(), &"resumed".into()), "{guard}");
}

#[tokio::test]
async fn a_drain_saves_the_time_that_a_hold_has_left_and_its_numbers() {
    let [openai, qwen, other] = sims().await;
    let folder = tempfile::tempdir().unwrap();
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "state = \"state.json\"\ndrain = \"1s\"");
    let mut first = start(folder.path(), &text);
    let admin = first.admin.parse().unwrap();
    let held = trip((first.listen, admin), &qwen).await;
    let path = folder.path().join("state.json");
    let left = || {
        let state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        state["candidates"][0]["hold"]["left_ms"].as_u64().unwrap()
    };
    written(&path, "held").await;
    let at_trip = left();
    first.signal("-TERM");
    assert!(first.child.wait().unwrap().success());
    assert!(left() <= at_trip - 900, "a drain takes a second, and {} of {at_trip} ms are left", left());
    let second = start(folder.path(), &text);
    let guard = guard_of(second.admin.parse().unwrap(), "qwen").await;
    for field in ["state", "trials", "counted", "rate", "keys", "verdict", "why"] {
        assert_eq!(guard[field], held[field], "{field} of {guard}");
    }
    let evidence = |guard: &Value| guard["evidence"].as_f64().unwrap();
    assert!((evidence(&guard) / evidence(&held) - 1.0).abs() < 1e-9, "{guard}");
}

#[tokio::test]
async fn a_state_file_that_cannot_be_used_is_left_alone_and_said() {
    let [openai, qwen, other] = sims().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "state = \"state.json\"");
    for (content, expected) in [
        ("{\"version\": 9}", "version 9"),
        ("not json", "not a state file"),
        ("{\"version\":1,\"candidates\":7}", "not a"),
    ] {
        std::fs::write(&path, content).unwrap();
        let process = start(folder.path(), &text);
        let status = process_status(&process).await;
        let error = status["state"]["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{status}");
        trip((process.listen, process.admin.parse().unwrap()), &qwen).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    // A folder that is lost while the process runs: the withdrawal stays, and the file is written again later.
    std::fs::remove_file(&path).unwrap();
    let state = folder.path().join("folder");
    std::fs::create_dir(&state).unwrap();
    let process = start(folder.path(), &text.replace("\"state.json\"", "\"folder/state.json\""));
    eventually(|| state.join("state.json").exists()).await;
    std::fs::remove_dir_all(&state).unwrap();
    let admin = process.admin.parse().unwrap();
    trip((process.listen, admin), &qwen).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while process_status(&process).await["state"]["error"].is_null() {
        assert!(tokio::time::Instant::now() < deadline, "the loss is not said");
    }
    assert_eq!(guard_of(admin, "qwen").await["state"], "held");
}

#[tokio::test]
async fn a_link_stays_a_link_and_a_pipe_is_not_read() {
    let [openai, qwen, other] = sims().await;
    let folder = tempfile::tempdir().unwrap();
    let (link, target) = (folder.path().join("state.json"), folder.path().join("target.json"));
    std::fs::write(&target, "{\"version\":1,\"candidates\":[],\"history\":[]}").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "state = \"state.json\"");
    let process = start(folder.path(), &text);
    eventually(|| std::fs::read_to_string(&target).is_ok_and(|text| text.contains("\"start\""))).await;
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    drop(process);
    std::fs::remove_file(&link).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&link).status().unwrap().success());
    let process = start(folder.path(), &text);
    assert_eq!(process_status(&process).await["state"]["error"], "it is not a regular file");
}
