//! Listeners to outcomes: counters, meters, the request log line, the tracer; and the `/metrics` page.
//!
//! Owns: numbers' names, the log's format, which requests are traced. Refuses: judging, deciding where a request goes.
//! Invariant: a request adds exactly one outcome, and every listener reads the same one.

pub(crate) mod cost;
mod counters;
pub(crate) mod log;
mod log_line;
pub(crate) mod meters;

pub(crate) mod server_span;
mod sinks;
mod spans;
pub(crate) mod tracer;

pub use sinks::Sinks;
pub(crate) use spans::SPANS;
