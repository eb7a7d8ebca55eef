//! The kernel's hints: which folders are watched for us, and the callback that turns events into wakes.
//!
//! Owns: the inotify (or FSEvents, kqueue) handle. Refuses: event names, file contents. Invariant: failing to watch is
//! never fatal; it is said once, and polling goes on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::ModifyKind;
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::files::Trail;
use super::signal::{Signal, Wake};

/// Folders that are replaced faster than this are left to the poll.
const ARM_TRIES: u32 = 8;

pub(super) struct Folders {
    events: Option<Events>,
    warned: bool,
}

struct Events {
    watcher: RecommendedWatcher,
    signal: Arc<Signal>,
    armed: BTreeMap<PathBuf, Identity>,
}

impl Folders {
    /// Without a signal there are no hints.
    pub(super) fn new(signal: Option<Arc<Signal>>) -> Self {
        let Some(signal) = signal else { return Self { events: None, warned: false } };
        let raise = Arc::clone(&signal);
        match notify::recommended_watcher(move |event| hint(&raise, event)) {
            Ok(watcher) => Self { events: Some(Events { watcher, signal, armed: BTreeMap::new() }), warned: false },
            Err(error) => {
                tracing::warn!(%error, "file events are not available here: saves are noticed by polling");
                Self { events: None, warned: true }
            }
        }
    }

    /// Watches every folder that matters for these files, and no other.
    pub(super) fn arm<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf> + Clone) {
        let Some(events) = &mut self.events else { return };
        // notify unwraps its channel: where its thread could not be started, or died, each call panics, `drop` too.
        match catch_unwind(AssertUnwindSafe(|| events.arm(&paths))) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.warn(&error.to_string()),
            Err(_) => {
                std::mem::forget(self.events.take());
                self.warn("the thread that receives them is gone");
            }
        }
    }

    fn warn(&mut self, error: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(error, "file events are incomplete: some saves are noticed by polling");
        }
    }
}

impl Events {
    /// A folder can be replaced between the walk and the call that watches it, and then nobody tells of the new one. So
    /// the walk is repeated until it finds only folders that were watched before it began.
    fn arm<'a>(&mut self, paths: &(impl Iterator<Item = &'a PathBuf> + Clone)) -> notify::Result<()> {
        if self.signal.take_moved() {
            for folder in std::mem::take(&mut self.armed).into_keys() {
                self.disarm(&folder);
            }
        }
        for _ in 0..ARM_TRIES {
            let wanted: BTreeMap<PathBuf, Identity> = paths
                .clone()
                .flat_map(|path| Trail::of(path).folders)
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
        // Where the folder itself is gone, the kernel has ended the watch already, and this says so.
        if let Err(error) = self.watcher.unwatch(folder) {
            tracing::trace!(%error, "folder was not watched any more");
        }
    }
}

/// Device and inode: another folder under the same name has to be watched anew. `None` where there is none.
type Identity = Option<(u64, u64)>;

fn identity(folder: &Path) -> Identity {
    fs::symlink_metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Our own readings are accesses; everything else may be a save.
fn hint(signal: &Signal, event: notify::Result<notify::Event>) {
    match event.map(|event| event.kind) {
        Ok(EventKind::Access(_)) => {}
        // An inode can return under the same number, so that a folder made anew looks like the old one.
        Ok(EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) => signal.moved(),
        Ok(EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Other) | Err(_) => {
            signal.raise(Wake::Hint);
        }
    }
}
