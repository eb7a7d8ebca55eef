//! Deadlines of models: the list that is asked for off the request path, and everyone who tells the dates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shiftgate::api::app::Options;
use shiftgate::api::fleet::PollIntervals;
use shiftgate::api::sim::{self, Behaviour, Sim, SimConfig, Wire};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::*;
use crate::support::*;

/// Days from today to the end of the first model.
const DAYS: i64 = 47;
/// Bytes of a list that nobody should read to its end.
const HUGE: usize = 100 << 20;
/// A vendor's key of its own.
const KEY: &str = "sk-own-canary";

/// Answer to the question for the list of models.
#[derive(Debug, Clone)]
enum Listed {
    Whole(u16, String),
    Hangs,
    Huge,
}

/// A server that serves chats at once, and its list of models as told.
struct Vendor {
    url: String,
    listed: watch::Sender<Listed>,
    /// Values of `authorization` of the questions for the list, in order.
    asked: watch::Receiver<Vec<String>>,
    /// Bytes of huge lists that went out.
    sent: Arc<AtomicUsize>,
}

impl Vendor {
    async fn start(listed: Listed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (listed, shown) = watch::channel(listed);
        let (told, asked) = watch::channel(Vec::new());
        let (told, sent) = (Arc::new(told), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shown.clone(), Arc::clone(&told), Arc::clone(&counted)));
            }
        });
        Self { url, listed, asked, sent }
    }
}

async fn serve(
    mut stream: TcpStream,
    shown: watch::Receiver<Listed>,
    told: Arc<watch::Sender<Vec<String>>>,
    sent: Arc<AtomicUsize>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let head = String::from_utf8_lossy(&request).into_owned();
        if !head.starts_with("GET /v1/models ") {
            let message = json!({"role": "assistant", "content": "Four."});
            let chat = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
            drop(stream.write_all(&whole(200, &chat.to_string())).await);
            continue;
        }
        let key = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default().to_owned();
        told.send_modify(|told| told.push(key));
        let listed = shown.borrow().clone();
        match listed {
            Listed::Whole(status, body) => drop(stream.write_all(&whole(status, &body)).await),
            Listed::Hangs => std::future::pending().await,
            Listed::Huge => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n{{\"data\":[");
                drop(stream.write_all(head.as_bytes()).await);
                let part = b"{\"id\":\"m\"},".repeat(5000);
                while stream.write_all(&part).await.is_ok() && sent.load(Ordering::Relaxed) < HUGE {
                    sent.fetch_add(part.len(), Ordering::Relaxed);
                }
                return;
            }
        }
    }
}

fn whole(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The day that is so many days from today.
fn day(days: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    now.to_string().split('T').next().unwrap().to_owned()
}

/// A list in which a model ends that the file names, one that applications ask for, and one that nobody uses.
fn list() -> Listed {
    let seconds = jiff::Timestamp::now().as_second() + 400 * 86_400;
    let data = json!([
        {"id": "gpt-4o-mini", "object": "model", "created": 1, "shutdown_date": day(DAYS)},
        {"id": "gpt-4o", "object": "model", "created": 1, "shutdown_date": seconds},
        {"id": "gpt-lasting", "object": "model", "created": 1, "shutdown_date": null},
        {"id": "gpt-odd", "object": "model", "created": 1, "shutdown_date": "someday"},
        {"id": "gpt-unused", "object": "model", "created": 1, "shutdown_date": day(3)},
    ]);
    Listed::Whole(200, json!({"object": "list", "data": data}).to_string())
}

/// A file whose baseline is the vendor, and whose route names `gpt-4o-mini`.
fn watching(vendor: &Vendor, qwen: &Sim, key: &Path, more: &str) -> String {
    format!(
        "{more}[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\n\
         [rollout]\nname = \"t\"\nbaseline = \"vendor\"\npercent = {{ qwen = 0 }}\n\
         [[route]]\nname = \"small\"\nmatch = {{ model = \"gpt-4o-mini*\" }}\npercent = {{ qwen = 0 }}\n\
         [backend.vendor]\nengine = \"openai\"\nurl = \"{}\"\napi_key = {{ file = \"{}\" }}\nwatch_models = true\n\
         [backend.qwen]\nengine = \"vllm\"\nurl = \"{}\"\napi_key = \"none\"\nfamily = \"qwen3\"\n",
        vendor.url,
        key.display(),
        qwen.url()
    )
}

async fn vllm() -> Sim {
    sim::start(SimConfig::new(Wire::Vllm), Behaviour::default()).await.unwrap()
}

/// A folder with the vendor's key.
fn keyed() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    (folder, key)
}

fn pace(models: Duration) -> PollIntervals {
    PollIntervals { retry: Duration::from_millis(1), models, ..PollIntervals::default() }
}

async fn start(text: &str, models: Duration) -> Running {
    launch_as(text, Options { watch: true, ask: Some(pace(models)), ..Options::default() }).await
}

fn ends(status: &Value) -> &Value {
    let backends = status["backends"].as_array().unwrap();
    &backends.iter().find(|one| one["name"] == "vendor").unwrap()["ends"]
}

/// Waits until the ends of the vendor's models are these.
async fn until_ends(admin: std::net::SocketAddr, expected: &Value) {
    let read = async {
        loop {
            let status = get(admin, "/status").await.json();
            if ends(&status) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!("{} is never {expected}", ends(&get(admin, "/status").await.json()));
    }
}

fn named() -> Value {
    json!({"model": "gpt-4o-mini", "ends": day(DAYS), "days": DAYS})
}

fn asked_for() -> Value {
    json!({"model": "gpt-4o", "ends": day(400), "days": 400})
}

fn run(file: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = binary().arg("--config").arg(file).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_tells_which_used_models_end() {
    let (vendor, qwen, (folder, key)) = (Vendor::start(list()).await, vllm().await, keyed());
    let records = folder.path().join("records.jsonl");
    let path = folder.path().join("rollout.toml");
    let more = format!("[records]\npath = \"{}\"\n", records.display());
    std::fs::write(&path, watching(&vendor, &qwen, &key, &more)).unwrap();
    let mut process = Process::start(&path);
    let admin = process.admin.parse().unwrap();
    until_ends(admin, &json!([named()])).await;
    assert_eq!(raw(process.listen, &post("/v1/chat/completions", &chat("x", false), "")).await.status, 200);
    until_ends(admin, &json!([named(), asked_for()])).await;
    let (_, table) = run(&path, &["status", "--admin", &process.admin]);
    let said = format!("gpt-4o-mini at vendor ends in {DAYS} days, on {}\n", day(DAYS));
    assert!(table.contains(&said) && !table.contains("gpt-unused"), "{table}");
    let page = get(admin, "/metrics").await.text();
    assert!(page.contains("shiftgate_model_lists_total{backend=\"vendor\",result=\"ok\"} 1\n"), "{page}");
    assert!(!page.contains("shiftgate_model_lists_total{backend=\"qwen\""), "{page}");
    process.signal("-TERM");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    assert_eq!(*vendor.asked.borrow(), [format!("Bearer {KEY}")]);

    let lines = std::fs::read_to_string(&records).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for route in ["small", "default"] {
        let line = lines.iter().rfind(|line| line["kind"] == "counts" && line["route"] == route).unwrap();
        let expected = json!({"gpt-4o-mini": day(DAYS), "gpt-4o": day(400)});
        assert_eq!((&line["backends"]["vendor"]["ends"], &line["backends"]["qwen"]["ends"]), (&expected, &json!({})));
    }
    let (_, report) = run(&path, &["report", "--json", records.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let expected = json!({"backend": "vendor", "model": "gpt-4o-mini", "ends": day(DAYS), "days": DAYS});
    assert!(report["ends"].as_array().unwrap().contains(&expected), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_tells_which_models_end() {
    let (vendor, qwen, (folder, key)) = (Vendor::start(list()).await, vllm().await, keyed());
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, watching(&vendor, &qwen, &key, "")).unwrap();
    let (asked, table) = tokio::task::spawn_blocking({
        let path = path.clone();
        move || (run(&path, &["check", "--probe", "--json"]).1, run(&path, &["check", "--probe"]).1)
    })
    .await
    .unwrap();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&asked["backends"][0]["ends"], &asked["backends"][1]["ends"]), (&json!([named()]), &json!([])));
    assert!(table.contains(&format!("  gpt-4o-mini ends in {DAYS} days, on {}\n", day(DAYS))), "{table}");
    let others = format!(
        "  2 models that the file does not name end too; the first is gpt-unused, which ends in 3 days, on {}\n",
        day(3)
    );
    assert!(table.contains(&others), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_fails_is_asked_again_and_requests_do_not_notice() {
    let failures = [
        Listed::Whole(401, json!({"error": {"message": "no"}}).to_string()),
        Listed::Whole(500, String::new()),
        Listed::Whole(302, String::new()),
        Listed::Whole(200, "<html>".to_owned()),
        Listed::Whole(200, json!({"object": "list"}).to_string()),
        Listed::Huge,
    ];
    for failure in failures {
        let (vendor, qwen, (_folder, key)) = (Vendor::start(failure.clone()).await, vllm().await, keyed());
        let running = start(&watching(&vendor, &qwen, &key, ""), Duration::from_secs(3600)).await;
        let stats = running.app.stats.backend("vendor");
        until(vendor.asked.clone(), |asked| asked.len() >= 3).await;
        assert_eq!(ask(&running, &chat("x", false), "").await.status, 200, "{failure:?}");
        assert!(stats.model_lists_failed.get() >= 2, "{failure:?}");
        assert_eq!((ends(&running.status().await), stats.model_lists_ok.get()), (&Value::Null, 0), "{failure:?}");
        assert_eq!((stats.errors.get(), stats.attempts.get()), (0, 1), "{failure:?}");
        assert!(vendor.sent.load(Ordering::Relaxed) < HUGE / 2, "{failure:?}");
        vendor.listed.send_replace(list());
        until_ends(running.app.admin, &json!([named(), asked_for()])).await;
    }
}

#[tokio::test]
async fn a_vendor_that_hangs_holds_one_connection_and_no_request() {
    let (vendor, qwen, (_folder, key)) = (Vendor::start(Listed::Hangs).await, vllm().await, keyed());
    let running = start(&watching(&vendor, &qwen, &key, ""), Duration::from_millis(1)).await;
    until(vendor.asked.clone(), |asked| asked.len() == 1).await;
    for _ in 0..20 {
        assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    }
    assert_eq!((vendor.asked.borrow().len(), ends(&running.status().await)), (1, &Value::Null));
}

#[tokio::test]
async fn a_list_without_ends_is_known_and_asked_again() {
    let lasting = json!({"data": [{"id": "gpt-4o-mini"}, {"id": "gpt-4o", "shutdown_date": null}]}).to_string();
    let (vendor, qwen, (_folder, key)) = (Vendor::start(Listed::Whole(200, lasting)).await, vllm().await, keyed());
    let running = start(&watching(&vendor, &qwen, &key, ""), Duration::from_millis(5)).await;
    until_ends(running.app.admin, &json!([])).await;
    vendor.listed.send_replace(list());
    until_ends(running.app.admin, &json!([named()])).await;
    // What was known stays known while the vendor is away.
    vendor.listed.send_replace(Listed::Whole(500, String::new()));
    let before = vendor.asked.borrow().len();
    until(vendor.asked.clone(), |asked| asked.len() > before + 2).await;
    assert_eq!(ends(&running.status().await), &json!([named()]));
}

#[tokio::test]
async fn a_reload_changes_the_key_and_ends_the_watch() {
    let (vendor, qwen, (_folder, key)) = (Vendor::start(list()).await, vllm().await, keyed());
    let text = watching(&vendor, &qwen, &key, "");
    let running = start(&text, Duration::from_secs(3600)).await;
    until_ends(running.app.admin, &json!([named()])).await;
    std::fs::write(&key, "sk-new-canary").unwrap();
    until(vendor.asked.clone(), |asked| asked.last().is_some_and(|key| key == "Bearer sk-new-canary")).await;
    assert_eq!(vendor.asked.borrow().len(), 2);
    std::fs::write(&running.file, text.replace("watch_models = true", "")).unwrap();
    until_ends(running.app.admin, &Value::Null).await;
}

#[tokio::test]
async fn without_a_key_of_its_own_nothing_is_asked() {
    let (vendor, keyless, qwen) = (Vendor::start(list()).await, Vendor::start(list()).await, vllm().await);
    let (_folder, key) = keyed();
    let text = watching(&vendor, &qwen, &key, "")
        + &format!(
            "[backend.keyless]\nengine = \"openai\"\nurl = \"{}\"\nwatch_models = true\n\
             api_key = {{ env = \"SHIFTGATE_TEST_UNSET\", optional = true }}\n",
            keyless.url
        );
    let running = start(&text, Duration::from_millis(1)).await;
    assert_eq!(ask(&running, &chat("x", false), "").await.status, 200);
    until(vendor.asked.clone(), |asked| asked.len() > 20).await;
    assert_eq!(keyless.asked.borrow().len(), 0);
    assert!(vendor.asked.borrow().iter().all(|key| *key == format!("Bearer {KEY}")));
}
