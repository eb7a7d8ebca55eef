//! A request of OpenAI's API made into one that another engine serves, and that engine's answer made into OpenAI's.
//!
//! Owns: what differs between engines. Refuses: I/O, clocks, randomness; ids and times are handed in. Invariant: a
//! request that needs no rule keeps its bytes, and whatever is changed stands in the [`Ledger`].

pub mod answer;
mod ids;
mod ledger;
mod wants;

pub use ids::{Owner, call_id, owner_of_call, owner_of_response, response_id};
pub use ledger::{Action, Ledger, Step};
pub use wants::{Kind, Wants};
