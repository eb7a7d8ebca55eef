//! The compared proxies: each one is a process on one thread, in front of the same origin.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Column of the minimal hyper proxy.
pub(crate) const BARE: &str = "bare hyper";
/// Column of a shiftgate with a vLLM backend: requests and answers are translated.
pub(crate) const TRANSLATING: &str = "shiftgate, vllm";

/// Long enough for a program under valgrind, which takes some seconds to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// One column of the table.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// `None` for the origin, which is not a process.
    pub(crate) process: Option<Process>,
}

pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Returns the CPU time of all threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> anyhow::Result<u64> {
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let path = task?.path().join("schedstat");
            let Ok(text) = std::fs::read_to_string(path) else { return self.cpu_ticks() };
            total += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(total)
    }

    /// Returns the same on kernels without schedstat, from utime and stime, which count hundredths of a second.
    fn cpu_ticks(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (_, after_name) = stat.rsplit_once(')').context("stat has no name")?;
        let ticks: Result<Vec<u64>, _> = after_name.split_whitespace().skip(11).take(2).map(str::parse).collect();
        Ok(ticks?.iter().sum::<u64>() * 10_000_000)
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        let signalled = Command::new("kill").arg(self.id().to_string()).status()?;
        ensure!(signalled.success(), "no signal could be sent to process {}", self.id());
        self.0.wait()?;
        Ok(())
    }

    pub(crate) fn rss_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("status has no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS has no value")?.parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts every proxy that is installed here and returns it with the origin, ready.
pub(crate) fn start(folder: &Path, origin: SocketAddr) -> anyhow::Result<Vec<Target>> {
    let mut targets = vec![Target { name: "direct", address: origin, process: None }];
    let listen = free()?;
    let mut bare = Command::new(std::env::current_exe()?);
    targets.push(ready(BARE, listen, bare.args(bare_arguments(listen, origin)))?);
    let text = |write| text(origin, folder, write);
    if version("nginx", "-v").is_some() {
        let (listen, text) = text(nginx)?;
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text)?;
        targets.push(ready("nginx", listen, Command::new("nginx").arg("-p").arg(folder).arg("-c").arg(file))?);
    }
    if version("haproxy", "-v").is_some() {
        let (listen, text) = text(haproxy)?;
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text)?;
        targets.push(ready("HAProxy", listen, Command::new("haproxy").arg("-db").arg("-f").arg(file))?);
    }
    let (listen, config) = text(shiftgate)?;
    let file = folder.join("rollout.toml");
    std::fs::write(&file, config)?;
    targets.push(ready("shiftgate", listen, Command::new(binary()).arg("--config").arg(file))?);
    let (listen, config) = text(translating)?;
    let file = folder.join("translating.toml");
    std::fs::write(&file, config)?;
    targets.push(ready(TRANSLATING, listen, Command::new(binary()).arg("--config").arg(file))?);
    Ok(targets)
}

fn text(
    origin: SocketAddr,
    folder: &Path,
    write: fn(SocketAddr, SocketAddr, &Path) -> String,
) -> anyhow::Result<(SocketAddr, String)> {
    let listen = free()?;
    Ok((listen, write(listen, origin, folder)))
}

/// Returns the measured shiftgate: the one that was built with the bench, or the one that `SHIFTGATE_BINARY` names.
pub(crate) fn binary() -> OsString {
    std::env::var_os("SHIFTGATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_shiftgate").into())
}

/// Returns the arguments that turn this bench into a bare hyper proxy.
pub(crate) fn bare_arguments(listen: SocketAddr, origin: SocketAddr) -> [String; 3] {
    ["--bare-hyper".to_owned(), listen.to_string(), origin.to_string()]
}

/// Returns the first line that a program prints about its version; `None` if it is not installed.
pub(crate) fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let printed = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&printed).lines().next().unwrap_or_default().trim().to_owned())
}

/// Returns an address whose port was free a moment ago.
pub(crate) fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

pub(crate) fn ready(name: &'static str, address: SocketAddr, command: &mut Command) -> anyhow::Result<Target> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process(command.spawn().with_context(|| format!("starting {name}"))?);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.0.try_wait()? {
            bail!("{name} ended at its start: {status}; {command:?}");
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("{name} does not listen on {address}; {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Target { name, address, process: Some(process) })
}

/// Runs without a master, so that the one process is the measured worker. Connections are kept as long as elsewhere.
fn nginx(listen: SocketAddr, origin: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {folder}/{kind}; "))
        .collect();
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit;\n\
         events {{ worker_connections 1024; }}\nhttp {{\n{temporary}\naccess_log off; keepalive_requests 1000000000;\n\
         upstream origin {{ server {origin}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {listen}; tcp_nodelay on; location / {{ proxy_pass http://origin; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_buffering off; proxy_request_buffering off; }} }}\n}}\n"
    )
}

fn haproxy(listen: SocketAddr, origin: SocketAddr, _: &Path) -> String {
    format!(
        "global\n nbthread 1\n maxconn 1024\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n \
         timeout server 60s\n option http-keep-alive\n option http-no-delay\n http-reuse always\nfrontend front\n \
         bind {listen}\n default_backend back\nbackend back\n server origin {origin}\n"
    )
}

/// Splits traffic between two backends that are both the origin.
pub(crate) fn shiftgate(listen: SocketAddr, origin: SocketAddr, _: &Path) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\nrequest_log = false\n[rollout]\n\
         name = \"bench\"\nbaseline = \"a\"\npercent = {{ b = 5.0 }}\n[backend.a]\nengine = \"openai\"\n\
         url = \"http://{origin}/v1\"\napi_key = \"client\"\n[backend.b]\nengine = \"openai\"\n\
         url = \"http://{origin}/v1\"\napi_key = \"none\"\n"
    )
}

/// Treats the origin as vLLM, so that requests and answers are translated.
fn translating(listen: SocketAddr, origin: SocketAddr, _: &Path) -> String {
    format!(
        "[server]\nlisten = \"{listen}\"\nadmin = \"127.0.0.1:0\"\nthreads = 1\nrequest_log = false\n[rollout]\n\
         name = \"bench\"\nbaseline = \"a\"\npercent = {{}}\n[backend.a]\nengine = \"vllm\"\nfamily = \"qwen3\"\n\
         url = \"http://{origin}/v1\"\napi_key = \"none\"\n"
    )
}
