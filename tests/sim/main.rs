//! The simulated servers compared with recorded answers of real ones to the same requests: status, type, fields, nulls,
//! framing, refusals. Words, ids, counts and times may differ.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod compare;
mod modes;
mod recorded;
