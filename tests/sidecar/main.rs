//! The running sidecar, through its real listeners, against simulated backends.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod authority;
mod candidate;
mod command;
mod exposition;
mod failover;
mod fleet;
mod h2;
mod hostile;
mod life;
mod metrics;
mod passing;
mod process;
mod proxy;
mod reach;
#[expect(dead_code, reason = "shared with the tests of traces, which need more of it")]
#[path = "../traces/receiver.rs"]
mod receiver;
mod reload;
mod secrets;
#[expect(dead_code, reason = "shared with the tests of traces, which need more of it")]
#[path = "../traces/span.rs"]
mod span;
mod streams;
mod support;
mod translation;
