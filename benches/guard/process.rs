//! The built binary as a process, with its file and its state in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for `/status`; only a hang takes longer.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Process {
    child: Child,
    pub(crate) listen: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Guard of the candidate, as `/status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) state: String,
    pub(crate) cause: String,
    pub(crate) why: String,
}

impl Process {
    /// Starts the binary with shipped defaults: failover, breaker and guard on. Its log has no line per request, and it
    /// has one thread, because many of it run at once.
    pub(crate) fn start(openai: &str, qwen: &str) -> anyhow::Result<Self> {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nrequest_log = false\nthreads = 1\n\
             state = \"state.json\"\n[rollout]\nname = \"bench\"\nbaseline = \"openai\"\nsticky = []\n\
             percent = {{ qwen = 10.0 }}\n[guard]\n[backend.openai]\nengine = \"openai\"\nurl = \"{openai}\"\n\
             api_key = \"client\"\n[backend.qwen]\nengine = \"vllm\"\nurl = \"{qwen}\"\napi_key = \"none\"\n\
             family = \"qwen3\"\n"
        );
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("rollout.toml");
        std::fs::write(&path, text)?;
        let binary = std::env::var_os("SHIFTGATE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_shiftgate").into());
        let mut command = Command::new(binary);
        let mut child = command.arg("--config").arg(&path).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is not piped")?).lines();
        let first = loop {
            let line = lines.next().context("shiftgate ended at its start")??;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            if line["message"] == "listening" {
                break line;
            }
        };
        let of = |key: &str| first[key].as_str().unwrap_or_default().parse::<SocketAddr>();
        let (listen, admin) = (of("listen")?, of("admin")?);
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, listen, admin, _folder: folder })
    }

    /// Reads the candidate's guard.
    pub(crate) async fn guard(&self) -> anyhow::Result<Seen> {
        let page = tokio::time::timeout(HANG_TIMEOUT, self.status()).await.context("/status hangs")??;
        let backends = page["backends"].as_array().context("/status has no backends")?;
        let qwen = backends.iter().find(|backend| backend["name"] == "qwen").context("/status has no candidate")?;
        let text = |key: &str| qwen["guard"][key].as_str().unwrap_or_default().to_owned();
        Ok(Seen { state: text("state"), cause: text("cause"), why: text("why") })
    }

    async fn status(&self) -> anyhow::Result<serde_json::Value> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(b"GET /status HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        let end = memchr::memmem::find(&bytes, b"\r\n\r\n").context("/status has no head")?;
        Ok(serde_json::from_slice(bytes.get(end + 4..).unwrap_or_default())?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
