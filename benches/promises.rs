//! Figures of the README, measured on the built binary beside a direct control in the same run:
//! `cargo bench --bench promises`. Times are printed, never asserted.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and stops where it cannot go on")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shiftgate::api::sim::{self, Behaviour, Fault, Sim, SimConfig, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Sidecar {
    child: Child,
    address: SocketAddr,
    to_first_line: Duration,
}

impl Sidecar {
    fn start(file: &Path) -> Self {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
        let mut child = command.arg("--config").arg(file).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["message"] == "listening" {
                break line["listen"].as_str().unwrap().parse().unwrap();
            }
        };
        let to_first_line = begun.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, to_first_line }
    }

    fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(openai: &Sim, qwen: &Sim, percent: f64) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\nrequest_log = false\n[rollout]\n\
         name = \"bench\"\nbaseline = \"openai\"\npercent = {{ qwen = {percent:?} }}\n[backend.openai]\n\
         engine = \"openai\"\nurl = \"{}\"\napi_key = \"client\"\n[backend.qwen]\nengine = \"vllm\"\nurl = \"{}\"\n\
         api_key = \"none\"\n",
        openai.url(),
        qwen.url()
    )
}

fn file(folder: &Path, openai: &Sim, qwen: &Sim, percent: f64) -> PathBuf {
    let path = folder.join("rollout.toml");
    std::fs::write(&path, text(openai, qwen, percent)).unwrap();
    path
}

async fn sims() -> (Sim, Sim) {
    let quiet = |wire| SimConfig { record: false, ..SimConfig::new(wire) };
    let openai = sim::start(quiet(Wire::OpenAi), Behaviour::default()).await.unwrap();
    (openai, sim::start(quiet(Wire::Vllm), Behaviour::default()).await.unwrap())
}

fn request(key: &str, stream: bool) -> Vec<u8> {
    let words = "word ".repeat(180);
    let body = format!(
        "{{\"model\":\"gpt-4o\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{words}\"}}]}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\nx-session-id: {key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one unstreamed answer from a keep-alive connection and returns its head in lower case; `None` if the
/// connection ends first.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    buffer.clear();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length: usize = value(&head, "content-length").parse().ok()?;
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn value<'h>(head: &'h str, name: &str) -> &'h str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("")
}

/// Sends 100,000 keys twice: prints the share that the backends count, and the number of keys that move.
async fn split(folder: &Path) {
    let (openai, qwen) = sims().await;
    let sidecar = Sidecar::start(&file(folder, &openai, &qwen, 5.0));
    let mut first: HashMap<usize, String> = HashMap::new();
    let (mut moved, mut failed) = (0, 0);
    for round in 0..2 {
        let before = (openai.requests(), qwen.requests());
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..8 {
            let address = sidecar.address;
            workers.spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut buffer, mut seen) = (Vec::new(), Vec::new());
                for key in (worker..100_000).step_by(8) {
                    stream.write_all(&request(&format!("key-{key}"), false)).await.unwrap();
                    let head = answer(&mut stream, &mut buffer).await.unwrap();
                    let good = head.starts_with("http/1.1 200");
                    seen.push((key, value(&head, "x-shiftgate-backend").to_owned(), good));
                }
                seen
            });
        }
        for (key, backend, good) in workers.join_all().await.into_iter().flatten() {
            failed += u64::from(!good);
            match first.get(&key) {
                Some(known) => moved += u64::from(*known != backend),
                None => drop(first.insert(key, backend)),
            }
        }
        let (a, b) = (openai.requests() - before.0, qwen.requests() - before.1);
        let share = b as f64 * 100.0 / (a + b) as f64;
        println!("split: round {round}: {} requests, {share:.3} % on the candidate by the backends' count", a + b);
    }
    println!("split: {failed} failed, {moved} keys moved in the rerun (asked 5.00, 4 sigma is 0.28)");
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
    mixed: AtomicU64,
}

/// Runs one of twenty clients: 50 requests a second until `stop` is set.
async fn steady(address: SocketAddr, seen: Arc<Seen>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !seen.stop.load(Relaxed) {
        tick.tick().await;
        seen.sent.fetch_add(1, Relaxed);
        stream.write_all(&request("one", false)).await.unwrap();
        let Some(head) = answer(&mut stream, &mut buffer).await else {
            seen.failed.fetch_add(1, Relaxed);
            return;
        };
        if !head.starts_with("http/1.1 200") {
            seen.failed.fetch_add(1, Relaxed);
        }
        let even = value(&head, "x-shiftgate-generation").parse::<u64>().is_ok_and(|g| g.is_multiple_of(2));
        if value(&head, "x-shiftgate-backend") != if even { "qwen" } else { "openai" } {
            seen.mixed.fetch_add(1, Relaxed);
        }
    }
}

/// Saves the file 1,000 times, a third of them broken, during 1,000 requests a second.
async fn reloads(folder: &Path) {
    let (openai, qwen) = sims().await;
    let path = file(folder, &openai, &qwen, 0.0);
    let sidecar = Sidecar::start(&path);
    let seen = Arc::new(Seen::default());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        workers.spawn(steady(sidecar.address, Arc::clone(&seen)));
    }
    let begun = Instant::now();
    let mut generation = 1_u64;
    for round in 0..1000_u64 {
        let beside = path.with_extension("new");
        let saved = if round % 3 == 2 {
            format!("[rollout]\npercent = {{ qwen = {} }}\n", 101 + round)
        } else {
            generation += 1;
            let percent = if generation.is_multiple_of(2) { 100.0 } else { 0.0 };
            format!("{}# {round}\n", text(&openai, &qwen, percent))
        };
        std::fs::write(&beside, saved).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seen.stop.store(true, Relaxed);
    workers.join_all().await;
    println!(
        "reloads: 1000 saves (a third broken) in {:.0} s beside {} requests: {} failed, {} decided by a mixture",
        begun.elapsed().as_secs_f64(),
        seen.sent.load(Relaxed),
        seen.failed.load(Relaxed),
        seen.mixed.load(Relaxed)
    );
}

/// Measures the time from a client's close until the backend sees it, through the sidecar and directly in turn.
async fn hang_ups(folder: &Path) {
    let (openai, qwen) = sims().await;
    openai.set(Behaviour { tokens_per_second: 50.0, fault: Fault::NeverEnding, ..Behaviour::default() });
    let sidecar = Sidecar::start(&file(folder, &openai, &qwen, 0.0));
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for round in 0..200_u64 {
        for (address, took) in [(openai.address(), &mut direct), (sidecar.address, &mut through)] {
            let mut aborts = openai.aborts();
            let before = aborts.borrow_and_update().count;
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&request(&format!("k{round}"), true)).await.unwrap();
            let mut got = Vec::new();
            while !String::from_utf8_lossy(&got).contains("data:") {
                client.read_buf(&mut got).await.unwrap();
            }
            let left = Instant::now();
            drop(client);
            let seen = *aborts.wait_for(|aborts| aborts.count > before).await.unwrap();
            took.push(seen.last.unwrap().saturating_duration_since(left));
        }
    }
    for (name, mut took) in [("direct", direct), ("through shiftgate", through)] {
        took.sort_unstable();
        println!("hang-ups: {name}: p50 {:?}, max {:?} of 200", took[100], took[199]);
    }
}

async fn start_up(folder: &Path) {
    let (openai, qwen) = sims().await;
    let path = file(folder, &openai, &qwen, 5.0);
    let (mut lines, mut answers, mut controls) = (Vec::new(), Vec::new(), Vec::new());
    let mut rss = 0;
    for _ in 0..20 {
        let begun = Instant::now();
        assert!(Command::new("true").status().unwrap().success());
        controls.push(begun.elapsed());
        let begun = Instant::now();
        let sidecar = Sidecar::start(&path);
        let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
        stream.write_all(&request("k", false)).await.unwrap();
        answer(&mut stream, &mut Vec::new()).await.unwrap();
        answers.push(begun.elapsed());
        lines.push(sidecar.to_first_line);
        tokio::time::sleep(Duration::from_millis(100)).await;
        rss = rss.max(sidecar.rss_kib());
    }
    for (name, mut took) in [("`true` (control)", controls), ("listening", lines), ("first answer", answers)] {
        took.sort_unstable();
        println!("start: {name}: p50 {:?}, max {:?} of 20", took[10], took[19]);
    }
    std::fs::write(&path, text(&openai, &qwen, 5.0).replace(&openai.url(), "https://api.openai.com/v1")).unwrap();
    let tls = Sidecar::start(&path);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (with_tls, after) = (tls.rss_kib(), tls.to_first_line);
    println!("idle: {rss} KiB; with an https backend and the system's roots {with_tls} KiB, listening after {after:?}");
}

/// Starts a minimal blocking server: one thread per connection, so that no runtime of its own is measured.
fn plain_server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = Arc::new(format!("{head}{body}").into_bytes());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || serve_plainly(stream, &answer));
        }
    });
    address
}

fn serve_plainly(mut stream: std::net::TcpStream, answer: &[u8]) {
    stream.set_nodelay(true).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 16_384];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        got.extend_from_slice(&buffer[..read]);
        let Some(end) = got.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&got[..end]).to_ascii_lowercase();
        let length: usize = value(&head, "content-length").parse().unwrap();
        if got.len() >= end + 4 + length {
            got.clear();
            stream.write_all(answer).unwrap();
        }
    }
}

/// Measures one connection with one request at a time, in blocks that go directly and through the sidecar in turn.
fn latency(folder: &Path) {
    const BLOCK: usize = 1_000;
    let server = plain_server();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\nrequest_log = false\n[rollout]\n\
         name = \"bench\"\nbaseline = \"a\"\npercent = {{ b = 5.0 }}\n[backend.a]\nengine = \"openai\"\n\
         url = \"http://{server}/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"openai\"\n\
         url = \"http://{server}/v1\"\napi_key = \"none\"\n"
    );
    let path = folder.join("rollout.toml");
    std::fs::write(&path, text).unwrap();
    let sidecar = Sidecar::start(&path);
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for block in 0..44 {
        let (address, took) = if block % 2 == 0 { (server, &mut direct) } else { (sidecar.address, &mut through) };
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = [0; 16_384];
        for number in 0..BLOCK {
            let bytes = request(&format!("k{number}"), false);
            let begun = Instant::now();
            stream.write_all(&bytes).unwrap();
            assert!(stream.read(&mut buffer).unwrap() > 0);
            if block > 1 {
                took.push(begun.elapsed());
            }
        }
    }
    direct.sort_unstable();
    through.sort_unstable();
    for (name, share) in [("p50", 50), ("p99", 99)] {
        let (direct, through) = (direct[direct.len() * share / 100], through[through.len() * share / 100]);
        let added = through.saturating_sub(direct);
        println!("latency: {name}: direct {direct:?}, through {through:?}, added {added:?}");
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    runtime.block_on(async {
        if runs("start") {
            start_up(folder.path()).await;
        }
        if runs("latency") {
            latency(folder.path());
        }
        if runs("hang-ups") {
            hang_ups(folder.path()).await;
        }
        if runs("split") {
            split(folder.path()).await;
        }
        if runs("reloads") {
            reloads(folder.path()).await;
        }
    });
}
