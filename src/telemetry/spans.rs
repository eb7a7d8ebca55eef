//! Spans of the process itself, made through `tracing`.

/// The target of `tracing` spans that are exported as traces.
pub(crate) const SPANS: &str = "shiftgate::span";
