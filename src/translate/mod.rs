//! A request of OpenAI's API made into one that another engine serves, and that engine's answer made into OpenAI's.
//!
//! Owns: what differs between engines. Refuses: I/O, clocks, randomness; ids and times are handed in. Invariant: a
//! request that needs no rule keeps its bytes, and whatever is changed stands in the [`Ledger`].
//!
//! A new field is a row of `table`, a new engine a column there; what takes more than a letter is in the module that
//! the row names.

pub mod answer;
mod answer_spec;
mod draft;
mod error;
mod features;
mod field_id;
mod format;
mod ids;
mod input;
mod ledger;
mod messages;
mod openai;
mod parts;
mod request;
mod responses;
mod rewrite;
mod sampling;
mod schema;
mod table;
mod thinking;
mod thinking_plan;
mod tokens;
mod tools;

pub use answer_spec::{AnswerSpec, Kind};
pub use error::{Pinned, TranslateError};
pub use features::{needs, pin};
pub use field_id::FieldId;
pub use ids::{Owner, call_id, owner_of_call, owner_of_response, response_id};
pub use input::TranslateInput;
pub use ledger::{Action, Ledger, Step};
pub use request::{Translated, pin_exactly, request};
