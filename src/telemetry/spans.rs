//! The spans that the process makes of itself through `tracing`.

/// The target of `tracing` spans that are exported as traces.
pub(crate) const SPANS: &str = "shiftgate::span";
