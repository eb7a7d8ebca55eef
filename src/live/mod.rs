//! The snapshot in force: how it is made of a reading, published, replaced, and how a save is noticed.
//!
//! Owns: the one swap. Refuses: requests. Invariant: whoever holds a snapshot keeps it whole.

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
