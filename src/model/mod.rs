//! Small types that every room shares. No I/O, no clocks, no configuration text.

mod engine;
mod fault;
mod glob;
pub mod header;
mod ids;
mod method;
mod missing_features;
mod percent;
mod reason;
mod secret;
mod text;
mod trace;

pub use engine::{Engine, Family};
pub use fault::Fault;
pub use glob::Glob;
pub use ids::{BackendId, RouteId};
pub use method::{METHODS, OTHER_METHOD, told_method};
pub use missing_features::MissingFeatures;
pub use percent::{Percent, PercentError};
pub use reason::{Cause, End, Pin, Reason, Refusal};
pub use secret::Secret;
pub use text::prefix;
pub use trace::{SpanId, TraceContext, TraceId};
