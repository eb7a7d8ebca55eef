//! Start and end of the built binary: inherited sockets, too few file descriptors, drains.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::Process;
use crate::support::*;
use shiftgate::api::sim::{Behaviour, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Starts the binary in a shell that runs `before` first.
pub(crate) fn shell(before: &str, file: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{before}\nexec \"$0\" --config \"$1\"");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_shiftgate")).arg(file);
    command.env_remove("SHIFTGATE_CONFIG").env_remove("RUST_LOG");
    command
}

async fn on_disk(text: impl Fn(&Sim, &Sim) -> String) -> (Sim, Sim, tempfile::TempDir, std::path::PathBuf) {
    let (openai, qwen) = pair(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.toml");
    std::fs::write(&path, text(&openai, &qwen)).unwrap();
    (openai, qwen, folder, path)
}

#[tokio::test]
async fn given_sockets_are_served_and_who_connected_before_loses_nothing() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let (listen, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (listen_at, admin_at) = (listen.local_addr().unwrap(), admin.local_addr().unwrap());
    let early = tokio::spawn(async move { raw(listen_at, &post("/v1/chat/completions", &chat("x", false), "")).await });
    let give = "exec 3<&0 4<&2 </dev/null 2>/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$";
    let mut command = shell(give, &path);
    command.stdin(Stdio::from(OwnedFd::from(listen))).stderr(Stdio::from(OwnedFd::from(admin)));
    let process = Process::of(&mut command);
    drop(command);
    assert_eq!((process.listen, process.admin.as_str()), (listen_at, admin_at.to_string().as_str()));
    assert_eq!(early.await.unwrap().status, 200);
    assert_eq!(get(admin_at, "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_given_descriptor_that_is_no_socket_is_said() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let output = shell("exec 3</dev/null; export LISTEN_FDS=1", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("LISTEN_FDS") && said.contains("fd 3"), "{said}");
}

#[tokio::test]
async fn without_descriptors_it_waits_says_so_once_and_goes_on() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let mut process = Process::of(&mut shell("ulimit -n 40", &path));
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(TcpStream::connect(process.listen).await.unwrap());
    }
    let told = process.line("cannot accept connections: waiting for some to end");
    assert_eq!(told["level"], "ERROR");
    crowd.clear();
    let request = post("/v1/chat/completions", &chat("x", false), "");
    // Until those clients are gone, connecting to the backend may also fail for lack of a descriptor.
    let served = async { while raw(process.listen, &request).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, served).await.expect("it goes on");
    process.signal("-TERM");
    let mut told_again = 0;
    while let Some(Ok(line)) = process.lines.next() {
        told_again += usize::from(line.contains("cannot accept connections"));
    }
    assert_eq!(told_again, 0, "once an outage");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_lets_streams_end() {
    let (openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 0.0)).await;
    openai.set(Behaviour { tokens_per_second: 12.0, tokens: (40, 40), ..Behaviour::default() });
    let mut process = Process::start(&path);
    let request = post("/v1/chat/completions", &chat("x", true), "");
    let keep = String::from_utf8(request).unwrap().replace("connection: close\r\n", "").into_bytes();
    let mut never_used = TcpStream::connect(process.listen).await.unwrap();
    let mut streaming = TcpStream::connect(process.listen).await.unwrap();
    streaming.write_all(&keep).await.unwrap();
    until(openai.in_flight(), |count| *count == 1).await;
    process.signal("-TERM");
    let admin = process.admin.parse().unwrap();
    tokio::time::timeout(PATIENCE, async { while get(admin, "/readyz").await.status != 503 {} }).await.unwrap();
    // New connections are served during the grace period, with `connection: close`.
    let late = get(process.listen, "/v1/models").await;
    assert_eq!(late.status, 401, "the backend's own answer");
    let mut nothing = Vec::new();
    tokio::time::timeout(PATIENCE, never_used.read_to_end(&mut nothing)).await.expect("idle ones are closed").unwrap();
    assert!(nothing.is_empty());
    assert_eq!(*openai.in_flight().borrow(), 1, "while the stream runs");
    let closed = async { while TcpStream::connect(process.listen).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the listener closes");
    assert_eq!(get(admin, "/readyz").await.status, 503);
    let mut got = Vec::new();
    streaming.read_to_end(&mut got).await.unwrap();
    let answer = parse(&got);
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_first_request_in_transit_when_the_listener_closes_is_answered() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 0.0)).await;
    let mut process = Process::start(&path);
    let mut early = TcpStream::connect(process.listen).await.unwrap();
    process.signal("-TERM");
    let closed = async { while TcpStream::connect(process.listen).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the listener closes");
    early.write_all(&post("/v1/chat/completions", &chat("x", false), "")).await.unwrap();
    let mut got = Vec::new();
    early.read_to_end(&mut got).await.unwrap();
    let answer = parse(&got);
    assert_eq!((answer.status, answer.whole), (200, true));
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}
