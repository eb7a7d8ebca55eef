//! Small types that every room shares. No I/O, no clocks, no configuration text.

mod cancelled_by;
mod closed;
mod copies;
mod engine;
mod engine_facts;
mod family;
mod fault;
mod glob;
pub(crate) mod header;
mod ids;
mod limit;
mod method;
mod missing_features;
mod percent;
mod reason;
mod secret;
mod text;
mod trace;

pub use cancelled_by::CancelledBy;
pub use copies::{CopyResult, PairResult};
pub use engine::Engine;
pub use engine_facts::{
    ContextLength, EngineFacts, ErrorDialect, FormatBesideTools, Hints, ImageDetail, JsonObjectFormat,
    JsonSchemaFormat, ParallelCalls, Seeds, ThinkingSwitch,
};
pub use family::Family;
pub use fault::Fault;
pub use glob::Glob;
pub use ids::{BackendId, RouteId};
pub use limit::Limit;
pub(crate) use method::{METHODS, OTHER_METHOD, told_method};
pub use missing_features::MissingFeatures;
pub use percent::{Percent, PercentError};
pub use reason::{Cause, End, Pin, Reason, Refusal};
pub use secret::Secret;
pub(crate) use text::prefix;
pub(crate) use trace::trace_state;
pub use trace::{SpanId, TraceContext, TraceId};
