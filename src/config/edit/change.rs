//! One change of the file: read, edited, checked, and replaced only if nobody else saved it meanwhile.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::DocumentMut;

use super::super::context::Secrets;
use super::super::load::{parse, text_hash};
use super::super::problem::ConfigError;
use super::super::types::Config;
use super::error::EditError;
use super::note::{self, Writer, WrittenBy};

/// Number of times that a change is tried while somebody else saves the file in between; then the command gives up.
/// An editor saves once, and a program that saves all the time would undo the change.
const TRIES: u32 = 3;

/// The byte order mark, which is no part of TOML.
const MARK: char = '\u{feff}';

/// Lookup of environment variables.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The file as it was found.
pub(super) struct Found<'a> {
    /// Path as the user gave it.
    pub path: &'a Path,
    /// Path for messages.
    pub shown: String,
    /// Text of the file.
    pub text: String,
    /// Meaning of the text.
    pub config: Config,
    env: Env<'a>,
}

impl<'a> Found<'a> {
    /// Reads the file; one that is not valid is not edited.
    pub(super) fn read(path: &'a Path, env: Env<'a>) -> Result<Self, EditError> {
        let text = std::fs::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        let config = parse(path, &text, Secrets::Skip, env)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Self { path, shown: path.display().to_string(), text, config, env })
    }

    /// Parses the text for edits that keep its comments.
    pub(super) fn document(&self) -> Result<DocumentMut, EditError> {
        self.text.trim_start_matches(MARK).parse().map_err(|_| self.form("it is not TOML"))
    }

    /// Returns the text of an edited document; a byte order mark and the ends of lines stay.
    pub(super) fn edited(&self, document: &DocumentMut) -> String {
        let mark = if self.text.starts_with(MARK) { "\u{feff}" } else { "" };
        with_line_ends(&self.text, &format!("{mark}{document}"))
    }

    /// Makes the error of a form that cannot be edited.
    pub(super) fn form(&self, cause: &'static str) -> EditError {
        EditError::Form { path: self.shown.clone(), cause }
    }

    /// Reads the edited text; one that would not be valid is refused.
    pub(super) fn check(&self, edited: &str) -> Result<Config, EditError> {
        parse(self.path, edited.as_bytes(), Secrets::Skip, self.env).map_err(EditError::Refused)
    }

    /// Refuses to change a file that Kubernetes mounts; `change` says what was wanted.
    pub(super) fn is_ours(&self, change: impl FnOnce() -> String) -> Result<(), EditError> {
        if is_from_kubernetes(self.path) {
            return Err(EditError::Mounted { path: self.shown.clone(), change: change() });
        }
        Ok(())
    }

    /// Replaces the file's text, and says so to the running process; false if somebody saved the file since it was read.
    pub(super) fn replace(&self, edited: &str, by: Writer) -> Result<bool, EditError> {
        replace(self.path, (&self.text, edited), by).map_err(|cause| EditError::unwritable(&self.shown, cause))
    }
}

/// Tries a change until it is made; `None` from `change` means that somebody saved the file in between.
pub(super) fn retried<T>(
    path: &Path,
    mut change: impl FnMut() -> Result<Option<T>, EditError>,
) -> Result<T, EditError> {
    for _ in 0..TRIES {
        if let Some(done) = change()? {
            return Ok(done);
        }
    }
    Err(EditError::Contended { path: path.display().to_string() })
}

/// Takes the lines that an edit left as they were from the text before it, because `toml_edit` ends every line with `\n`.
/// Other lines end like the first one.
fn with_line_ends(before: &str, edited: &str) -> String {
    let content = |line: &str| (line.trim_end_matches(['\r', '\n']).to_owned(), line.ends_with('\n'));
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), edited.split_inclusive('\n').collect());
    let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(old, new)| content(old) == content(new)).count()
    };
    let above = same(&mut old.iter().zip(&new));
    let below = same(&mut old.iter().skip(above).rev().zip(new.iter().skip(above).rev()));
    let end = if old.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
    let changed = new.iter().take(new.len() - below).skip(above);
    let changed =
        changed.map(|line| line.strip_suffix('\n').map_or_else(|| (*line).to_owned(), |line| format!("{line}{end}")));
    let kept = |lines: &[&str]| lines.concat();
    let (first, last) = (old.get(..above).unwrap_or_default(), old.get(old.len() - below..).unwrap_or_default());
    [kept(first), changed.collect(), kept(last)].concat()
}

/// Writes a temporary file in the same folder and renames it, so that a reader sees the old text or the new, never a part.
/// A symbolic link is kept; its target is replaced.
fn replace(path: &Path, (text, edited): (&str, &str), by: Writer) -> io::Result<bool> {
    let target: PathBuf = std::fs::canonicalize(path)?;
    let folder = target.parent().unwrap_or_else(|| Path::new("/"));
    let mut written = tempfile::Builder::new().prefix(".shiftgate-").tempfile_in(folder)?;
    written.write_all(edited.as_bytes())?;
    let before = std::fs::metadata(&target)?;
    give(written.as_file(), &before)?;
    written.as_file().sync_all()?;
    // The running process reads the note when it sees the new text. Without the rename below its hash fits no text.
    let note = note::beside(&target, "wrote");
    let content = WrittenBy { by, hash: text_hash(edited.as_bytes()) };
    let prepared = note::prepare(&note, &content)?;
    // It is no secret, and the process may run as a user who can read the file and nothing more.
    give(prepared.as_file(), &before)?;
    prepared.persist(&note).map_err(|error| error.error)?;
    if std::fs::read(&target)? != text.as_bytes() {
        return Ok(false);
    }
    written.persist(&target).map_err(|error| error.error)?;
    Ok(true)
}

/// Gives a new file the mode and the owner of the one before it.
fn give(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    file.set_permissions(before.permissions())?;
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    Ok(())
}

/// True if the kubelet wrote the file: it lies in a folder whose name begins with two dots, and beside that folder the
/// link `..data` leads to it.
fn is_from_kubernetes(path: &Path) -> bool {
    let Ok(target) = std::fs::canonicalize(path) else { return false };
    target.ancestors().skip(1).any(|folder| {
        let is_dotted = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
        let data = folder.with_file_name("..data");
        is_dotted && data.is_symlink() && std::fs::canonicalize(data).is_ok_and(|data| data == folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[rollout]\nname = \"n\"\nbaseline = \"a\"\npercent = {}\n[backend.a]\nengine = \"openai\"\n\
        url = \"http://127.0.0.1:1/v1\"\napi_key = \"none\"\n";

    #[test]
    fn the_ends_of_lines_stay() {
        for (before, edited, expected) in [
            ("a\r\nb\r\nc\r\n", "a\nB\nc\n", "a\r\nB\r\nc\r\n"),
            ("a\r\nb\nc\r\n", "a\nb\nC\nd\n", "a\r\nb\nC\r\nd\r\n"),
            ("a\nb\r\nb\r\n", "a\nb\nb\nb\n", "a\nb\r\nb\r\nb\n"),
            ("a\r\nb", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
            ("a\nb", "a\nc", "a\nc"),
            ("a\r\n", "a\n", "a\r\n"),
            ("", "a\n", "a\n"),
            ("a\r\nb\r\n", "", ""),
        ] {
            assert_eq!(with_line_ends(before, edited), expected, "{before:?} {edited:?}");
        }
    }

    #[test]
    fn a_save_in_between_is_kept_and_the_change_is_made_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollout.toml");
        std::fs::write(&path, FILE).unwrap();
        let mut saves = 0;
        let done = retried(&path, || {
            let found = Found::read(&path, &|_| None)?;
            if saves == 0 {
                std::fs::write(&path, format!("# saved\n{FILE}")).unwrap();
            }
            saves += 1;
            let edited = format!("{}# edited\n", found.text);
            Ok(found.replace(&edited, Writer::Resume)?.then_some(()))
        });
        done.unwrap();
        assert_eq!(saves, 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("# saved\n{FILE}# edited\n"));
    }

    #[test]
    fn a_file_that_is_saved_all_the_time_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rollout.toml");
        std::fs::write(&path, FILE).unwrap();
        let mut saves = 0;
        let error = retried(&path, || {
            let found = Found::read(&path, &|_| None)?;
            saves += 1;
            std::fs::write(&path, format!("# {saves}\n{FILE}")).unwrap();
            Ok(found.replace("# edited\n", Writer::Shift)?.then_some(()))
        });
        assert!(!error.unwrap_err().is_refusal());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("# 3\n{FILE}"));
    }
}
