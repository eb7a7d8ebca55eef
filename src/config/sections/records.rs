//! Reads `[records]`.

use std::ops::Range;
use std::path::Path;

use super::super::context::Context;
use super::super::problem::Problems;
use super::super::reader::{Section, Value, boolean, size, string, whole};
use super::super::types::Records;

/// Reads the section.
pub(crate) fn read(value: &Value<'_>, file: &Path, context: &Context<'_>, p: &mut Problems<'_>) -> Records {
    let mut s = Section::new("[records]", value, p);
    let path = s.read("path", p, |value| string(value).map(|path| context.resolve(path)));
    let records = Records {
        path: path.unwrap_or_else(|| context.resolve("shiftgate-records.jsonl")),
        content: s.read("content", p, boolean).unwrap_or(false),
        max_size: s.read("max_size", p, size).unwrap_or(100 << 20),
        keep: s.read("keep", p, |value| whole(value, 0, 1000)).and_then(|keep| u32::try_from(keep).ok()).unwrap_or(5),
    };
    s.finish(p);
    is_its_own("records.path", &records.path, &value.span(), (file, context), p);
    records
}

/// Reports a path, of a file that shiftgate writes, rotates or replaces, that leads to one that it reads, or to a folder.
pub(crate) fn is_its_own(
    key: &str,
    path: &Path,
    span: &Range<usize>,
    (file, context): (&Path, &Context<'_>),
    p: &mut Problems<'_>,
) {
    let is_read = path == context.resolve(&file.display().to_string())
        || file.file_name().is_some_and(|name| path == context.resolve(&name.to_string_lossy()))
        || p.watched.iter().any(|watched| watched == path);
    if is_read || path.is_dir() {
        let what = if is_read { "is a file that shiftgate reads" } else { "is a folder" };
        let name = if key == "server.state" { "shiftgate-state.json" } else { "shiftgate-records.jsonl" };
        let message = format!("{key} {what}: {}", path.display());
        p.add(span, message, format!("name a file of its own, such as {name}"));
    }
}
