//! The last change by `shift`: kept in `.NAME.undo`, and taken back by `shift --undo`.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::load::text_hash;
use super::super::types::Config;
use super::change::{Env, Found, retried};
use super::error::EditError;
use super::note::{self, Writer, written_by};
use super::shifted::Shifted;

/// Content of `.NAME.undo`.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Name of the route whose percent was changed.
    route: String,
    /// Name of the candidate.
    backend: String,
    /// Hash of the text before the change.
    before: String,
    /// Hash of the text after the change.
    after: String,
    /// Text before the change.
    text: String,
}

/// A note that is written and not yet in its place.
pub(super) struct Prepared {
    written: tempfile::NamedTempFile,
    path: std::path::PathBuf,
}

impl Prepared {
    /// Writes the note about a change from the text that was found to `edited`.
    pub(super) fn new(found: &Found<'_>, edited: &str, (route, backend): (&str, &str)) -> Result<Self, EditError> {
        let write = || -> io::Result<Self> {
            let path = note::beside(&std::fs::canonicalize(found.path)?, "undo");
            let content = Kept {
                route: route.to_owned(),
                backend: backend.to_owned(),
                before: text_hash(found.text.as_bytes()),
                after: text_hash(edited.as_bytes()),
                text: found.text.clone(),
            };
            Ok(Self { written: note::prepare(&path, &content)?, path })
        };
        write().map_err(|cause| EditError::unwritable(&found.shown, cause))
    }

    /// Puts the note into its place. If that fails, the change cannot be taken back; the note before it fits no text any
    /// more and is refused.
    pub(super) fn persist(self) {
        drop(self.written.persist(&self.path));
    }
}

/// Takes back the last change that `shift` made, if the file is as `shift` left it.
pub fn undo(path: &Path, env: Env<'_>) -> Result<Shifted, EditError> {
    retried(path, || {
        let found = Found::read(path, env)?;
        let note = note::beside(&std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()), "undo");
        let kept = kept(&found, &note)?;
        let current = text_hash(found.text.as_bytes());
        if current != kept.after {
            return Err(edited(&found, &kept, &current));
        }
        let config = found.check(&kept.text)?;
        let (route, backend) = (kept.route.as_str(), kept.backend.as_str());
        let percent = |config: &Config| Shifted::percent(config, route, backend);
        let (before, after) = (percent(&found.config), percent(&config));
        found.is_ours(|| format!("percent of {backend} on route {route}: {before} -> {after}"))?;
        if !found.replace(&kept.text, Writer::Shift)? {
            return Ok(None);
        }
        // A note that stays fits no text any more.
        drop(std::fs::remove_file(&note));
        Ok(Some(Shifted { route: kept.route, backend: kept.backend, before, after }))
    })
}

/// Reads the note about the last change.
fn kept(found: &Found<'_>, note: &Path) -> Result<Kept, EditError> {
    let refused =
        |cause: String, cure: &str| EditError::NotUndone { path: found.shown.clone(), cause, cure: cure.to_owned() };
    let shown = note.display();
    let text = match note::read(note) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let cause = format!("there is no change by `shift` to take back ({shown} does not exist)");
            return Err(refused(cause, "Set the percent with `shiftgate shift BACKEND PERCENT`"));
        }
        Err(error) => {
            let cause = format!("{shown}, which has the text before the change, cannot be read: {error}");
            return Err(refused(cause, "Set the percent with `shiftgate shift BACKEND PERCENT`"));
        }
    };
    match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) if text_hash(kept.text.as_bytes()) == kept.before => Ok(kept),
        _ => {
            let cause = format!("{shown} is not what `shift` wrote");
            Err(refused(cause, "Remove it, and set the percent with `shiftgate shift BACKEND PERCENT`"))
        }
    }
}

/// Makes the refusal of a file that has another text than `shift` left.
fn edited(found: &Found<'_>, kept: &Kept, current: &str) -> EditError {
    let Kept { route, backend, .. } = kept;
    let by_resume = written_by(found.path).is_some_and(|last| last.by == Writer::Resume && last.hash == current);
    let cause = match (by_resume, current == kept.before) {
        (true, _) => "`resume` changed it after the last `shift`, and `resume` is not undone".to_owned(),
        (_, true) => format!("it already is as it was before the last `shift` of {backend} on route {route}"),
        (..) => {
            format!("it was edited after the last `shift`, of {backend} on route {route}, and an edit is not undone")
        }
    };
    let option = if route == "default" { String::new() } else { format!(" --route {route}") };
    let cure = format!("Set the percent instead: shiftgate shift {backend} PERCENT{option}");
    EditError::NotUndone { path: found.shown.clone(), cause, cure }
}
