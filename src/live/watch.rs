//! Notices each save of rollout.toml, and of the secrets and certificates that it names.
//!
//! Owns: one thread that waits for the kernel's hints or the next poll, reads the files until they hold still, and
//! hands the reading over. Refuses: the meaning of what it read, and the path of requests.
//! Invariant: whatever order events come in, or whether they come at all, the last state of the files is the last one
//! handed over.
//!
//! An event is only a hint that something moved: its name and kind are not trusted, because a save by rename or a swap
//! of a ConfigMap's `..data` never names the file. What counts is the stamp of the files (inode, times, length), and
//! then their bytes. A poll takes the same path, so that a disk or a machine without events is only slower.

mod files;
mod folders;
mod signal;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use files::{Contents, Digester, Stamp};
use folders::Folders;
use signal::{Signal, Wake};

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the first hint to the reading, so that one save of several steps is one reload.
    pub debounce: Duration,
    /// Between the two readings that have to be equal.
    pub settle: Duration,
    /// How often to look without a hint.
    pub poll: Duration,
    /// Whether to ask the kernel for hints at all; `false` only polls.
    pub events: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(100),
            settle: Duration::from_millis(50),
            poll: Duration::from_secs(2),
            events: true,
        }
    }
}

/// The main file's bytes, or why it cannot be read.
pub type Reading = io::Result<Vec<u8>>;

/// A writer that never pauses for `settle` gets its half-written file read after this many tries; the hints of its
/// later writes bring the next reading.
const SETTLE_TRIES: u32 = 20;

/// The coarsest clock of a file system (FAT). Two writes within one tick may leave the same stamp, so a stamp vouches
/// for the bytes only if they were read this long after it was first seen.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// Files that join the list are handed to `apply` once more; a list that never comes to rest is followed this far.
const LIST_TRIES: u32 = 3;

/// Watches `main` and the files in `also` until the handle is dropped.
///
/// `loaded` is what the caller read at start; a save between that and this call is a change like any other.
/// `apply` is called on the watcher's own thread after each change, with the main file's settled bytes, and returns
/// the further files to watch from now on. It is called again with the same bytes when that list (or `also`, at
/// start) names a file that was not watched yet: such a file may have changed after `apply` read it and before it was
/// watched. A file that cannot be read is one change, however long it lasts.
///
/// # Errors
/// When the thread cannot be started.
pub fn watch(
    main: PathBuf,
    also: Vec<PathBuf>,
    loaded: &[u8],
    timing: Timing,
    apply: impl FnMut(Reading) -> Vec<PathBuf> + Send + 'static,
) -> io::Result<WatchHandle> {
    let signal = Arc::new(Signal::default());
    let digester = Digester::default();
    let mut watcher = Watcher {
        contents: Contents::known(&digester, loaded),
        main: absolute(&main),
        also: BTreeSet::new(),
        timing,
        stamp: None,
        stamp_seen: Instant::now(),
        read_at: Instant::now(),
        digester,
        folders: Folders::new(timing.events.then(|| Arc::clone(&signal))),
        signal: Arc::clone(&signal),
        apply,
    };
    // The default stack: `apply` parses there, and untouched pages of it cost nothing.
    let thread = thread::Builder::new().name("rollout-watch".to_owned()).spawn(move || watcher.run(also))?;
    Ok(WatchHandle { signal, thread: Some(thread) })
}

/// Keeps the watcher running. Dropping it stops the thread and waits for an `apply` that is running.
#[derive(Debug)]
pub struct WatchHandle {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl WatchHandle {
    /// Reads and applies now, changed or not, as SIGHUP asks for. Returns at once.
    pub fn reload_now(&self) {
        self.signal.raise(Wake::Now);
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.signal.raise(Wake::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches rollout.toml had panicked");
        }
    }
}

struct Watcher<F> {
    main: PathBuf,
    also: BTreeSet<PathBuf>,
    timing: Timing,
    /// Of the files before the last reading; `None` until there was one.
    stamp: Option<Stamp>,
    stamp_seen: Instant,
    read_at: Instant,
    contents: Contents,
    digester: Digester,
    folders: Folders,
    signal: Arc<Signal>,
    apply: F,
}

impl<F: FnMut(Reading) -> Vec<PathBuf>> Watcher<F> {
    fn run(&mut self, also: Vec<PathBuf>) {
        self.start(also);
        loop {
            let mut wake = self.signal.wait(self.timing.poll);
            if wake == Wake::Hint {
                // A fixed delay, not one that each hint prolongs: a busy neighbour in the folder cannot hold off the
                // reload.
                self.signal.pause(self.timing.debounce);
                wake = self.signal.take();
            }
            match wake {
                Wake::Stop => return,
                Wake::Now => self.check(true),
                Wake::Tick | Wake::Hint => self.check(false),
            }
        }
    }

    fn start(&mut self, also: Vec<PathBuf>) {
        self.look();
        let (reading, contents) = files::read(&self.digester, &self.main, &self.also);
        if contents == self.contents {
            self.follow(reading, also);
        } else {
            self.check(true);
        }
    }

    /// Arms the folders before it takes the stamp: what happens later is a hint, what happened earlier is in the stamp.
    /// Returns whether the bytes may have changed since they were read.
    fn look(&mut self) -> bool {
        let seen = Instant::now();
        self.folders.arm(std::iter::once(&self.main).chain(&self.also));
        let stamp = Stamp::of(std::iter::once(&self.main).chain(&self.also));
        if self.stamp.as_ref() != Some(&stamp) {
            self.stamp = Some(stamp);
            self.stamp_seen = seen;
            return true;
        }
        self.read_at.saturating_duration_since(self.stamp_seen) < COARSEST_CLOCK
    }

    fn check(&mut self, forced: bool) {
        if !self.look() && !forced {
            return;
        }
        self.read_at = Instant::now();
        let Some((reading, contents)) = self.settled() else { return };
        if contents == self.contents && !forced {
            return;
        }
        self.contents = contents;
        let again = copy(&reading);
        let also = (self.apply)(reading);
        self.follow(again, also);
    }

    /// Two equal readings in a row; after the last try, the one at hand. `None` when asked to stop.
    fn settled(&self) -> Option<(Reading, Contents)> {
        let mut last = files::read(&self.digester, &self.main, &self.also);
        for _ in 0..SETTLE_TRIES {
            if !self.signal.pause(self.timing.settle) {
                return None;
            }
            let next = files::read(&self.digester, &self.main, &self.also);
            let equal = next.1 == last.1;
            last = next;
            if equal {
                break;
            }
        }
        Some(last)
    }

    /// Takes over the list of further files, and applies once more while it names new ones.
    fn follow(&mut self, mut reading: Reading, also: Vec<PathBuf>) {
        let mut also = distinct(&also);
        for _ in 0..LIST_TRIES {
            if also == self.also {
                return;
            }
            let joined = !also.is_subset(&self.also);
            self.also = also;
            self.stamp = None;
            self.look();
            if !joined {
                // What was read stays what later readings are compared with.
                self.contents.also.retain(|path, _| self.also.contains(path));
                return;
            }
            self.contents.also = files::digests(&self.digester, &self.also);
            let again = copy(&reading);
            also = distinct(&(self.apply)(reading));
            reading = again;
        }
    }
}

fn distinct(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    paths.iter().map(|path| absolute(path)).collect()
}

/// The name stays right if the process changes its folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An `io::Error` cannot be cloned; its kind and text can.
fn copy(reading: &Reading) -> Reading {
    match reading {
        Ok(bytes) => Ok(bytes.clone()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_stamp_vouches_only_for_bytes_read_later_than_the_coarsest_clock_ticks() {
        let folder = tempfile::tempdir().unwrap();
        let digester = Digester::default();
        let mut watcher = Watcher {
            main: folder.path().join("rollout.toml"),
            also: BTreeSet::new(),
            timing: Timing::default(),
            stamp: None,
            stamp_seen: Instant::now(),
            read_at: Instant::now(),
            contents: Contents::known(&digester, b""),
            digester,
            folders: Folders::new(None),
            signal: Arc::default(),
            apply: |_| Vec::new(),
        };
        assert!(watcher.look(), "never seen");
        assert!(watcher.look(), "seen just now");
        watcher.read_at = watcher.stamp_seen + COARSEST_CLOCK;
        assert!(!watcher.look(), "read when every clock had ticked");
        std::fs::write(&watcher.main, "new").unwrap();
        assert!(watcher.look(), "another stamp");
    }
}
