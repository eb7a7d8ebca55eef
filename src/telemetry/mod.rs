//! What is known of requests after the fact: their story, counters, latencies, cost, the outcome line, the log.
//!
//! Owns: numbers and their names, and which requests are traced. Refuses: deciding where a request goes. Invariant: a request adds exactly one outcome.

/// The target of `tracing` spans that are exported as traces.
pub const SPANS: &str = "shiftgate::span";

pub mod cost;
pub mod count;
pub mod histogram;
pub mod log;
pub mod meters;
pub mod metrics;
pub mod outcome;
pub mod stats;
pub mod story;
pub mod tracer;
