//! Names of full files: `.1` is the newest, `.keep` the oldest.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Renames a full file to `.1` and each older one to the next number; the one above `keep` is removed.
pub(super) fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    // Files above a `keep` that was lowered.
    for number in (keep.saturating_add(1)..).take_while(|number| exists(&numbered(path, *number))) {
        std::fs::remove_file(numbered(path, number))?;
    }
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    // A gap, left by a refused rename or by a person, is filled first, so that no file is lost before its time.
    let free = (1..keep).find(|number| !exists(&numbered(path, *number))).unwrap_or(keep);
    for number in (1..free).rev() {
        std::fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    std::fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

fn exists(path: &Path) -> bool {
    !matches!(std::fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Vec<Option<String>> {
        (0..6)
            .map(|at| std::fs::read_to_string(if at == 0 { path.to_owned() } else { numbered(path, at) }).ok())
            .collect()
    }

    #[test]
    fn the_newest_is_1_and_the_oldest_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let expected = |texts: [&str; 6]| texts.map(|text| (!text.is_empty()).then(|| text.to_owned())).to_vec();
        for text in ["a", "b", "c", "d", "e"] {
            std::fs::write(&path, text).unwrap();
            rotate(&path, 3).unwrap();
        }
        assert_eq!(content(&path), expected(["", "e", "d", "c", "", ""]));

        // A gap is filled, and what is above a lower `keep` goes.
        std::fs::remove_file(numbered(&path, 2)).unwrap();
        std::fs::write(&path, "f").unwrap();
        rotate(&path, 3).unwrap();
        assert_eq!(content(&path), expected(["", "f", "e", "c", "", ""]));
        std::fs::write(&path, "g").unwrap();
        rotate(&path, 1).unwrap();
        assert_eq!(content(&path), expected(["", "g", "", "", "", ""]));
        std::fs::write(&path, "h").unwrap();
        rotate(&path, 0).unwrap();
        assert_eq!(content(&path), expected([""; 6]));
    }

    #[test]
    fn a_refused_rename_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        std::fs::write(&path, "new").unwrap();
        std::fs::create_dir(numbered(&path, 1)).unwrap();
        assert!(rotate(&path, 1).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }
}
