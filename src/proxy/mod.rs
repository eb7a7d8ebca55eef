//! The path of a request: from the listener to the last byte of the answer.
//!
//! Owns: connections of applications, the order of the steps, shiftgate's own answers. Does not: choose, judge or
//! count; each step is a call into the room that does. Invariant: a request uses one snapshot, and has exactly one
//! outcome however it ends.

mod answer;
mod client_io;
mod connection;
mod early;
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
