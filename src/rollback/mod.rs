//! The guard at work: requests become trials, and its moves become shares, log lines, messages and a file.
//!
//! Owns: the guard of each candidate, the trials under way, the history, the state file, the messages. Does not: decide
//! (see `guard`), choose backends (see `choose`), serve. Invariants: a withdrawal is in force before anybody is told of
//! it; no request waits for the file or for a message; without `[guard]` a request costs one load.

mod disk;
mod ends;
mod entry;
mod guards;
mod history;
mod inside;
mod log;
mod message;
mod notify;
mod rules;
mod seen;
mod trial;

pub use guards::Guards;
pub use seen::{CandidateGuard, FaultCount, GuardSeen};
pub use trial::Watched;
