//! The state of the watched files: where their names lead, their stamps, their bytes.
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

use super::Reading;

/// Far above any rollout.toml or certificate chain.
const MAX_FILE: u64 = 4 << 20;

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Where a name leads, and every folder in which a change can make it lead elsewhere.
pub(super) struct Trail {
    pub(super) target: PathBuf,
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Trail {
    /// Walks `path` name by name. A folder counts when it holds a symlink on the way, the target, or, where the way
    /// ends early, the first name that is missing.
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

/// The last one first. The root is a name too: joined to anything it begins anew.
fn names(path: &Path) -> Vec<OsString> {
    path.iter().rev().filter(|name| *name != ".").map(ToOwned::to_owned).collect()
}

/// What tells, without reading, that a file is not what it was.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Result<Mark, ErrorKind>)>);

#[derive(Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Self {
        Self(paths.map(|path| (Trail::of(path).target, Mark::of(path))).collect())
    }
}

impl Mark {
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

/// Tells bytes apart without keeping them; its key is of this process alone.
#[derive(Debug, Default)]
pub(super) struct Digester(RandomState);

pub(super) type Digest = Result<u64, ErrorKind>;

/// What one reading found, to compare with the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    main: Digest,
    pub(super) also: BTreeMap<PathBuf, Digest>,
}

impl Contents {
    /// Of bytes that somebody else has read.
    pub(super) fn known(digester: &Digester, main: &[u8]) -> Self {
        Self { main: Ok(digester.0.hash_one(main)), also: BTreeMap::new() }
    }
}

pub(super) fn read(digester: &Digester, main: &Path, also: &BTreeSet<PathBuf>) -> (Reading, Contents) {
    let reading = read_file(main);
    let contents = Contents { main: digest(digester, &reading), also: digests(digester, also) };
    (reading, contents)
}

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
    // Opening a FIFO would wait for its writer, so look first.
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
    fn assert_trail(path: &Path, target: &Path, folders: &[PathBuf]) {
        let trail = Trail::of(path);
        assert_eq!(trail.target, target);
        assert_eq!(trail.folders, folders.iter().cloned().collect());
    }

    #[test]
    fn a_plain_file_has_one_folder() {
        let (_guard, root) = root();
        fs::write(root.join("a.toml"), "").unwrap();
        assert_trail(&root.join("a.toml"), &root.join("a.toml"), std::slice::from_ref(&root));
    }

    #[test]
    fn a_configmap_volume_has_the_mount_and_the_dated_folder() {
        let (_guard, root) = root();
        fs::create_dir(root.join("..2026_11")).unwrap();
        fs::write(root.join("..2026_11/rollout.toml"), "").unwrap();
        symlink("..2026_11", root.join("..data")).unwrap();
        symlink("..data/rollout.toml", root.join("rollout.toml")).unwrap();
        let dated = root.join("..2026_11");
        assert_trail(&root.join("rollout.toml"), &dated.join("rollout.toml"), &[root.clone(), dated]);
    }

    #[test]
    fn a_symlink_among_the_folders_counts() {
        let (_guard, root) = root();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::create_dir(root.join("srv")).unwrap();
        fs::write(root.join("releases/1/a.toml"), "").unwrap();
        symlink("../releases/1", root.join("srv/current")).unwrap();
        let release = root.join("releases/1");
        assert_trail(&root.join("srv/current/a.toml"), &release.join("a.toml"), &[root.join("srv"), release]);
    }

    #[test]
    fn what_is_missing_is_awaited_in_the_nearest_folder() {
        let (_guard, root) = root();
        assert_trail(&root.join("x/y/a.toml"), &root.join("x/y/a.toml"), std::slice::from_ref(&root));
        symlink("nowhere/b.toml", root.join("a.toml")).unwrap();
        assert_trail(&root.join("a.toml"), &root.join("nowhere/b.toml"), std::slice::from_ref(&root));
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let (_guard, root) = root();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(Trail::of(&root.join("a")).folders.contains(&root));
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
