//! Start and end of the built binary: inherited sockets, too few file descriptors, drains.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
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
async fn an_address_of_the_file_that_a_given_socket_replaces_is_said() {
    let other = |openai: &Sim, qwen: &Sim| {
        file(openai, qwen, 100.0).replacen("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"", 1)
    };
    let (_openai, _qwen, _folder, path) = on_disk(other).await;
    let (listen, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let give = "exec 3<&0 4<&2 </dev/null 2>/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$";
    let mut command = shell(give, &path);
    command.stdin(Stdio::from(OwnedFd::from(listen))).stderr(Stdio::from(OwnedFd::from(admin)));
    let mut process = Process::of(&mut command);
    let listen = process.listen.to_string();
    let told = process.line("a socket of LISTEN_FDS is served: server.listen of the file is not used");
    assert_eq!((&told["file"], &told["socket"]), (&"127.0.0.1:1".into(), &listen.into()));
}

#[tokio::test]
async fn a_given_descriptor_that_is_no_socket_is_said() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let output = shell("exec 3</dev/null; export LISTEN_FDS=1", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("LISTEN_FDS") && said.contains("fd 3"), "{said}");
}

/// Such a socket is always ready and accepts nobody.
#[tokio::test]
async fn a_given_socket_that_does_not_listen_is_said() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let listening = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let bound = || {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        socket
    };
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = OwnedFd::from(std::net::TcpStream::connect(peer.local_addr().unwrap()).unwrap());
    for (title, listen, admin, fd) in [
        ("bound", bound(), listening(), "fd 3"),
        ("connected", connected, listening(), "fd 3"),
        ("a unix socket", OwnedFd::from(one), listening(), "fd 3"),
        ("admin", listening(), bound(), "fd 4"),
    ] {
        let give = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$";
        let mut command = shell(give, &path);
        let child =
            command.stdin(Stdio::from(listen)).stdout(Stdio::from(admin)).stderr(Stdio::piped()).spawn().unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let output = tokio::time::timeout(PATIENCE, ended).await.expect(title).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{title}: {said}");
        assert!(said.contains(fd) && said.contains("pass listening stream sockets"), "{title}: {said}");
    }
}

/// Somebody else who has the socket can end it: accepting then fails at once, each time.
#[tokio::test]
async fn a_socket_that_stops_listening_is_said_and_not_spun_on() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let (listen, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let give = "exec 3<&0 4<&2 </dev/null 2>/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$";
    let mut command = shell(give, &path);
    command.stdin(Stdio::from(OwnedFd::from(listen.try_clone().unwrap()))).stderr(Stdio::from(OwnedFd::from(admin)));
    let mut process = Process::of(&mut command);
    rustix::net::shutdown(&listen, rustix::net::Shutdown::Read).unwrap();
    let told = tokio::task::spawn_blocking(move || {
        (process.line("cannot accept connections: waiting for some to end"), process)
    });
    let (told, process) = tokio::time::timeout(PATIENCE, told).await.expect("a line").unwrap();
    assert_eq!(told["level"], "ERROR");
    let (admin, began) = (process.admin.parse().unwrap(), std::time::Instant::now());
    let failed = async || {
        let metrics = get(admin, "/metrics").await.text();
        let line = metrics.lines().find(|line| line.contains("reason=\"not_accepted\"")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    while failed().await < 3.0 {}
    // A pause of 100 ms after each: a spinning loop would have failed thousands of times.
    assert!(failed().await <= began.elapsed().as_secs_f64() * 10.0 + 3.0);
}

#[tokio::test]
async fn more_sockets_than_two_are_said_and_an_abstract_one_is_named() {
    let (_openai, _qwen, _folder, path) = on_disk(|openai, qwen| file(openai, qwen, 100.0)).await;
    let name = format!("shiftgate-life-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let listen = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let (admin, third) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let third_at = third.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let give =
        format!("exec 3<&0 4<&2 5<&1 </dev/null 2>/dev/null >'{}'; export LISTEN_FDS=3 LISTEN_PID=$$", log.display());
    let admin_at = admin.local_addr().unwrap();
    let mut command = shell(&give, &path);
    command.stdin(Stdio::from(OwnedFd::from(listen))).stderr(Stdio::from(OwnedFd::from(admin)));
    let mut child = command.stdout(Stdio::from(OwnedFd::from(third))).spawn().unwrap();
    assert_eq!(get(admin_at, "/readyz").await.status, 200);
    assert!(TcpStream::connect(third_at).await.is_ok(), "nobody closes it");
    // A process that is told to end writes what its log still holds.
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(tokio::time::timeout(PATIENCE, ended).await.expect("it ends").unwrap().success());
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = lines.iter().find(|line| line["message"].as_str().unwrap().contains("LISTEN_FDS")).expect(&log);
    assert_eq!((&warned["level"], &warned["given"]), (&"WARN".into(), &3.into()));
    let listening = lines.iter().find(|line| line["message"] == "listening").expect(&log);
    assert_eq!(listening["listen"], format!("unix:@{name}"));
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
