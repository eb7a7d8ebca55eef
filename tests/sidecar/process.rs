//! The built binary, run as a child process of a test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shiftgate"));
    command.env_remove("SHIFTGATE_CONFIG").env_remove("RUST_LOG");
    command
}

/// A sidecar in a child process; its log is read line by line.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub(crate) listen: std::net::SocketAddr,
    pub(crate) admin: String,
}

impl Process {
    pub(crate) fn start(file: &Path) -> Self {
        Self::of(binary().arg("--config").arg(file))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["message"] == "listening" {
                break line;
            }
        };
        let of = |key: &str| first[key].as_str().unwrap().to_owned();
        Self { child, lines, listen: of("listen").parse().unwrap(), admin: of("admin") }
    }

    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap().success());
    }

    pub(crate) fn line(&mut self, message: &str) -> serde_json::Value {
        loop {
            let line: serde_json::Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
