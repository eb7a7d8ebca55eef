//! The file of records: its lock, its rotation, and its outages.
//!
//! The lock is `flock` on the data file itself, taken again on each new file. So two processes never append to the
//! same file: a file is written only while its lock is held and its path leads to it. Between the rename of a full
//! file and the lock on its successor another process may take the successor; the two then change roles.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::rotation::rotate;
use crate::config::Records;

/// Time after a failure before the file is tried again. Lines until then are lost and counted: records are not worth
/// the work of a try for each.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Readable and writable by the owner alone: records may hold prompts.
const MODE: u32 = 0o600;

/// Limit of files that are opened for one line; above it the line has failed. A moved file and a full one need three,
/// and another process that takes each new file is given up on.
const TRIES: usize = 5;

/// Result of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is in the file.
    Whole,
    /// The file cannot be written.
    Failed,
    /// Another process writes to the file.
    Locked,
}

/// The file that lines are appended to, or the reason for which there is none.
#[derive(Debug)]
pub(super) struct RecordFile {
    settings: Arc<Records>,
    file: Option<Open>,
    outage: Option<Outage>,
}

/// A file whose lock is held.
#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// True if the last line has no end.
    is_torn: bool,
}

/// A time without a file.
#[derive(Debug)]
struct Outage {
    kind: Written,
    retry_at: Instant,
    /// Lines lost in it.
    lost: u64,
}

/// Reason for which a line is not written.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("another process writes to it")]
    Locked,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is replaced again and again")]
    Restless,
    #[error("a full file cannot be renamed: {0}")]
    Rotation(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Problem {
    const fn kind(&self) -> Written {
        match self {
            Self::Locked => Written::Locked,
            Self::NotAFile | Self::Restless | Self::Rotation(_) | Self::Io(_) => Written::Failed,
        }
    }
}

impl RecordFile {
    /// Opens the file; a failure is logged and tried again later.
    pub(super) fn new(settings: Arc<Records>, now: Instant) -> Self {
        let mut new = Self { settings, file: None, outage: None };
        match new.ready(0) {
            Ok(_) => {}
            Err(problem) => new.failed(&problem, 0, now),
        }
        new
    }

    /// Follows other settings; another path is opened at once.
    pub(super) fn follow(&mut self, settings: Arc<Records>, now: Instant) {
        if settings.path == self.settings.path {
            self.settings = settings;
        } else {
            *self = Self::new(settings, now);
        }
    }

    /// Appends a line and its end.
    pub(super) fn append(&mut self, mut line: Vec<u8>, now: Instant) -> Written {
        if let Some(outage) = self.outage.as_mut().filter(|outage| now < outage.retry_at) {
            outage.lost += 1;
            return outage.kind;
        }
        line.push(b'\n');
        let done = self.ready(line.len()).and_then(|file| Ok(file.write(line)?));
        match done {
            Ok(()) => {
                if let Some(outage) = self.outage.take() {
                    let path = self.settings.path.display();
                    tracing::info!(lost = outage.lost, "records are written again to {path}");
                }
                Written::Whole
            }
            Err(problem) => {
                self.failed(&problem, 1, now);
                problem.kind()
            }
        }
    }

    /// Notes a failure; logs the first of an outage, and one of another kind.
    fn failed(&mut self, problem: &Problem, lost: u64, now: Instant) {
        let (kind, retry_at) = (problem.kind(), now + RETRY_AFTER);
        let before = self.outage.take();
        if before.as_ref().is_none_or(|outage| outage.kind != kind) {
            tracing::error!("records are not written to {}: {problem}", self.settings.path.display());
        }
        self.outage = Some(Outage { kind, retry_at, lost: before.map_or(0, |outage| outage.lost) + lost });
    }

    /// Returns the file, with room for `bytes` more: opened again if the path no longer leads to it, rotated if full.
    fn ready(&mut self, bytes: usize) -> Result<&mut Open, Problem> {
        let Records { path, max_size, keep, .. } = &*self.settings;
        for _ in 0..TRIES {
            let was_open = self.file.is_some();
            let open = match self.file.take() {
                Some(open) => open,
                None => Open::new(path)?,
            };
            let size = match std::fs::metadata(path) {
                Ok(found) if id(&found) == open.id => found.len(),
                Ok(_) | Err(_) => {
                    if was_open {
                        tracing::warn!("{} was moved or deleted: a new file of records is begun", path.display());
                    }
                    continue;
                }
            };
            if size == 0 || size.saturating_add(bytes as u64) <= *max_size {
                return Ok(self.file.insert(open));
            }
            if let Err(error) = rotate(path, *keep) {
                self.file = Some(open);
                return Err(Problem::Rotation(error));
            }
            // The lock of the full file ends here, after the rename: the path never leads to an unlocked file.
        }
        Err(Problem::Restless)
    }
}

impl Open {
    /// Opens or creates the file, takes its lock, makes it private, and gives a last line without its end one. Another
    /// process may rename the file meanwhile, so that the path has to be compared afterwards.
    fn new(path: &Path) -> Result<Self, Problem> {
        // Opening a pipe would wait for its reader.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Problem::NotAFile);
        }
        let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Err(Problem::Locked),
            Err(error) => return Err(Problem::Io(error.into())),
        }
        let found = file.metadata()?;
        if found.permissions().mode() & 0o777 != MODE {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        let mut last = [b'\n'];
        if found.len() > 0 {
            file.read_exact_at(&mut last, found.len() - 1)?;
        }
        let mut open = Self { id: id(&found), file, is_torn: last != *b"\n" };
        if open.is_torn {
            open.write(Vec::new())?;
        }
        Ok(open)
    }

    /// Writes a line in one system call, after the end of a torn one.
    fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        if self.is_torn {
            line.insert(0, b'\n');
        }
        let written = loop {
            match self.file.write(&line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        if written > 0 {
            self.is_torn = line.get(written - 1) != Some(&b'\n');
        }
        match written == line.len() {
            true => Ok(()),
            false => Err(ErrorKind::StorageFull.into()),
        }
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests;
