//! File events of the kernel: the watched folders, and the callback that turns events into wakes.
//!
//! Owns: the inotify (or FSEventWatcher, kqueue) handle. Refuses: event names, file contents. Invariant: failing to watch is
//! never fatal; it is logged once, and polling goes on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::ModifyKind;
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::ResolvedPath;
use super::signal::{Signal, Wake};

/// Number of tries to watch the folders; folders that are replaced faster are left to the poll.
const ARM_TRIES: u32 = 8;

/// The folders that are watched for events.
pub(super) struct Folders {
    events: Option<EventWatcher>,
    warned: bool,
}

struct EventWatcher {
    watcher: RecommendedWatcher,
    signal: Arc<Signal>,
    armed: BTreeMap<PathBuf, Identity>,
}

impl Folders {
    /// Starts the event watcher; without a signal there is none.
    pub(super) fn new(signal: Option<Arc<Signal>>) -> Self {
        let Some(signal) = signal else { return Self { events: None, warned: false } };
        let raise = Arc::clone(&signal);
        match notify::recommended_watcher(move |event| hint(&raise, event)) {
            Ok(watcher) => {
                Self { events: Some(EventWatcher { watcher, signal, armed: BTreeMap::new() }), warned: false }
            }
            Err(error) => {
                tracing::warn!(%error, "file events are not available: changes are found by polling");
                Self { events: None, warned: true }
            }
        }
    }

    /// Watches exactly the folders in which these files can change.
    pub(super) fn arm<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf> + Clone) {
        let Some(events) = &mut self.events else { return };
        // notify unwraps its channel: if its thread did not start, or died, each call panics, `drop` too.
        match catch_unwind(AssertUnwindSafe(|| events.arm(&paths))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.warn(&error.to_string()),
            Err(_) => {
                std::mem::forget(self.events.take());
                self.warn("the thread that receives them has ended");
            }
        }
    }

    fn warn(&mut self, error: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(error, "file events are incomplete: some changes are found by polling");
        }
    }
}

impl EventWatcher {
    /// Watches the folders of these paths. A folder that is replaced between resolving and watching sends no events, so
    /// paths are resolved again until all their folders were watched before.
    fn arm<'a>(&mut self, paths: &(impl Iterator<Item = &'a PathBuf> + Clone)) -> notify::Result<()> {
        if self.signal.take_moved() {
            for folder in std::mem::take(&mut self.armed).into_keys() {
                self.disarm(&folder);
            }
        }
        for _ in 0..ARM_TRIES {
            let wanted: BTreeMap<PathBuf, Identity> = paths
                .clone()
                .flat_map(|path| ResolvedPath::of(path).folders)
                .map(|folder| {
                    let identity = identity(&folder);
                    (folder, identity)
                })
                .collect();
            if wanted == self.armed {
                break;
            }
            self.replace(wanted)?;
        }
        Ok(())
    }

    fn replace(&mut self, wanted: BTreeMap<PathBuf, Identity>) -> notify::Result<()> {
        let armed = std::mem::take(&mut self.armed);
        let (kept, stale): (BTreeMap<_, _>, BTreeMap<_, _>) =
            armed.into_iter().partition(|(folder, identity)| wanted.get(folder) == Some(identity));
        self.armed = kept;
        for folder in stale.into_keys() {
            self.disarm(&folder);
        }
        let mut result = Ok(());
        for (folder, identity) in wanted {
            if self.armed.contains_key(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(folder, identity);
                }
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn disarm(&mut self, folder: &Path) {
        // If the folder itself was removed, the kernel has ended the watch already, and this call fails.
        if let Err(error) = self.watcher.unwatch(folder) {
            tracing::trace!(%error, "the folder was no longer watched");
        }
    }
}

/// Device and inode: another folder under the same name has to be watched again. `None` if there is no folder.
type Identity = Option<(u64, u64)>;

fn identity(folder: &Path) -> Identity {
    fs::symlink_metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Turns an event into a wake. Accesses are ignored: the watcher's own readings are among them.
fn hint(signal: &Signal, event: notify::Result<notify::Event>) {
    match event.map(|event| event.kind) {
        Ok(EventKind::Access(_)) => {}
        // Inode numbers are reused, so a new folder can look like the removed one.
        Ok(EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) => signal.moved(),
        Ok(EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other) | Err(_) => {
            signal.raise(Wake::Hint);
        }
    }
}
