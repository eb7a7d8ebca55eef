//! The guard: how often it errs and how long it takes, the ways between its states, and an independent reference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod machine;
mod property;
mod reference;
mod simulation;
mod state;
mod support;
mod words;
