//! Requests to backends off the request path: load, context length, deadlines of models, working features.
//!
//! Owns: polls of metrics pages, the lists of models, the conformance probe. Does not: serve applications.
//! Invariant: nothing here delays a request; each answer is limited in time and bytes, and each backend has one task.

mod deadlines;
mod exchange;
mod follow;
mod intervals;
mod learn;
mod length;
mod pause;
mod poll;
mod prefix;
pub(crate) mod probe;
mod prometheus;
mod rate;
mod signals;

pub(crate) use follow::BackendMonitor;
pub use intervals::PollIntervals;
