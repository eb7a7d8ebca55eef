//! Listeners to outcomes: counters, meters, the request log line, the tracer; and the `/metrics` page.
//!
//! Owns: numbers' names, the log's format, which requests are traced. Refuses: judging, deciding where a request goes.
//! Invariant: a request adds exactly one outcome, and every listener reads the same one.

pub mod cost;
mod counters;
pub mod log;
mod log_line;
pub mod meters;

pub mod server_span;
mod sinks;
mod spans;
pub mod tracer;

pub use sinks::Sinks;
pub use spans::SPANS;
