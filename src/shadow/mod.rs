//! Shadows: copies of served requests to other backends, whose answers are compared and never served.
//!
//! Owns: who is copied, how a copy is sent, its budget, the pairs of answers, the verdict on them since the start. Does not: choose who serves, judge, compare
//! (see `compare`), write files (see `records`). Invariants: the served path hands over bytes and never waits; a copy
//! shares no connection, permit, breaker or counter with served requests; memory is bounded by `shadow.max_bytes`.

mod body;
mod budget;
mod capture;
mod compared;
mod counted;
mod finish;
mod follow;
mod instance;
mod leg;
mod offer;
mod pair;
mod record;
mod served;
mod shadows;
mod shared;
mod targets;
mod verdicts;

pub use served::ServedCopy;
pub use shadows::Shadows;
pub use verdicts::RouteVerdict;
