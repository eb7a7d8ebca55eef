//! The path of a request: from the listener to the last byte of the answer.
//!
//! Owns: the order of the steps. Refuses: policy of its own; every step is a call into the room that knows.
//! Invariant: a request uses one snapshot, and yields exactly one outcome however it ends.

mod answer;
mod asked;
mod attempt;
mod deadlines;
mod handler;
mod intake;
mod listener;
mod record;
mod respond;
mod tunnel;

use std::sync::{Arc, Mutex};

pub use listener::{BindError, Listener};

use crate::health::Budget;
use crate::live::{Life, Store};
use crate::telemetry::stats::Stats;

/// What every connection shares.
#[derive(Debug)]
pub struct Proxy {
    pub store: Arc<Store>,
    pub stats: Arc<Stats>,
    pub life: Arc<Life>,
    /// Of the whole process, whatever the file becomes.
    pub budget: Mutex<Budget>,
}
