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
mod items;
mod json;
mod logprobs;
mod notes;
mod pass;
mod read;
mod repair;
mod responses;
mod stream;
mod told;
mod usage;
mod whole;

pub use backend_error::{BackendError, refusal};
pub use notes::{Note, Notes};
pub use stream::{Ending, Stream};
pub use whole::{Unusable, Whole, whole};

/// What the proxy sends while a thought is kept back; SDKs skip it.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Longer ids of a backend are not passed on.
const MAX_ID: usize = 128;

/// What one answer is named after where its server gave no name.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    /// Different for every answer.
    pub seed: u128,
    /// Now, in seconds since 1970.
    pub created: i64,
}

impl Ids {
    /// The id of an answer of chat: the server's own as far as it can be told apart by it.
    fn chat(&self, own: Option<&str>) -> String {
        match own.filter(|own| is_plain_id(own)) {
            Some(own) if own.starts_with("chatcmpl-") => own.to_owned(),
            Some(own) => format!("chatcmpl-{own}"),
            None => format!("chatcmpl-{:032x}", self.seed),
        }
    }
}

fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain)
}
