//! Who serves a request: a pure function of the file, the request and, where there is no key, one drawn number.
//!
//! Owns: the hash, the intervals, the key chain, the order of decision. Refuses: clocks, I/O, configuration text.
//! Invariant: raising a candidate's percent only moves keys to it; two sidecars with one file agree on every key.

mod assign;
mod decide;
mod key;

pub use assign::{Intervals, Moved, Purpose, Salt, UNITS, unit};
pub use decide::{Body, Decision, Known, Request, Tables, UnknownBackend, decide};
pub use key::{Key, find as find_key};
