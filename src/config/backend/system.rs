//! Reads `system`: the file with a backend's own wording.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::super::context::{Context, Secrets};
use super::super::problem::Problems;
use super::super::reader::{Section, Value, Wrong, kind, string, wrong};
use super::super::types::{OwnWording, WordingMode};

const CURE: &str = "write { append = \"FILE\" }, { prepend = \"FILE\" } or { replace = \"FILE\" }";
/// Size limit, in bytes, of the file; a larger one is refused. Every request carries the text, and a prompt of this size
/// has about 16,000 tokens.
const MAX_WORDING: u64 = 64 << 10;

/// Reads the mode, and the text from its file. `takes_wording` is false for a baseline that gets requests unchanged.
pub(super) fn read(
    value: &Value<'_>,
    takes_wording: bool,
    context: &Context<'_>,
    p: &mut Problems<'_>,
) -> Option<OwnWording> {
    if !takes_wording {
        let what = "system is given for the OpenAI baseline, which gets every request unchanged";
        p.add(&value.span(), what, "leave system out, or give it to a candidate");
    }
    if !value.get_ref().is_table() {
        p.add(&value.span(), format!("system is {}", kind(value)), CURE);
        return None;
    }
    let mut s = Section::new("system", value, p);
    let mut given = Vec::new();
    for (key, mode) in WordingMode::ALL.map(|mode| (mode.as_str(), mode)) {
        given.extend(s.get(key).map(|file| (key, mode, file)));
    }
    s.finish(p);
    let [(key, mode, file)] = given[..] else {
        p.add(&value.span(), "system needs exactly one of append, prepend and replace", CURE);
        return None;
    };
    let read = string(file).and_then(|path| {
        let path = context.resolve(path);
        p.watched.push(path.clone());
        let text = wording(&path, context.secrets)?;
        Ok(OwnWording { mode, path, text })
    });
    match read {
        Ok(wording) => Some(wording),
        Err(wrong) => {
            p.add(&file.span(), format!("system.{key} {}", wrong.what), wrong.cure);
            None
        }
    }
}

/// Reads the text without white space at its ends; `None` if the file is missing and may be.
fn wording(path: &Path, secrets: Secrets) -> Result<Option<String>, Wrong> {
    let shown = path.display();
    let bytes = match bytes(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && secrets == Secrets::Skip => return Ok(None),
        Err(error) => {
            return wrong(
                format!("names the file {shown}, which cannot be read: {error}"),
                "put the text there, or correct the path",
            );
        }
    };
    if bytes.len() as u64 > MAX_WORDING {
        return wrong(format!("names the file {shown}, which is larger than 64 KiB"), "shorten the text");
    }
    let Ok(text) = String::from_utf8(bytes) else {
        return wrong(format!("names the file {shown}, which is not UTF-8 text"), "save it as UTF-8");
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return wrong(format!("names the file {shown}, which is empty"), "write the text into it, or leave system out");
    }
    Ok(Some(text.to_owned()))
}

/// Reads at most one byte more than the limit. A pipe or device would hold up the reading.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_WORDING + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
