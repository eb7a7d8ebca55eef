//! The admin port: `/healthz`, `/readyz`, `/metrics`, `/status`. All are GETs that change nothing.
//!
//! Owns: the view of the running process, and the names of metrics. Does not: touch the data path. Invariant: no secret
//! and no sticky key is shown.

mod copies;
mod guards;
pub(crate) mod metrics;
mod server;
pub(crate) mod status;
mod view;

pub(crate) use copies::{AgreementStatus, CopiesStatus, ShadowStatus, VerdictStatus};
pub(crate) use server::Admin;
pub use view::{BackendView, PercentView, RouteView, View};
