//! The path of a request: from the listener to the last byte of the answer.
//!
//! Owns: connections of applications, the order of the steps, answers of our own. Refuses: choosing, judging, counting;
//! every step is a call into the room that knows. Invariant: a request uses one snapshot, and yields exactly one outcome
//! however it ends.

mod answer;
mod client_io;
mod connection;
mod handler;
mod intake;
mod listener;
mod progress;
mod respond;
mod shared;
mod tunnel;

pub use client_io::ClientTimeouts;
pub(crate) use listener::tcp_of;
pub use listener::{BindError, Inherited, Listener};
pub use shared::Proxy;
