//! How legs and requests went: facts while they run, one judgement at the end, immutable values afterwards.
//!
//! Owns: the definition of complete, of blame, of a breaker's sample. Refuses: I/O, counting, formats. Invariant: a leg
//! is judged once, by [`judge`], and whoever counts, logs or traces reads the same [`LegEnd`] and [`Outcome`].

mod clock;
mod judge;
mod labels;
mod leg;
mod params;
mod request;
mod trail;

pub use clock::{Clock, OwnTime};
pub use judge::{Blame, Ending, Miss, MissKind, OtherAnswer, Verdict, judge};
pub use labels::{BackendLabels, LegKind, Role};
pub use leg::{Attempt, LegEnd};
pub use params::Params;
pub use request::{Decided, Outcome, Overhead};
pub use trail::Trail;
