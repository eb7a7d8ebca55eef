//! A span that a server behind shiftgate exports.

use std::time::SystemTime;

use crate::model::TraceContext;

/// A server's span in the trace of a request from shiftgate.
#[derive(Debug)]
pub struct ServerSpan {
    /// The span that called the server.
    pub parent: TraceContext,
    /// The span's name.
    pub name: &'static str,
    /// Wall clock at which the server began.
    pub began: SystemTime,
    /// Wall clock at which the server ended.
    pub ended: SystemTime,
    /// True if the answer was incomplete.
    pub failed: bool,
    /// Numeric attributes.
    pub attributes: Vec<(&'static str, f64)>,
}
