//! Comparison of two answers to one request, in numbers that need no judge.
//!
//! Owns: the reading of answers and requests for it, the scores and the reasons of those that are null. Does not: I/O,
//! clocks, logging, verdicts. Invariant: a score is a value or null with a reason, never 0 for unknown; no input makes
//! it panic; its work is bounded by [`caps`].
//!
//! `tests/data/agreement_ref.py` defines the agreement; `tests/compare.rs` compares with its vectors.

mod agreement;
mod answer;
mod asked;
mod caps;
mod chrf;
mod document;
mod hint;
mod json;
mod json_score;
mod leg;
mod pair;
mod read;
mod row;
mod schema_cost;
mod schemas;
mod scores;
mod script;
mod side;
mod sizes;
mod text;
mod tools;
mod vocabulary;

pub use agreement::Score;
pub use answer::{Answer, Call};
pub use asked::{Asked, AskedSchema, Format};
pub use leg::{LegScores, leg};
pub use pair::pair;
pub use read::Reading;
pub use row::Value;
pub use schemas::Schemas;
pub use scores::Scores;
pub use side::Side;
pub use sizes::Sizes;
pub use vocabulary::{Kind, LegOutcome, Mode, NullReason};
