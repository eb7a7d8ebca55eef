//! The state of the watched files: the paths behind their symlinks, their stamps, their bytes.
//!
//! Owns: following symlinks, metadata, reading. Refuses: waiting. Invariant: no file can hold up or fill the process:
//! only regular files are opened, and at most [`MAX_FILE`] of them is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of the main file, or the error of reading it.
pub type Reading = io::Result<Vec<u8>>;

/// Limit of a file, in bytes; a larger one is an error. Far above any rollout.toml or certificate chain.
const MAX_FILE: u64 = 4 << 20;

/// Limit of symlinks behind one path; after it the path does not resolve. The kernel has the same limit.
const MAX_LINKS: usize = 40;

/// The file behind a path, and every folder in which a change can put another file there.
pub(super) struct ResolvedPath {
    pub(super) target: PathBuf,
    pub(super) folders: BTreeSet<PathBuf>,
}

impl ResolvedPath {
    /// Resolves `path` name by name. A folder counts if it holds a symlink of the path, the target, or the first name
    /// that is missing.
    pub(super) fn of(path: &Path) -> Self {
        let mut folders = BTreeSet::new();
        let mut target = PathBuf::new();
        let mut rest = names(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                target.pop();
                continue;
            }
            let next = target.join(name);
            let Ok(metadata) = fs::symlink_metadata(&next) else {
                folders.insert(target);
                target = next;
                target.extend(rest.into_iter().rev());
                return Self { target, folders };
            };
            if !metadata.is_symlink() {
                target = next;
                continue;
            }
            folders.insert(target.clone());
            links += 1;
            match fs::read_link(&next) {
                Ok(link) if links <= MAX_LINKS => rest.extend(names(&link)),
                Ok(_) | Err(_) => return Self { target: next, folders },
            }
        }
        folders.extend(target.parent().map(Path::to_owned));
        Self { target, folders }
    }
}

/// Splits a path, last name first. The root is a name too: joined to any path it replaces it.
fn names(path: &Path) -> Vec<OsString> {
    path.iter().rev().filter(|name| *name != ".").map(ToOwned::to_owned).collect()
}

/// Metadata by which a change of the files is noticed without reading them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileStamps(Vec<(PathBuf, Result<FileStamp, ErrorKind>)>);

#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamps {
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        Self(paths.map(|path| (ResolvedPath::of(path).target, FileStamp::of(path))).collect())
    }
}

impl FileStamp {
    fn of(path: &Path) -> Result<Self, ErrorKind> {
        let metadata = fs::metadata(path).map_err(|error| error.kind())?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Hashes bytes, to compare them without keeping them. Its key is random for each process.
#[derive(Debug, Default)]
pub(super) struct Digester(RandomState);

/// Hash of a file's bytes, or the error of reading it.
pub(super) type Digest = Result<u64, ErrorKind>;

/// Digests of one reading, to compare with the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    main: Digest,
    pub(super) also: BTreeMap<PathBuf, Digest>,
}

impl Contents {
    /// Makes the digest of a main file that the caller has read.
    pub(super) fn known(digester: &Digester, main: &[u8]) -> Self {
        Self { main: Ok(digester.0.hash_one(main)), also: BTreeMap::new() }
    }
}

/// Reads all files.
pub(super) fn read(digester: &Digester, main: &Path, also: &BTreeSet<PathBuf>) -> (Reading, Contents) {
    let reading = read_file(main);
    let contents = Contents { main: digest(digester, &reading), also: digests(digester, also) };
    (reading, contents)
}

/// Reads the further files.
pub(super) fn digests(digester: &Digester, paths: &BTreeSet<PathBuf>) -> BTreeMap<PathBuf, Digest> {
    paths.iter().map(|path| (path.clone(), digest(digester, &read_file(path)))).collect()
}

fn digest(digester: &Digester, reading: &Reading) -> Digest {
    match reading {
        Ok(bytes) => Ok(digester.0.hash_one(bytes.as_slice())),
        Err(error) => Err(error.kind()),
    }
}

fn read_file(path: &Path) -> Reading {
    // Opening a FIFO would wait for its writer.
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn root() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        // The folder for temporary files may itself be behind a symlink.
        let path = root.path().canonicalize().unwrap();
        (root, path)
    }

    #[track_caller]
    fn assert_resolved(path: &Path, target: &Path, folders: &[PathBuf]) {
        let resolved = ResolvedPath::of(path);
        assert_eq!(resolved.target, target);
        assert_eq!(resolved.folders, folders.iter().cloned().collect());
    }

    #[test]
    fn a_plain_file_has_one_folder() {
        let (_guard, root) = root();
        fs::write(root.join("a.toml"), "").unwrap();
        assert_resolved(&root.join("a.toml"), &root.join("a.toml"), std::slice::from_ref(&root));
    }

    #[test]
    fn a_configmap_volume_has_the_mount_and_the_dated_folder() {
        let (_guard, root) = root();
        fs::create_dir(root.join("..2026_11")).unwrap();
        fs::write(root.join("..2026_11/rollout.toml"), "").unwrap();
        symlink("..2026_11", root.join("..data")).unwrap();
        symlink("..data/rollout.toml", root.join("rollout.toml")).unwrap();
        let dated = root.join("..2026_11");
        assert_resolved(&root.join("rollout.toml"), &dated.join("rollout.toml"), &[root.clone(), dated]);
    }

    #[test]
    fn a_symlink_among_the_folders_counts() {
        let (_guard, root) = root();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::create_dir(root.join("srv")).unwrap();
        fs::write(root.join("releases/1/a.toml"), "").unwrap();
        symlink("../releases/1", root.join("srv/current")).unwrap();
        let release = root.join("releases/1");
        assert_resolved(&root.join("srv/current/a.toml"), &release.join("a.toml"), &[root.join("srv"), release]);
    }

    #[test]
    fn a_missing_file_is_awaited_in_the_nearest_folder() {
        let (_guard, root) = root();
        assert_resolved(&root.join("x/y/a.toml"), &root.join("x/y/a.toml"), std::slice::from_ref(&root));
        symlink("nowhere/b.toml", root.join("a.toml")).unwrap();
        assert_resolved(&root.join("a.toml"), &root.join("nowhere/b.toml"), std::slice::from_ref(&root));
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let (_guard, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(ResolvedPath::of(&root.join("a")).folders.contains(&root));
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let (_guard, root) = root();
        assert_eq!(read_file(&root).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read_file(&root.join("no")).unwrap_err().kind(), ErrorKind::NotFound);
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        assert_eq!(read_file(&root.join("socket")).unwrap_err().kind(), ErrorKind::InvalidInput);
        let big = root.join("big");
        File::create(&big).unwrap().set_len(MAX_FILE).unwrap();
        assert_eq!(read_file(&big).unwrap().len() as u64, MAX_FILE);
        File::options().write(true).open(&big).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(read_file(&big).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
