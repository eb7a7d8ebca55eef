//! The guard of a candidate: what its failures prove, and what follows.
//!
//! Owns: trials and counted failures, the two tests, the states of a candidate and the ways between them, the words for
//! people, the content of the state file. Does not: read clocks, do I/O, choose a backend, write the file, tell anybody;
//! it returns what to do. Invariant: a withdrawal ends by the ways that [`Lift`] names and by no other; the evidence is
//! a number from 0 to 10^300, whatever comes; everything it keeps has a bound.
//!
//! One value of [`Guard`] for each candidate, one of [`BaselineHealth`] and [`Waiting`] for the process. Sources of the
//! statistics: `recurrence.rs`, `evidence.rs`; `tests/sdk/guard_ref.py` is an independent reference.

mod baseline;
mod bloom;
mod breaker;
mod counted;
mod epoch;
mod evidence;
mod file;
mod keys;
mod machine;
mod moves;
mod needs;
mod recurrence;
mod saved;
mod table;
mod waiting;
mod words;

pub use baseline::BaselineHealth;
pub use breaker::BreakerChange;
pub(crate) use counted::Rates;
pub use counted::{Ended, Ledger, OtherSide, Side, Sides, Tally, Trial};
pub use evidence::{Event, Evidence, Sums, Weight};
pub use file::{FileFacts, Identity};
pub use machine::{Guard, HOLD, Reloaded, Report};
pub use moves::{Cause, Lift, Move, MoveKind, Now, State};
pub use needs::{MULTIPLE, Outlook, Verdict, needs};
pub use recurrence::{LN_MOST, Recurrence};
pub use saved::{Entry, EntryCause, EntryMove, HISTORY, MOST_BYTES, Saved, SavedHold, StateError, StateFile};
pub use table::table;
pub use waiting::{Ticket, Waiting};
