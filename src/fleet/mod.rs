//! What backends say of themselves, asked off the request path: their load, the length of their context, what works.
//!
//! Owns: polls of metrics pages, the question for models, the conformance probe. Refuses: requests of applications.
//! Invariant: nothing here holds a request up; each answer is bounded in time and bytes, and each backend has one task.

mod exchange;
mod follow;
mod intervals;
mod learn;
mod length;
mod pause;
mod poll;
pub(crate) mod probe;
mod prometheus;
mod signals;

pub(crate) use follow::BackendMonitor;
pub use intervals::PollIntervals;
