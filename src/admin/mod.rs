//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/status`. Everything is a GET; nothing here changes anything.
//!
//! Owns: what is told of the running process, and the names of metrics. Refuses: the data path. Invariant: no secret and no
//! key is shown.

pub(crate) mod metrics;
mod server;
pub(crate) mod status;
mod view;

pub(crate) use server::Admin;
pub use view::{BackendView, PercentView, RouteView, View};
