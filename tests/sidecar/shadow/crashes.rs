//! Records of a running process: killed, beside a second one, on a full disk, rotated under load. Every line but the one
//! that was being written is whole, and what is not in a file is counted.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use shiftgate::api::sim::{Behaviour, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::process::{Process, binary};

const CLIENTS: u64 = 4;
/// Pause of a client between two requests, which leaves the CPU to the copies: their threads yield to served requests.
const PAUSE: Duration = Duration::from_millis(5);

/// Two backends, and the folder of a process with its file and its records.
struct Place {
    openai: Sim,
    qwen: Sim,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let (openai, qwen) = pair(Behaviour::default()).await;
        Self { openai, qwen, folder: tempfile::tempdir().unwrap() }
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join("records.jsonl")
    }

    /// Writes a file that copies every request, and returns its path.
    fn file(&self, records: &Path, more: &str) -> PathBuf {
        let section = format!("[records]\npath = \"{}\"\n{more}\n[rollout]\n", records.display());
        let text = shadowed(&self.openai, &self.qwen, 0.0, "qwen", "max_in_flight = 200");
        let path = self.folder.path().join("rollout.toml");
        std::fs::write(&path, text.replace("[rollout]\n", &section)).unwrap();
        path
    }
}

/// Asks once; `None` if the process is gone.
async fn status_of(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    (!answer.is_empty()).then(|| parse(&answer).status)
}

/// Clients that ask until `stop`, or until the process is gone.
fn load(process: &Process, stop: &CancellationToken) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (address, stop) = (process.listen, stop.clone());
        clients.spawn(async move {
            let mut number = 0;
            while !stop.is_cancelled() {
                let body = chat(&format!("{client} {number}"), number % 2 == 0);
                let Some(status) = status_of(address, &post("/v1/chat/completions", &body, "")).await else { return };
                assert_eq!(status, 200);
                number += 1;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    clients
}

/// Sum of all series whose lines have these parts.
async fn counted_as(process: &Process, parts: &[&str]) -> u64 {
    let page = get(process.admin.parse().unwrap(), "/metrics").await.text();
    let lines = page.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn recorded_as(process: &Process, result: &str) -> u64 {
    counted_as(process, &[&format!("shiftgate_records_total{{result=\"{result}\"}}")]).await
}

/// Waits until this many lines have this result.
async fn until_recorded(process: &Process, result: &str, count: u64) {
    let reached = async {
        while recorded_as(process, result).await < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("no such lines");
}

/// Ends the load, and waits until each pair has ended and each of its lines has a result.
async fn settle(process: &Process, stop: &CancellationToken, mut clients: JoinSet<()>) {
    stop.cancel();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let settled = async {
        loop {
            let sent = counted_as(process, &["shiftgate_shadow_requests_total", "\"sent\""]).await;
            let pairs = counted_as(process, &["shiftgate_pairs_total"]).await;
            if sent > 0 && sent == pairs && pairs == counted_as(process, &["shiftgate_records_total"]).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("pairs and lines differ");
}

/// Ids of the pairs in these files, and the number of lines that do not parse.
fn read(files: &[PathBuf]) -> (Vec<String>, usize) {
    let (mut ids, mut torn) = (Vec::new(), 0);
    for file in files {
        for line in String::from_utf8_lossy(&std::fs::read(file).unwrap()).lines() {
            match serde_json::from_str::<Value>(line) {
                Ok(line) if line["kind"] == "pair" => ids.push(line["id"].as_str().unwrap().to_owned()),
                Ok(line) => assert_eq!(line["kind"], "counts"),
                Err(_) => torn += 1,
            }
        }
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a pair has one line");
    (ids, torn)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_at_most_one_torn_line() {
    let place = Place::new().await;
    let (records, stop) = (place.records(), CancellationToken::new());
    for run in 1..=3 {
        let mut process = Process::start(&place.file(&records, ""));
        let before = if records.exists() { read(std::slice::from_ref(&records)).0.len() } else { 0 };
        let clients = load(&process, &stop);
        until_recorded(&process, "written", 40).await;
        let written = recorded_as(&process, "written").await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        drop(clients.join_all().await);
        let (ids, torn) = read(std::slice::from_ref(&records));
        assert!(torn <= run, "{torn} torn lines after {run} kills");
        assert!((ids.len() - before) as u64 >= written, "{} of {written} written lines are there", ids.len() - before);
    }
    // The next process takes the file, and begins on a line of its own.
    let process = Process::start(&place.file(&records, ""));
    let clients = load(&process, &stop);
    until_recorded(&process, "written", 10).await;
    settle(&process, &stop, clients).await;
    assert_eq!(recorded_as(&process, "written").await, counted_as(&process, &["shiftgate_pairs_total"]).await);
    assert!(read(std::slice::from_ref(&records)).1 <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_path_writes_nothing_until_the_first_is_gone() {
    let place = Place::new().await;
    let (records, stop) = (place.records(), CancellationToken::new());
    let first = Process::start(&place.file(&records, ""));
    let on_first = load(&first, &stop);
    until_recorded(&first, "written", 20).await;
    let second = Process::start(&place.file(&records, ""));
    let stop_second = CancellationToken::new();
    let on_second = load(&second, &stop_second);
    until_recorded(&second, "locked", 20).await;
    settle(&first, &stop, on_first).await;
    let (ids, torn) = read(std::slice::from_ref(&records));
    let written = recorded_as(&first, "written").await;
    assert_eq!((ids.len() as u64, torn, recorded_as(&second, "written").await), (written, 0, 0));
    drop(first);
    until_recorded(&second, "written", 20).await;
    settle(&second, &stop_second, on_second).await;
    let (ids, torn) = read(std::slice::from_ref(&records));
    let all = written + recorded_as(&second, "written").await;
    assert_eq!((ids.len() as u64, torn), (all, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_rotate_under_load_and_each_pair_is_in_one() {
    let place = Place::new().await;
    let (records, stop) = (place.records(), CancellationToken::new());
    let process = Process::start(&place.file(&records, "max_size = \"40KiB\"\nkeep = 1000"));
    let clients = load(&process, &stop);
    until_recorded(&process, "written", 150).await;
    settle(&process, &stop, clients).await;
    let files = std::fs::read_dir(place.folder.path()).unwrap().map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().contains("records.jsonl")).collect();
    let (ids, torn) = read(&files);
    assert!(files.len() > 5 && files.iter().all(|file| file.metadata().unwrap().len() <= 40 << 10), "{files:?}");
    assert_eq!((ids.len() as u64, torn), (recorded_as(&process, "written").await, 0));
    assert_eq!(ids.len() as u64, counted_as(&process, &["shiftgate_pairs_total"]).await);
}

/// A limit of the file's size stands for a full disk: the write that passes it is cut, later ones fail.
/// `SHIFTGATE_SMALL_DISK` names a real one: `mount -t tmpfs -o size=256k tmpfs DIR`.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_counted_lines_and_no_request() {
    let place = Place::new().await;
    let disk = std::env::var_os("SHIFTGATE_SMALL_DISK").map(PathBuf::from);
    let records = disk.as_ref().map_or_else(|| place.records(), |disk| disk.join("sidecar.jsonl"));
    let limit = if disk.is_some() { "unlimited" } else { "100" };
    let mut command = Command::new("sh");
    // A write above the limit kills the process, unless the signal is ignored.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\""), "sh"]).arg(binary().get_program());
    let process = Process::of(command.arg("--config").arg(place.file(&records, "")));
    let stop = CancellationToken::new();
    let clients = load(&process, &stop);
    until_recorded(&process, "failed", 30).await;
    settle(&process, &stop, clients).await;
    let (ids, torn) = read(std::slice::from_ref(&records));
    assert_eq!(ids.len() as u64, recorded_as(&process, "written").await);
    assert!(ids.len() > 10 && torn <= 1, "{} lines, {torn} torn", ids.len());
    if disk.is_some() {
        // Room again: the process goes on in a new file.
        std::fs::remove_file(&records).unwrap();
        let stop = CancellationToken::new();
        let (clients, written) = (load(&process, &stop), recorded_as(&process, "written").await);
        until_recorded(&process, "written", written + 20).await;
        settle(&process, &stop, clients).await;
        assert_eq!(read(std::slice::from_ref(&records)).1, 0);
        std::fs::remove_file(&records).unwrap();
    }
}
