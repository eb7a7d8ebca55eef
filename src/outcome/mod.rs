//! Results of legs and requests: facts while they run, one judgement at the end, immutable values afterwards.
//!
//! Owns: the definitions of complete, of blame, of a breaker sample. Does not: do I/O, count, format. Invariant: a leg
//! is judged once, by [`judge()`]; counters, logs and traces read the same [`LegEnd`] and [`Outcome`].

mod clock;
mod conn_use;
mod judge;
mod labels;
mod leg;
mod pair;
mod params;
mod request;
mod trail;

pub use clock::{Clock, WaitedTime};
pub use conn_use::ConnUse;
pub use judge::{Blame, Ending, Miss, MissKind, OtherAnswer, Verdict, judge};
pub use labels::{BackendLabels, LegKind, Role};
pub use leg::{Attempt, LegEnd};
pub use pair::{Comparison, Pair, Score};
pub use params::Params;
pub use request::{Decided, Outcome, Overhead, Restricted};
pub use trail::Trail;
