//! Reads `[records]`.

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
    // Records are appended, rotated and deleted: the path must not lead to a file that is read.
    let is_read = records.path == context.resolve(&file.display().to_string())
        || file.file_name().is_some_and(|name| records.path == context.resolve(&name.to_string_lossy()))
        || p.watched.contains(&records.path);
    if is_read || records.path.is_dir() {
        let what = if is_read { "is a file that shiftgate reads" } else { "is a folder" };
        let message = format!("records.path {what}: {}", records.path.display());
        p.add(&value.span(), message, "name a file of its own, such as shiftgate-records.jsonl");
    }
    records
}
