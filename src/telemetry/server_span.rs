//! A span that a server behind shiftgate would export.

use std::time::SystemTime;

use crate::model::TraceContext;

/// A server's part in the trace of a request that it got from shiftgate.
#[derive(Debug)]
pub struct ServerSpan {
    /// The span that the server was called in.
    pub parent: TraceContext,
    /// The span's name.
    pub name: &'static str,
    /// When the server began.
    pub began: SystemTime,
    /// When the server ended.
    pub ended: SystemTime,
    /// True if the answer was not whole.
    pub failed: bool,
    /// Numbers about it.
    pub attributes: Vec<(&'static str, f64)>,
}
