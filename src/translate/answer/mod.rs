//! A backend's answer made into the one that OpenAI would have given: ids, names, fields, framing, errors.
//!
//! Owns: the answer's side of the translation. Refuses: clocks, randomness, waiting; times and ids are handed in.
//! Invariant: what leaves has OpenAI's fields and no others, however the answer was cut on its way, and an answer that
//! went through once is not changed by going through again.

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
mod read;
mod repair;
mod responses;
mod responses_event;
mod stream;
mod usage;
mod whole;
mod whole_answer;

pub use backend_error::{BackendError, refusal};
pub use ids::Ids;
pub use notes::{Note, Notes};
pub use stream::{Ending, KEEP_ALIVE, Stream};
pub use whole::whole;
pub use whole_answer::{Unusable, Whole};
