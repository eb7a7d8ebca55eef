//! The state file: one writer, whole or not at all.
//!
//! The lock is `flock` on a file beside it, because the state file itself is replaced at each write.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use crate::guard::{MOST_BYTES, StateError, StateFile};
use crate::stats::lock;

/// Readable and writable by the owner alone.
const MODE: u32 = 0o600;

/// The state file of a process, or memory alone.
#[derive(Debug)]
pub(super) struct Disk(Option<(PathBuf, Mutex<Inside>)>);

#[derive(Debug, Default)]
struct Inside {
    /// Held while this process is the file's writer.
    lock: Option<Lock>,
    /// True if the file cannot be read: it is left as it is, so that a person can look at it.
    is_foreign: bool,
    error: Option<String>,
    errors: u64,
}

/// A lock that is held, and the path that it was taken at.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// True if other processes find this lock at its path: the folder may have been replaced.
    fn is_there(&self) -> bool {
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let (own, there) = (self.file.metadata().map(id), std::fs::metadata(&self.path).map(id));
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }
}

/// Reason for which the file is not used.
#[derive(Debug, thiserror::Error)]
enum DiskError {
    #[error("another process writes to it")]
    Locked,
    #[error("it is not a regular file")]
    NotAFile,
    #[error("{0}")]
    Content(#[from] StateError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Disk {
    /// Opens the file and reads it. Without a path, or if it cannot be used, the state is in memory alone.
    pub(super) fn open(path: Option<PathBuf>) -> (Self, StateFile) {
        let Some(path) = path else { return (Self(None), StateFile::default()) };
        // A link stays one.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let mut inside = Inside::default();
        // Withdrawals hold for a second process too, which only does not write them.
        match take_lock(&path) {
            Ok(file) => inside.lock = Some(file),
            Err(error) => inside.failed(&path, &error),
        }
        let state = match read(&path) {
            Ok(state) => state,
            Err(error) => {
                inside.is_foreign = true;
                inside.failed(&path, &error);
                StateFile::default()
            }
        };
        (Self(Some((path, Mutex::new(inside)))), state)
    }

    /// Replaces the content.
    pub(super) fn write(&self, bytes: &[u8]) {
        let Some((path, inside)) = &self.0 else { return };
        let inside = &mut *lock(inside);
        if inside.is_foreign {
            return;
        }
        let written = match inside.lock.take().filter(Lock::is_there).map_or_else(|| take_lock(path), Ok) {
            Ok(lock) => {
                inside.lock = Some(lock);
                Ok(())
            }
            Err(error) => Err(error),
        };
        match written.and_then(|()| replace(path, bytes).map_err(DiskError::Io)) {
            Ok(()) => {
                if inside.error.take().is_some() {
                    tracing::info!(path = %path.display(), "the state file is written again");
                }
            }
            Err(error) => inside.failed(path, &error),
        }
    }

    /// Path, and the error for which the state is in memory alone; `None` without a file.
    pub(super) fn seen(&self) -> Option<(PathBuf, Option<String>)> {
        self.0.as_ref().map(|(path, inside)| (path.clone(), lock(inside).error.clone()))
    }

    /// True if the last use of the file failed.
    pub(super) fn is_failing(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, inside)| lock(inside).error.is_some())
    }

    /// Number of failures.
    pub(super) fn errors(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, inside)| lock(inside).errors)
    }
}

impl Inside {
    /// Notes a failure; the first of several is logged.
    fn failed(&mut self, path: &Path, error: &DiskError) {
        self.errors += 1;
        if self.error.replace(error.to_string()).is_none() {
            let path = path.display();
            tracing::error!(%path, "the state file cannot be used, so that a restart forgets withdrawals: {error}");
        }
    }
}

/// Takes the lock, which this process holds from then on.
fn take_lock(path: &Path) -> Result<Lock, DiskError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(MODE).open(&beside)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { file, path: beside }),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(DiskError::Locked),
        Err(error) => Err(DiskError::Io(error.into())),
    }
}

fn read(path: &Path) -> Result<StateFile, DiskError> {
    // Reading a pipe would wait for ever.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(DiskError::NotAFile);
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(StateFile::default()),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large.
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(StateFile::read(&bytes)?)
}

/// Writes beside the file, and renames when the bytes are on the disk.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut written = tempfile::Builder::new()
        .prefix(".shiftgate-state-")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(folder)?;
    written.write_all(bytes)?;
    written.as_file().sync_all()?;
    written.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
