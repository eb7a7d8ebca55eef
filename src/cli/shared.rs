//! Parts that every command uses: exit codes, output, the environment, reading the file.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config, Secrets};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Code 0.
    Done,
    /// Code 1: the command failed.
    Failed,
    /// Code 2: the arguments or the file are not valid.
    Refused,
    /// This code: a signal ended the command.
    Signalled(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Refused => Self::from(2),
            Exit::Signalled(code) => Self::from(code),
        }
    }
}

/// Looks up an environment variable; one that is not UTF-8 counts as unset.
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints to stdout. Text that was cut, as on a full disk, is a failure; a pipe that its reader closed is none.
pub(super) fn say(text: &str) -> Exit {
    match writeln!(std::io::stdout(), "{}", text.trim_end()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("stdout cannot be written: {error}"));
            Exit::Failed
        }
        _ => Exit::Done,
    }
}

/// Prints to stderr.
pub(super) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
}

/// Reads the file, or prints its problems.
pub(super) fn load(path: &Path, secrets: Secrets) -> Result<Config, Exit> {
    config::load(path, secrets, &env).map_err(|error| {
        complain(&error.to_string());
        Exit::Refused
    })
}
