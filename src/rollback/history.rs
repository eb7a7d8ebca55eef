//! The history: generations of the file, and the guard's moves between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::guard::{Entry, EntryCause, EntryMove, HISTORY, Move, Now, Saved, State};
use crate::live::InForce;

/// The last entries, the oldest first.
#[derive(Debug)]
pub(super) struct History {
    /// Shared with readers, who work on it outside the lock.
    entries: Arc<VecDeque<Entry>>,
    /// Generation and hash in force.
    current: (u64, String),
}

/// The history as the admin port shows it.
#[derive(Serialize)]
struct Page<'a> {
    history: &'a VecDeque<Entry>,
}

impl History {
    /// Continues earlier entries.
    pub(super) fn new(entries: VecDeque<Entry>) -> Self {
        Self { entries: Arc::new(entries), current: (0, String::new()) }
    }

    /// Adds the generation in force.
    pub(super) fn generation(&mut self, in_force: &InForce, cause: EntryCause, now: Now) {
        let (config, generation) = (&in_force.snapshot.config, in_force.snapshot.generation);
        self.current = (generation, config.hash.clone());
        let percents = config.routes.iter().map(|route| {
            let percents = route.percent.iter().map(|(id, percent)| (config[*id].name.clone(), percent.as_f64()));
            (route.name.clone(), percents.collect::<BTreeMap<_, _>>())
        });
        let hash = config.hash.clone();
        self.add(Entry { at: now.time, generation, cause, hash, percents: percents.collect(), moved: None });
    }

    /// True if the generation is the one in force.
    pub(super) const fn is_of(&self, generation: u64) -> bool {
        self.current.0 == generation
    }

    /// Adds the lift of a withdrawal of an earlier process.
    pub(super) fn lifted(&mut self, saved: &Saved, why: String, now: Now) {
        let moved = EntryMove { candidate: saved.candidate.clone(), from: saved.state, to: State::Watching, why };
        self.of_guard(moved, now);
    }

    /// Adds a move of the guard.
    pub(super) fn moved(&mut self, candidate: &str, one: &Move, now: Now) {
        let moved = EntryMove { candidate: candidate.to_owned(), from: one.from, to: one.to, why: one.why.clone() };
        self.of_guard(moved, now);
    }

    fn of_guard(&mut self, moved: EntryMove, now: Now) {
        let (generation, hash) = self.current.clone();
        let percents = BTreeMap::new();
        self.add(Entry { at: now.time, generation, cause: EntryCause::Guard, hash, percents, moved: Some(moved) });
    }

    fn add(&mut self, entry: Entry) {
        let entries = Arc::make_mut(&mut self.entries);
        entries.push_back(entry);
        let surplus = entries.len().saturating_sub(HISTORY);
        entries.drain(..surplus);
    }

    /// The entries, to be read outside the lock.
    pub(super) fn entries(&self) -> Arc<VecDeque<Entry>> {
        Arc::clone(&self.entries)
    }
}

/// Returns the document of the admin port.
pub(super) fn to_json(entries: &VecDeque<Entry>) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Page { history: entries })
}
