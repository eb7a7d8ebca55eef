//! Notices each save of rollout.toml, and of the secrets and certificates that it names.
//!
//! Owns: one thread that waits for file events or the next poll, reads the files until they are stable, and hands the
//! reading over. Refuses: the meaning of the bytes, and the path of requests.
//! Invariant: in whatever order events come, and even if none comes, the last state of the files is the last one that
//! is handed over.
//!
//! An event is only a hint that something changed: its name and kind are not trusted, because a save by rename or a
//! swap of a ConfigMap's `..data` never names the file. The stamps of the files (inode, times, length) decide, then
//! their bytes. A poll takes the same path, so a disk without events only makes reloads slower.

mod files;
mod folders;
mod signal;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use files::Reading;

use files::{Contents, Digester, FileStamps};
use folders::Folders;
use signal::{Signal, Wake};

/// Times of the watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Delay from the first hint to the reading, so that a save of several steps is one reload.
    pub debounce: Duration,
    /// Delay between the two readings that have to be equal.
    pub settle: Duration,
    /// Interval of looking without a hint.
    pub poll: Duration,
    /// True to use the kernel's file events; false to only poll.
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

/// Number of readings that wait for two equal ones. After them the last is used, half-written or not: the hints of later
/// writes bring the next reading.
const SETTLE_TRIES: u32 = 20;

/// Tick of the coarsest file system clock (FAT). Two writes within one tick may leave the same stamp, so an equal stamp
/// means equal bytes only if they were read this long after the stamp was first seen.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// Number of times that a changed list of further files is followed; a list that still changes then waits for a hint.
const LIST_TRIES: u32 = 3;

/// Watches `main` and the files in `also` until the handle is dropped.
///
/// `loaded` is what the caller read at start; a save between that and this call is a change like any other.
/// `apply` is called on the watcher's own thread after each change, with the main file's settled bytes, and returns
/// the further files to watch from now on. It is called again with the same bytes when that list (or `also`, at
/// start) names a file that was not watched yet: such a file may have changed after `apply` read it and before it was
/// watched. A file that becomes unreadable is one change, however long that lasts.
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
        stamps: None,
        stamps_seen_at: Instant::now(),
        read_at: Instant::now(),
        digester,
        folders: Folders::new(timing.events.then(|| Arc::clone(&signal))),
        signal: Arc::clone(&signal),
        apply,
    };
    // The default stack size: `apply` parses there, and untouched pages cost nothing.
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
    /// Reads and applies now, changed or not, as SIGHUP requests. Returns at once.
    pub fn reload_now(&self) {
        self.signal.raise(Wake::Now);
    }

    /// Does the same, and calls `after` on the watcher's thread when the files as they are at this call, or later, have
    /// been applied. A call that still waits is replaced.
    pub fn reload_then(&self, after: impl FnOnce() + Send + 'static) {
        self.signal.request(Box::new(after));
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        self.signal.raise(Wake::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches rollout.toml panicked");
        }
    }
}

struct Watcher<F> {
    main: PathBuf,
    also: BTreeSet<PathBuf>,
    timing: Timing,
    /// Stamps of the files before the last reading; `None` before the first.
    stamps: Option<FileStamps>,
    stamps_seen_at: Instant,
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
                Wake::Now => {
                    let after = self.signal.take_after();
                    self.check(true);
                    if let Some(after) = after {
                        after();
                    }
                }
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

    /// Returns true if the bytes may have changed since they were read. Watches the folders before it takes the stamps:
    /// a later change is a hint, an earlier one is in the stamps.
    fn look(&mut self) -> bool {
        let seen = Instant::now();
        self.folders.arm(std::iter::once(&self.main).chain(&self.also));
        let stamps = FileStamps::of(std::iter::once(&self.main).chain(&self.also));
        if self.stamps.as_ref() != Some(&stamps) {
            self.stamps = Some(stamps);
            self.stamps_seen_at = seen;
            return true;
        }
        self.read_at.saturating_duration_since(self.stamps_seen_at) < COARSEST_CLOCK
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

    /// Returns the second of two equal readings, or the last of all tries; `None` if the thread has to stop.
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

    /// Takes over the list of further files, and applies again while it names new ones.
    fn follow(&mut self, mut reading: Reading, also: Vec<PathBuf>) {
        let mut also = distinct(&also);
        for _ in 0..LIST_TRIES {
            if also == self.also {
                return;
            }
            let joined = !also.is_subset(&self.also);
            self.also = also;
            self.stamps = None;
            self.look();
            if !joined {
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

/// Makes a path independent of the working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Copies a reading. An `io::Error` is not `Clone`; its kind and text are copied.
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
            stamps: None,
            stamps_seen_at: Instant::now(),
            read_at: Instant::now(),
            contents: Contents::known(&digester, b""),
            digester,
            folders: Folders::new(None),
            signal: Arc::default(),
            apply: |_| Vec::new(),
        };
        assert!(watcher.look(), "never seen");
        assert!(watcher.look(), "seen just now");
        watcher.read_at = watcher.stamps_seen_at + COARSEST_CLOCK;
        assert!(!watcher.look(), "read when every clock had ticked");
        std::fs::write(&watcher.main, "new").unwrap();
        assert!(watcher.look(), "another stamp");
    }
}
