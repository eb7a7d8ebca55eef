//! Content of the state file: withdrawals, the sums of a hold, and the history. Bytes only; somebody else reads and
//! writes the file.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counted::{Ledger, Tally};
use super::epoch::Epoch;
use super::evidence::Sums;
use super::file::Identity;
use super::moves::{Cause, State};
use super::recurrence::Recurrence;
use crate::config::{Config, GuardErrors, Writer, WrittenBy};

/// Version of the content. A file of another one is not read: a latch that is understood wrongly is worse than none.
const VERSION: u64 = 1;
/// Number of entries of the history; the oldest ones go first.
pub const HISTORY: usize = 1_000;
/// Limit, in bytes, on the file: 1,000 entries of 16 KiB each, which is 500 routes. A larger one is not read, and the
/// history is cut until it fits.
pub const MOST_BYTES: usize = 16 << 20;

/// Content of the state file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StateFile {
    /// One for each candidate.
    pub candidates: Vec<Saved>,
    /// Generations and moves, the oldest first; at most [`HISTORY`].
    pub history: VecDeque<Entry>,
}

/// State of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Name of the candidate.
    pub candidate: String,
    /// Name of the rollout.
    pub rollout: String,
    /// The candidate's identity.
    pub identity: Identity,
    /// `resume` of the file.
    pub resume: u64,
    /// State of the candidate.
    pub state: State,
    /// Time from which it is in this state.
    #[serde(with = "time")]
    pub since: Timestamp,
    /// Cause of the state.
    pub cause: Option<Cause>,
    /// A sentence with the numbers.
    pub why: Option<String>,
    /// Time left and sums of a hold; `None` in other states.
    pub hold: Option<SavedHold>,
}

/// A hold and its sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HoldText", into = "HoldText")]
pub struct SavedHold {
    /// Time that is left, in milliseconds.
    pub left_ms: u64,
    limits: (f64, f64, f64),
    tally: Tally,
    /// Distinct keys.
    keys: u64,
    sums: Sums,
}

impl SavedHold {
    pub(super) fn of(epoch: &Epoch, left: Duration) -> Self {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let limits = (epoch.errors.max_ratio, epoch.errors.floor, epoch.alpha);
        Self { left_ms, limits, tally: epoch.tally(), keys: epoch.ledger.keys(), sums: epoch.evidence.sums() }
    }

    /// Makes the epoch that is judged at the end of the hold.
    pub(super) fn epoch(&self, number: u64) -> Epoch {
        let (max_ratio, floor, alpha) = self.limits;
        // No request is drawn in this epoch, so that none becomes overdue.
        let errors = GuardErrors { max_ratio, floor, overdue: Duration::ZERO };
        let mut epoch = Epoch::with_limits(number, errors, alpha);
        epoch.ledger = Ledger::default().with(self.tally, self.keys);
        epoch.evidence = epoch.evidence.with(self.sums);
        epoch
    }
}

/// [`SavedHold`] as JSON has it: without infinite numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct HoldText {
    left_ms: u64,
    max_ratio: f64,
    floor: f64,
    alpha: f64,
    tally: Tally,
    #[serde(default)]
    keys: u64,
    ratio_events: u32,
    ratio_ln_sums: [Option<f64>; 6],
    floor_events: u32,
    floor_ln_sums: [Option<f64>; 4],
}

impl From<SavedHold> for HoldText {
    fn from(hold: SavedHold) -> Self {
        let finite = |ln: f64| ln.is_finite().then_some(ln);
        let ((ratio, ratio_events), (floor, floor_events)) = (hold.sums.ratio.parts(), hold.sums.floor.parts());
        Self {
            left_ms: hold.left_ms,
            max_ratio: hold.limits.0,
            floor: hold.limits.1,
            alpha: hold.limits.2,
            tally: hold.tally,
            keys: hold.keys,
            ratio_events,
            ratio_ln_sums: ratio.map(finite),
            floor_events,
            floor_ln_sums: floor.map(finite),
        }
    }
}

impl TryFrom<HoldText> for SavedHold {
    type Error = &'static str;

    fn try_from(text: HoldText) -> Result<Self, Self::Error> {
        let ln = |sum: Option<f64>| sum.unwrap_or(f64::NEG_INFINITY);
        let ratio = Recurrence::from_parts(text.ratio_ln_sums.map(ln), text.ratio_events);
        let floor = Recurrence::from_parts(text.floor_ln_sums.map(ln), text.floor_events);
        let is_chance = |number: f64| number > 0.0 && number <= 0.5;
        let has_limits = (1.0..=100.0).contains(&text.max_ratio) && is_chance(text.floor) && is_chance(text.alpha);
        match (ratio, floor) {
            (Some(ratio), Some(floor)) if has_limits => Ok(Self {
                left_ms: text.left_ms,
                limits: (text.max_ratio, text.floor, text.alpha),
                tally: text.tally,
                keys: text.keys,
                sums: Sums { ratio, floor },
            }),
            _ => Err("a hold whose sums are not possible"),
        }
    }
}

/// One line of the history: a new generation, or a move of the guard within one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Time of the entry.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// Generation in force; a move of the guard has that of the entry before.
    pub generation: u64,
    /// Cause of the entry.
    pub cause: EntryCause,
    /// Hash of the file.
    pub hash: String,
    /// Percents by route and candidate; empty for a move of the guard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub percents: BTreeMap<String, BTreeMap<String, f64>>,
    /// Move of the guard.
    #[serde(flatten)]
    pub moved: Option<EntryMove>,
}

/// Cause of an entry of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryCause {
    /// The process began.
    Start,
    /// Somebody edited the file.
    Edit,
    /// The command `shift` edited the file, or took its last change back.
    Shift,
    /// The guard moved a candidate; the file is the same.
    Guard,
    /// The command `resume` edited the file.
    Resume,
}

impl EntryCause {
    /// Text in the state file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Edit => "edit",
            Self::Shift => "shift",
            Self::Guard => "guard",
            Self::Resume => "resume",
        }
    }

    /// Tells the cause of a new generation. `before` is the reading in force until then, `None` at start; `last` is the
    /// result of [`crate::config::written_by`] for the file. The same text with another hash is a replaced key, wording
    /// or certificate: an edit.
    pub fn of(before: Option<&Config>, after: &Config, last: Option<&WrittenBy>) -> Self {
        let Some(before) = before else { return Self::Start };
        let is_new_text = before.text_hash != after.text_hash;
        match last.filter(|last| is_new_text && last.hash == after.text_hash) {
            None => Self::Edit,
            Some(WrittenBy { by: Writer::Shift, .. }) => Self::Shift,
            Some(WrittenBy { by: Writer::Resume, .. }) => Self::Resume,
        }
    }
}

/// A move of the guard in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryMove {
    /// Name of the candidate.
    pub candidate: String,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// A sentence with the numbers.
    pub why: String,
}

/// Reason why bytes are not the content of a state file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// More bytes than [`MOST_BYTES`].
    #[error("it is larger than 16 MiB")]
    TooLarge,
    /// Another version.
    #[error("it has version {0}, and this shiftgate reads version {VERSION}")]
    Version(u64),
    /// Not the JSON of a state file.
    #[error("it is not a state file: {0}")]
    Unreadable(String),
}

/// The whole file.
#[derive(Serialize)]
struct Whole<'a> {
    version: u64,
    #[serde(flatten)]
    state: &'a StateFile,
}

/// The part that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl StateFile {
    /// Reads the content of a state file.
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > MOST_BYTES {
            return Err(StateError::TooLarge);
        }
        let unreadable = |error: serde_json::Error| StateError::Unreadable(error.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let mut state: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        state.shorten(HISTORY);
        Ok(state)
    }

    /// Adds an entry to the history.
    pub fn add(&mut self, entry: Entry) {
        self.history.push_back(entry);
        self.shorten(HISTORY);
    }

    /// Returns the content of the file.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        let mut rest = self.clone();
        while bytes.len() > MOST_BYTES && !rest.history.is_empty() {
            rest.shorten(rest.history.len() / 2);
            bytes = rest.to_bytes();
        }
        bytes
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Names, numbers and times always have a JSON form.
        serde_json::to_vec(&Whole { version: VERSION, state: self }).unwrap_or_default()
    }

    fn shorten(&mut self, most: usize) {
        let surplus = self.history.len().saturating_sub(most);
        self.history.drain(..surplus);
    }
}

mod time {
    //! Times as RFC 3339 with milliseconds.

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{time:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
