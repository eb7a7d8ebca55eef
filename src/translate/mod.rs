//! Translation of OpenAI requests for other engines, and of the engines' answers into OpenAI's.
//!
//! Owns: the differences between engines in requests and answers. Refuses: I/O, clocks, randomness; ids and times are
//! passed in. Invariant: a request that needs no rule keeps its bytes, and every change stands in the [`Ledger`].
//!
//! A new field is a row of `table`. A new engine is a column there and a constant in `model::engine`. Rules that need
//! more than a letter are in the module that the row names.

pub(crate) mod answer;
mod answer_spec;
mod draft;
mod error;
mod features;
mod field_id;
mod format;
mod ids;
mod input;
mod json;
mod ledger;
mod messages;
mod openai;
mod parts;
mod prompt_size;
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
mod wording;

pub use answer_spec::{AnswerSpec, Kind};
pub use error::{Pinned, TranslateError};
pub(crate) use features::needs;
pub use field_id::FieldId;
pub use ids::{Owner, call_id, owner_of_call, owner_of_response, response_id};
pub use input::TranslateInput;
pub use ledger::{Action, Ledger, Step};
pub use request::{Translated, pin_exactly, request};
