//! The guard on the served path: what withdraws a candidate, what lifts that, what is kept, shown and told.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Wire};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::process::{Process, binary};
use crate::reload::eventually;
use crate::support::*;

/// Few failures suffice, so that a test is short; statistics have tests of their own.
const QUICK: &str = "alpha = 0.5";

/// A file with two candidates; `guard` are the lines of `[guard]`, `server` more lines of `[server]`.
fn guarded(sims: &[&Sim; 3], percents: &str, guard: &str, server: &str) -> String {
    let [openai, qwen, other] = sims.map(Sim::url);
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
request_log = false
{server}
[rollout]
name = "test"
baseline = "openai"
percent = {{ {percents} }}
sticky = ["header:x-session-id"]
[failover]
retry_budget = 1.0
[backend.openai]
engine = "openai"
url = "{openai}"
api_key = "none"
[backend.qwen]
engine = "vllm"
url = "{qwen}"
api_key = "none"
models = {{ "*" = "m" }}
family = "qwen3"
breaker = {{ failures = 1000, min = 1000000, ratio = 1.0 }}
[backend.zeta]
engine = "vllm"
url = "{other}"
api_key = "none"
models = {{ "*" = "m" }}
family = "qwen3"
[guard]
{guard}
"#
    )
}

async fn sims() -> [Sim; 3] {
    let vllm = || sim::start(SimConfig::new(Wire::Vllm).model("m"), Behaviour::default());
    let openai = sim::start(SimConfig::new(Wire::OpenAi), Behaviour::default()).await.unwrap();
    [openai, vllm().await.unwrap(), vllm().await.unwrap()]
}

fn fails() -> Behaviour {
    Behaviour { status: Some((500, None)), ..Behaviour::default() }
}

async fn guard_of(admin: std::net::SocketAddr, name: &str) -> Value {
    let answer = get(admin, "/status").await;
    let status: Value = serde_json::from_slice(&answer.body).unwrap();
    let backends = status["backends"].as_array().unwrap();
    backends.iter().find(|one| one["name"] == name).unwrap()["guard"].clone()
}

/// Lets every other answer of the candidate fail until its guard acts.
async fn trip(at: (std::net::SocketAddr, std::net::SocketAddr), qwen: &Sim) -> Value {
    let (listen, admin) = at;
    for _ in 0..60 {
        for behaviour in [fails(), Behaviour::default()] {
            qwen.set(behaviour);
            let before = qwen.requests();
            // Until the candidate is drawn once.
            for _ in 0..200 {
                let answer = raw(listen, &post("/v1/chat/completions", &chat("x", true), "")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                if qwen.requests() > before {
                    break;
                }
            }
        }
        let guard = guard_of(admin, "qwen").await;
        if guard["state"] != "watching" {
            qwen.set(Behaviour::default());
            return guard;
        }
    }
    panic!("the guard did not act");
}

async fn tripped(running: &Running, qwen: &Sim) -> Value {
    trip((running.address(), running.app.admin), qwen).await
}

/// Saves the file as an editor does, and waits until it is in force.
async fn save(running: &Running, text: &str) {
    let before = running.app.store.current().snapshot.generation;
    let beside = running.file.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, &running.file).unwrap();
    eventually(|| running.app.store.current().snapshot.generation > before).await;
}

async fn state(running: &Running) -> (String, Value) {
    let guard = guard_of(running.app.admin, "qwen").await;
    (guard["state"].as_str().unwrap().to_owned(), guard["cause"].clone())
}

/// Waits until the guard's state and cause are these.
async fn becomes(running: &Running, expected: (&str, &str)) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (state, cause) = state(running).await;
        if (state.as_str(), cause.as_str()) == (expected.0, Some(expected.1)) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{state} {cause} instead of {expected:?}");
        tokio::task::yield_now().await;
    }
}

fn by(answer: &Answer) -> (String, String) {
    let header = |name| answer.header(name).unwrap().to_owned();
    (header("x-shiftgate-backend"), header("x-shiftgate-reason"))
}

#[tokio::test]
async fn a_failing_candidate_is_withdrawn_and_no_key_of_the_other_moves() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 40, zeta = 40", QUICK, "");
    let running = launch(&text, true).await;
    let session = |n: u32| format!("x-session-id: user-{n}\r\n");
    let mut before = Vec::new();
    for n in 0..60 {
        before.push(by(&ask(&running, &chat("x", false), &session(n)).await));
    }
    let status = running.status().await;
    let guard = tripped(&running, &qwen).await;
    assert_eq!((&guard["state"], &guard["cause"]), (&"held".into(), &"errors".into()), "{guard}");
    assert!(guard["why"].as_str().unwrap().contains("qwen") && guard["until"].is_string(), "{guard}");
    assert!(guard["evidence"].as_f64().unwrap() >= 2.0 && guard["threshold"] == 2.0, "{guard}");
    let sent = qwen.requests();
    for (n, before) in before.iter().enumerate() {
        let after = by(&ask(&running, &chat("x", false), &session(n.try_into().unwrap())).await);
        let expected = match before.0.as_str() {
            "qwen" => ("openai".to_owned(), "rolled_back".to_owned()),
            _ => before.clone(),
        };
        assert_eq!(after, expected, "user-{n}");
    }
    assert_eq!(qwen.requests(), sent, "it gets nothing");
    let after = running.status().await;
    assert_eq!((&after["generation"], &after["hash"]), (&status["generation"], &status["hash"]));
    let route = &after["routes"][0];
    assert_eq!((&route["percent"]["qwen"], &route["effective"]["qwen"]), (&40.0.into(), &0.0.into()));
    assert_eq!(route["effective"]["zeta"], 40.0);
    let metrics = get(running.app.admin, "/metrics").await.text();
    for line in [
        "shiftgate_guard_state{candidate=\"qwen\",state=\"held\"} 1",
        "shiftgate_guard_state{candidate=\"qwen\",state=\"watching\"} 0",
        "shiftgate_guard_state{candidate=\"zeta\",state=\"watching\"} 1",
        "shiftgate_split_percent_effective{route=\"default\",candidate=\"qwen\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let faults = "shiftgate_guard_faults_total{candidate=\"qwen\",role=\"candidate\",cause=\"status\"} ";
    assert!(metrics.contains(faults), "{metrics}");
    let page: Value = serde_json::from_slice(&get(running.app.admin, "/history").await.body).unwrap();
    let history = page["history"].as_array().unwrap();
    let causes: Vec<&str> = history.iter().map(|one| one["cause"].as_str().unwrap()).collect();
    assert_eq!(causes, ["start", "guard"], "{page}");
    assert_eq!((&history[1]["from"], &history[1]["to"]), (&"watching".into(), &"held".into()));
    assert_eq!(history[0]["generation"], history[1]["generation"]);
}

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
async fn an_alert_moves_nothing() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", "alpha = 0.5\naction = \"alert\"", "");
    let running = launch(&text, false).await;
    for n in 0..120 {
        qwen.set(if n % 2 == 0 { fails() } else { Behaviour::default() });
        assert_ne!(by(&ask(&running, &chat("x", true), "").await).1, "rolled_back");
    }
    let guard = guard_of(running.app.admin, "qwen").await;
    assert_eq!((&guard["state"], &guard["verdict"]), (&"watching".into(), &"suspicious".into()), "{guard}");
    assert_eq!(running.status().await["routes"][0]["effective"]["qwen"], 50.0);
    let page: Value = serde_json::from_slice(&get(running.app.admin, "/history").await.body).unwrap();
    let told = page["history"].as_array().unwrap().iter().filter(|one| one["cause"] == "guard").count();
    assert_eq!(told, 1, "once in an epoch: {page}");
}

#[tokio::test]
async fn a_breaker_that_opens_five_times_beside_a_well_baseline_withdraws() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", "", "");
    let text = text.replacen("failures = 1000, min", "open = \"100ms\", failures = 1, min", 1);
    let running = launch(&text, false).await;
    let draw = async |until: &str| {
        for _ in 0..2_000 {
            let status = running.status().await;
            let breaker = status["backends"][1]["breaker"].clone();
            if breaker == until || status["backends"][1]["guard"]["state"] != "watching" {
                return;
            }
            ask(&running, &chat("x", true), "").await;
        }
        panic!("the breaker is not {until}");
    };
    for _ in 0..5 {
        qwen.set(fails());
        draw("open").await;
        qwen.set(Behaviour::default());
        draw("closed").await;
    }
    becomes(&running, ("rolled_back", "breaker_opened")).await;
    let guard = guard_of(running.app.admin, "qwen").await;
    assert!(guard["next"].as_str().unwrap().contains("shiftgate resume"), "{guard}");
    assert!(guard["until"].is_null());
}

fn start(folder: &Path, text: &str) -> Process {
    let file = folder.join("rollout.toml");
    std::fs::write(&file, text).unwrap();
    Process::start(&file)
}

async fn process_status(process: &Process) -> Value {
    get(process.admin.parse().unwrap(), "/status").await.json()
}

/// Waits until the state file names this state.
async fn written(path: &Path, state: &str) {
    eventually(|| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"state\":\"{state}\""))))
        .await;
}

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

/// Answers each POST with the next status; returns the bodies.
async fn receiver(statuses: &[u16]) -> (String, tokio::sync::mpsc::Receiver<Vec<u8>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T0/canary-token", socket.local_addr().unwrap());
    let (bodies, received) = tokio::sync::mpsc::channel(16);
    let statuses = statuses.to_vec();
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let request = read_request(&mut stream).await.unwrap();
            let status = statuses.next().unwrap_or(200);
            let head = format!("HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            bodies.send(request).await.unwrap();
        }
    });
    (url, received)
}

#[tokio::test]
async fn a_receiver_is_told_and_its_url_is_nowhere_else() {
    let [openai, qwen, other] = sims().await;
    let (url, mut received) = receiver(&[500]).await;
    let guard = format!("{QUICK}\nnotify = {{ url = \"{url}\" }}");
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", &guard, "");
    let running = launch(&text, true).await;
    tripped(&running, &qwen).await;
    let next = async |received: &mut tokio::sync::mpsc::Receiver<Vec<u8>>| {
        let request = tokio::time::timeout(PATIENCE, received.recv()).await.unwrap().unwrap();
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
        (head, serde_json::from_str::<Value>(&body).unwrap())
    };
    let (head, refused) = next(&mut received).await;
    assert!(head.starts_with("POST /services/T0/canary-token HTTP/1.1"), "{head}");
    let (_, message) = next(&mut received).await;
    assert_eq!(refused, message, "the second try");
    assert_eq!((&message["event"], &message["candidate"]), (&"held".into(), &"qwen".into()));
    assert_eq!((&message["baseline"], &message["cause"]), (&"openai".into(), &"errors".into()));
    assert_eq!(message["percents"], serde_json::json!({"default": 50.0}));
    let fields =
        ["since", "why", "rate", "trials", "counted", "evidence", "threshold", "trace_ids", "instance", "hash"];
    assert!(fields.iter().all(|field| !message[field].is_null()), "{message}");
    assert!(!message["trace_ids"].as_array().unwrap().is_empty());
    eventually_async(async || {
        get(running.app.admin, "/metrics").await.text().contains("shiftgate_guard_notify_total{result=\"sent\"} 1")
    })
    .await;
    // A lift is told too, to a chat in its form.
    save(&running, &text.replace("alpha = 0.5", "alpha = 0.5\nresume = 1").replace("\" }", "\", format = \"slack\" }"))
        .await;
    let (_, chat) = next(&mut received).await;
    let keys: Vec<&String> = chat.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["text"]);
    assert!(chat["text"].as_str().unwrap().contains("qwen lifted"), "{chat}");
    for page in ["/status", "/metrics", "/history"] {
        assert!(!get(running.app.admin, page).await.text().contains("canary-token"), "{page}");
    }
    assert!(!format!("{:?}", running.app).contains("canary-token"));
}

async fn eventually_async(mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it does not come true");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn aborts_and_retries_are_counted_by_side_and_nothing_acts_on_them() {
    let [openai, qwen, other] = sims().await;
    let running = launch(&guarded(&[&openai, &qwen, &other], "qwen = 100", "", ""), false).await;
    let session = "x-session-id: one\r\n";
    assert_eq!(by(&ask(&running, &chat("x", false), session).await).0, "qwen");
    let retry = ask(&running, &chat("x", false), &format!("{session}x-stainless-retry-count: 1\r\n")).await;
    assert_eq!(by(&retry), ("openai".to_owned(), "pinned:retry".to_owned()));
    ask(&running, &chat("x", false), "x-stainless-retry-count: 1\r\n").await;
    qwen.set(behaviour(sim::Fault::HangAfter(3)));
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post("/v1/chat/completions", &chat("x", true), session)).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"content\"") {
        use tokio::io::AsyncReadExt;
        let mut buffer = [0; 4096];
        let n = tokio::time::timeout(PATIENCE, client.read(&mut buffer)).await.unwrap().unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..n]);
    }
    drop(client);
    eventually_async(async || running.status().await["routes"][0]["signals"]["qwen"]["abort"] == 1).await;
    let signals = running.status().await["routes"][0]["signals"].clone();
    assert_eq!(signals["qwen"], serde_json::json!({"abort": 1, "retry": 1}), "{signals}");
    assert_eq!(signals["openai"], serde_json::json!({"abort": 0, "retry": 0}), "{signals}");
    let metrics = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_signals_total{route=\"default\",backend=\"qwen\",signal=\"retry\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let guard = guard_of(running.app.admin, "qwen").await;
    assert_eq!(guard["counted"], serde_json::json!({"candidate": 0, "baseline": 0}), "{guard}");
}

#[tokio::test]
async fn a_hung_candidate_counts_before_its_request_ends() {
    let [openai, qwen, other] = sims().await;
    let guard = "alpha = 0.01\nerrors = { overdue = \"100ms\" }";
    let running = launch(&guarded(&[&openai, &qwen, &other], "qwen = 100", guard, ""), false).await;
    qwen.set(Behaviour { ttft: Duration::from_secs(3600), ..Behaviour::default() });
    let mut client = tokio::net::TcpStream::connect(running.address()).await.unwrap();
    client.write_all(&post("/v1/chat/completions", &chat("x", true), "")).await.unwrap();
    eventually_async(async || guard_of(running.app.admin, "qwen").await["trials"]["candidate"] == 1).await;
    let metrics = get(running.app.admin, "/metrics").await.text();
    let line = "shiftgate_guard_faults_total{candidate=\"qwen\",role=\"candidate\",cause=\"overdue\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(guard_of(running.app.admin, "qwen").await["verdict"], "blind", "the baseline has no share");
    drop(client);
}

#[tokio::test]
async fn copies_go_on_and_show_when_it_is_well_again() {
    let [openai, qwen, other] = sims().await;
    let shadow = "[shadow]\nto = [\"qwen\"]\npercent = 100\nnoise_percent = 0\nbudget_usd_per_hour = 1000\n";
    let text =
        guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "").replace("[guard]", &format!("{shadow}[guard]"));
    let running = launch(&text, false).await;
    tripped(&running, &qwen).await;
    let answer = ask(&running, &chat("x", true), "x-session-id: one\r\n").await;
    assert_eq!(by(&answer).0, "openai");
    eventually_async(async || {
        let answer = ask(&running, &chat("x", true), "").await;
        assert_eq!(by(&answer).0, "openai");
        let guard = guard_of(running.app.admin, "qwen").await;
        guard["next"].as_str().unwrap().contains("copies since")
    })
    .await;
}

#[tokio::test]
async fn without_failover_a_failure_counts_without_a_word_of_the_baseline() {
    let [openai, qwen, other] = sims().await;
    let text = guarded(&[&openai, &qwen, &other], "qwen = 50", QUICK, "");
    let running = launch(&text.replace("retry_budget = 1.0", "enabled = false"), false).await;
    for n in 0..200 {
        qwen.set(if n % 2 == 0 { fails() } else { Behaviour::default() });
        ask(&running, &chat("x", true), "").await;
        if state(&running).await.0 == "held" {
            let status = running.status().await;
            assert_eq!(status["routes"][0]["effective"]["qwen"], 0.0, "{status}");
            return;
        }
    }
    panic!("{}", guard_of(running.app.admin, "qwen").await);
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
