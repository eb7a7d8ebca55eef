//! Everything that reading a section may look at beside the text: the file's folder, the environment, named files.

use std::io;
use std::path::{Path, PathBuf};

/// Size limit, in bytes, of a key or certificate file; a larger one is refused as the wrong file.
const MAX_SECRET_FILE: u64 = 1 << 20;

/// Whether the environment variables and files that the file names have to exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Each missing one is a problem, unless it is marked optional.
    Required,
    /// They may be missing: for checks on another machine than the one that serves.
    Skip,
}

/// The surroundings of one reading.
pub(super) struct Context<'e> {
    /// Folder that relative paths start from.
    pub(super) folder: PathBuf,
    pub(super) secrets: Secrets,
    /// Looks up an environment variable.
    pub(super) env: &'e dyn Fn(&str) -> Option<String>,
}

impl Context<'_> {
    /// Resolves a path of the file against its folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Looks up an environment variable; an empty one counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }
}

/// Reads a key or certificate, at most [`MAX_SECRET_FILE`] bytes of it.
pub(super) fn read_secret_file(path: &Path) -> io::Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > MAX_SECRET_FILE {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    std::fs::read(path)
}
