//! The choice of a backend: a pure function of the file, the shares in force, the request and, for a request without a
//! key, one random number.
//!
//! Owns: the hash, the intervals, the key chain, residency, the order of decision, availability and fallback. Does not: read
//! clocks, do I/O, parse configuration. Invariants: with up to two candidates, raising a percent only moves keys to it; two sidecars
//! with one file agree on every key; a [`Choice`] names only backends that may see the request.

mod assign;
mod choice;
mod eligible;
mod key;
mod matching;
mod order;
mod place;
mod refused;
mod request;
mod sample;
mod shares;

pub use assign::{Intervals, Moved, Purpose, Salt, Salts, UNITS, unit};
pub(crate) use choice::copy;
pub use choice::{Choice, Instead, choose, instead};
pub use eligible::Eligible;
pub use key::{Key, find as find_key};
pub use order::Drawn;
pub use refused::{Lack, NotChosen, Refused};
pub use request::{Availability, Body, Facts, FileOnly, Known, Request};
pub use sample::Sample;
pub use shares::Shares;
