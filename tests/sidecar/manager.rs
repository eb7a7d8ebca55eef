//! The built binary under a stand-in for systemd: the socket of messages (`NOTIFY_SOCKET`), and sockets that outlive it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::time::{ClockId, clock_gettime};
use shiftgate::api::sim::{Behaviour, Sim};

use crate::life::shell;
use crate::process::*;
use crate::support::*;

/// A message: its fields in their order.
type Message = Vec<(String, String)>;

/// The manager's end of the messages.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(path: &Path) -> Self {
        Self::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    fn next(&self) -> Message {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        text.lines().map(|line| line.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    /// Receives up to the next READY. A save just before a signal may be noticed first: its status is left out.
    fn until_ready(&self) -> Vec<Message> {
        let mut messages = vec![self.next()];
        if keys(&messages[0]) == ["STATUS"] {
            messages.clear();
        }
        while !messages.last().is_some_and(|message| keys(message).contains(&"READY")) {
            messages.push(self.next());
        }
        messages
    }

    /// Asks for a reload as systemd does, and returns the status at its end.
    fn reload(&self, process: &Process) -> String {
        let before = monotonic();
        process.signal("-HUP");
        let messages = self.until_ready();
        let [announced, ended] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(keys(announced), ["RELOADING", "MONOTONIC_USEC"]);
        let at = announced[1].1.parse::<i128>().unwrap();
        assert!((before..=monotonic()).contains(&at), "systemd compares it with its own time of the signal");
        ready(ended)
    }

    fn is_quiet(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 16]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn keys(message: &Message) -> Vec<&str> {
    message.iter().map(|(key, _)| key.as_str()).collect()
}

/// Returns the status of a message that says READY.
fn ready(message: &Message) -> String {
    assert_eq!((keys(message), message[0].1.as_str()), (vec!["READY", "STATUS"], "1"));
    message[1].1.clone()
}

/// Returns the status of a message that says nothing else.
fn status(message: &Message) -> &str {
    assert_eq!(keys(message), ["STATUS"]);
    &message[0].1
}

fn monotonic() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

struct Setup {
    openai: Sim,
    qwen: Sim,
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Setup {
    async fn new() -> Self {
        let (openai, qwen) = pair(Behaviour::default()).await;
        let folder = tempfile::tempdir().unwrap();
        let setup = Self { openai, qwen, file: folder.path().join("rollout.toml"), folder };
        setup.save(0.0);
        setup
    }

    fn save(&self, percent: f64) {
        self.write(&file(&self.openai, &self.qwen, percent));
    }

    /// Replaces the file as an editor does.
    fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

#[tokio::test]
async fn start_reloads_saves_and_drain_are_told_in_order() {
    let setup = Setup::new().await;
    let socket = setup.folder.path().join("notify");
    let manager = Manager::at(&socket);
    let mut process = Process::of(binary().arg("--config").arg(&setup.file).env("NOTIFY_SOCKET", &socket));
    assert_eq!(ready(&manager.next()), "generation 1; qwen 0.00 %");

    setup.save(25.0);
    assert_eq!(manager.reload(&process), "generation 2; qwen 25.00 %");
    let json: serde_json::Value = get(process.admin.parse().unwrap(), "/status").await.json();
    assert_eq!(json["generation"], 2, "READY comes when it is in force");

    assert_eq!(manager.reload(&process), "generation 2; qwen 25.00 %", "an unchanged file");

    setup.write("[server]\nlisen = \"127.0.0.1:1\"\n");
    let refused = manager.reload(&process);
    let file = setup.file.display();
    assert_eq!(
        refused,
        format!(
            "{file}:1:1: the file has no backend (and 2 more); the last valid file stays in force: generation 2; \
             qwen 25.00 %"
        )
    );

    // Saves without a signal: a status and nothing else.
    setup.save(50.0);
    assert_eq!(status(&manager.next()), "generation 3; qwen 50.00 %");
    setup.write("");
    let empty = manager.next();
    assert!(status(&empty).starts_with(&format!("{file}: is empty; the last valid file stays in force")), "{empty:?}");
    setup.save(50.0);
    assert_eq!(status(&manager.next()), "generation 3; qwen 50.00 %", "the error is gone");

    process.signal("-TERM");
    let stopping = manager.next();
    assert_eq!(keys(&stopping), ["STOPPING", "STATUS"]);
    assert_eq!(stopping[1].1, "draining, 0 answers in flight");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
    assert!(manager.is_quiet());
}

#[tokio::test]
async fn a_storm_of_reloads_ends_ready() {
    let setup = Setup::new().await;
    let name = format!("shiftgate-test-{}-{}", std::process::id(), monotonic());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let manager = Manager::of(UnixDatagram::bind_addr(&address).unwrap());
    let process = Process::of(binary().arg("--config").arg(&setup.file).env("NOTIFY_SOCKET", format!("@{name}")));
    ready(&manager.next());
    setup.save(75.0);
    for _ in 0..20 {
        process.signal("-HUP");
    }
    // Signals that come together are one, so the number of reloads is not known.
    let mut is_reloading = false;
    loop {
        let message = manager.next();
        match keys(&message)[0] {
            "RELOADING" => is_reloading = true,
            "READY" => {
                assert!(is_reloading, "READY answers a reload");
                is_reloading = false;
                if ready(&message) == "generation 2; qwen 75.00 %" {
                    break;
                }
            }
            _ => assert!(!is_reloading, "a status in a reload comes with its end: {message:?}"),
        }
    }
}

#[tokio::test]
async fn a_manager_that_does_not_read_delays_a_reload_and_prevents_nothing() {
    let setup = Setup::new().await;
    let socket = setup.folder.path().join("notify");
    let manager = Manager::at(&socket);
    let full = UnixDatagram::unbound().unwrap();
    let mut process = Process::of(binary().arg("--config").arg(&setup.file).env("NOTIFY_SOCKET", &socket));
    ready(&manager.next());
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"STATUS=full\n", &socket).is_ok() {}
    setup.save(100.0);
    process.signal("-HUP");
    let request = post("/v1/chat/completions", &chat("x", false), "");
    let (listen, admin) = (process.listen, process.admin.parse().unwrap());
    let served = tokio::spawn(async move { raw(listen, &request).await.status });
    assert_eq!(served.await.unwrap(), 200);
    let warned = process.line("the service manager was not told");
    assert!(warned["level"] == "WARN" && warned["error"].is_string(), "{warned}");
    let reloaded = async { while get(admin, "/status").await.json()["generation"] != 2 {} };
    tokio::time::timeout(PATIENCE, reloaded).await.expect("the file is in force");
    process.signal("-TERM");
    assert_eq!(process.child.wait().unwrap().code(), Some(0));
}

/// The manager holds the sockets, so that nobody who connects during a restart is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_the_managers_sockets_fails_no_request() {
    let setup = Setup::new().await;
    let socket = setup.folder.path().join("notify");
    let manager = Manager::at(&socket);
    let (listen, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address: SocketAddr = listen.local_addr().unwrap();
    let start = || {
        let give = "exec 3<&0 4<&2 </dev/null 2>/dev/null; export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=a:b";
        let mut command = shell(give, &setup.file);
        command.env("NOTIFY_SOCKET", &socket);
        command.stdin(Stdio::from(OwnedFd::from(listen.try_clone().unwrap())));
        command.stderr(Stdio::from(OwnedFd::from(admin.try_clone().unwrap())));
        let process = Process::of(&mut command);
        ready(&manager.next());
        process
    };
    let mut first = start();
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&is_over);
    let load = tokio::spawn(async move {
        let mut statuses = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            statuses.push(raw(address, &post("/v1/chat/completions", &chat("x", false), "")).await.status);
        }
        statuses
    });
    let restarted = tokio::task::block_in_place(|| {
        first.signal("-TERM");
        assert_eq!(keys(&manager.next()), ["STOPPING", "STATUS"]);
        assert_eq!(first.child.wait().unwrap().code(), Some(0));
        start()
    });
    assert_eq!(restarted.listen, address);
    assert_eq!(raw(address, &post("/v1/chat/completions", &chat("x", false), "")).await.status, 200);
    is_over.store(true, Ordering::Relaxed);
    let statuses = load.await.unwrap();
    assert!(statuses.len() > 10 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
}
