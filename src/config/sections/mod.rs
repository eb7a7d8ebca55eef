//! Reads every section but `[backend.X]`.

pub(super) mod guard;
mod matcher;
mod names;
pub(super) mod records;
pub(super) mod residency;
pub(super) mod rollout;
pub(super) mod route;
pub(super) mod server;
pub(super) mod shadow;
pub(super) mod telemetry;
