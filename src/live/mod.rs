//! The snapshot in force: how it is made, published and replaced, and how a change of the file is noticed.
//!
//! Owns: the one swap. Does not: handle requests. Invariant: a request keeps one snapshot to its end.

mod in_force;
mod shutdown;
mod snapshot;
mod store;
mod targets;
pub(crate) mod watch;

pub use in_force::{Admission, InForce};
pub use shutdown::Shutdown;
pub use snapshot::Snapshot;
pub use store::{LoadError, ReloadError, Source, Store};
pub use targets::RouteHandle;
