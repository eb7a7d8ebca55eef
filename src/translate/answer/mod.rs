//! Translation of a backend's answer into OpenAI's: ids, names, fields, framing, errors.
//!
//! Owns: the answer's side of the translation. Refuses: clocks, randomness, waiting; times and ids are passed in.
//! Invariant: the result has OpenAI's fields and no others, however the answer was cut into chunks, and translating it
//! again does not change it.

mod backend_error;
mod calls;
mod chat;
mod completions;
mod event;
mod filter;
mod finish;
mod ids;
mod items;
mod json;
mod logprobs;
mod notes;
mod pass;
mod progress;
mod pydantic;
mod read;
mod repair;
mod responses;
mod responses_event;
mod responses_whole;
mod responses_writer;
mod stream;
mod usage;
mod whole;
mod whole_answer;

pub use backend_error::{BackendError, refusal};
pub use ids::Ids;
pub use notes::{Note, Notes};
pub(crate) use stream::KEEP_ALIVE;
pub use stream::{Ending, Stream};
pub use whole::whole;
pub use whole_answer::{Unusable, Whole};
