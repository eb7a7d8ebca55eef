//! The numbers behind `/status` and `/metrics`: one set per backend, per route and for the process, kept across
//! reloads.
//!
//! Owns: counters, levels with their permits, histograms. Does not: decide when to count. Bound: entries exist for
//! names of the file only; names that left the file are removed above `names::MAX_NAMES`.

mod backend;
mod count;
mod gauge;
mod histogram;
mod names;
mod process;
mod route;
mod rule;
mod shadow;

pub use backend::{BackendStats, Lifetimes};
pub(crate) use count::lock;
pub use count::{Count, Latency};
pub use gauge::{Gauge, Permit};
pub use histogram::{Exemplar, View};
pub(crate) use histogram::{HTTP_BOUNDS, Histogram, Traced};
pub use process::{RecordStats, Reloads, Stats, TelemetryStats};
pub use route::{RouteStats, ShareResults, ShareStats, Signals};
pub use rule::{Placement, RuleStats};
pub use shadow::{KindStats, NoiseStats, PairingStats, ShadowStats, Spent};
