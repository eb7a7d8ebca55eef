//! The notes beside the file: their places, how they are written and read, and the one that names the last writer.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// Limit, in bytes, on a note; a larger one is not read. JSON may make a text six times longer, and this leaves more
/// than 2 MiB for rollout.toml, which is hundreds of times what 500 routes need.
const MOST_BYTES: u64 = 16 << 20;

/// The command that wrote a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// `shift`, with or without `--undo`.
    Shift,
    /// `resume`.
    Resume,
}

/// The last text that a command wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenBy {
    /// The command.
    pub by: Writer,
    /// Hash of the text, as [`crate::config::Config::text_hash`].
    pub hash: String,
}

/// Reads which command wrote the file at `path` last, and the hash of its text; `None` if none did, or if the note
/// cannot be read. The text may have been edited since: compare the hash.
pub fn written_by(path: &Path) -> Option<WrittenBy> {
    let target = std::fs::canonicalize(path).ok()?;
    serde_json::from_slice(&read(&beside(&target, "wrote")).ok()?).ok()
}

/// Path of the note `.NAME.KIND` beside `target`, which is the file itself and not a link to it.
pub(super) fn beside(target: &Path, kind: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".");
    name.push(kind);
    target.with_file_name(name)
}

/// Reads a note; anything but a plain file of at most [`MOST_BYTES`] is an error, because a pipe would block.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > MOST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Writes a note to a temporary file in its folder, with mode 0600; `persist` puts it into place.
pub(super) fn prepare(path: &Path, content: &impl Serialize) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut written = tempfile::Builder::new().prefix(".shiftgate-").tempfile_in(folder)?;
    written.write_all(&serde_json::to_vec(content)?)?;
    written.as_file().sync_all()?;
    Ok(written)
}
