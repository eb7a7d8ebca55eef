//! Listeners to outcomes: counters, meters, the request log line, the tracer.
//!
//! Owns: names of measurements, the log's format, the choice of traced requests. Does not: judge, choose backends.
//! Invariant: a request reports exactly one outcome, and every listener reads the same one.

pub(crate) mod cost;
mod counters;
pub(crate) mod log;
mod log_line;
pub(crate) mod meters;
pub(crate) mod names;
pub(crate) mod server_span;
mod sinks;
mod spans;
pub(crate) mod tracer;

pub use sinks::Sinks;
pub(crate) use spans::SPANS;
pub(crate) use tracer::Tracer;
