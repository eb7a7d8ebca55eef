//! Writes the page: beside its place, then renamed, so that a reader sees the old page or the new one, never a part.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Mode of a new page, less the umask; a page that is replaced keeps its own.
const MODE: u32 = 0o666;

/// Writes the page, unless `is_given_up` says so before the rename. A symbolic link is kept; its target is replaced.
pub(super) fn write(path: &Path, page: &[u8], is_given_up: &dyn Fn() -> bool) -> io::Result<()> {
    let (target, before) = place(path)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut begun = tempfile::Builder::new();
    begun.prefix(".shiftgate-").permissions(Permissions::from_mode(MODE));
    let mut written = begun.tempfile_in(folder)?;
    if let Some(before) = before {
        written.as_file().set_permissions(before)?;
    }
    written.write_all(page)?;
    written.as_file().sync_all()?;
    if !is_given_up() {
        written.persist(&target).map_err(|error| error.error)?;
    }
    Ok(())
}

/// Returns the file behind links, and its mode if it is there.
fn place(path: &Path) -> io::Result<(PathBuf, Option<Permissions>)> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((path.to_owned(), None)),
        Err(error) => return Err(error),
    };
    let before = fs::metadata(&target)?;
    if !before.is_file() {
        // Renaming would replace a device such as /dev/stdout.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file: name one"));
    }
    Ok((target, Some(before.permissions())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_old_page_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        fs::write(&page, "old").unwrap();
        fs::set_permissions(&page, Permissions::from_mode(0o640)).unwrap();
        write(&page, b"new", &|| true).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), "old");
        let until_renamed = || {
            assert_eq!(fs::read_to_string(&page).unwrap(), "old");
            assert_eq!(names(folder.path()).len(), 2);
            false
        };
        write(&page, b"new", &until_renamed).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), "new");
        assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(folder.path()), ["page.html"]);
    }

    #[test]
    fn a_link_is_kept_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (page, link) = (folder.path().join("page.html"), folder.path().join("link.html"));
        fs::write(&page, "old").unwrap();
        std::os::unix::fs::symlink("page.html", &link).unwrap();
        write(&link, b"new", &|| false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&page).unwrap(), "new");
        for place in [folder.path(), Path::new("/dev/null")] {
            assert!(write(place, b"new", &|| false).unwrap_err().to_string().contains("regular file"));
        }
        assert!(write(&folder.path().join("absent/page.html"), b"new", &|| false).is_err());
        assert_eq!(names(folder.path()).len(), 2);
    }
}
