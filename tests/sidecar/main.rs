//! The running sidecar, through its real listeners, against simulated backends.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod accounts;
mod authority;
mod candidate;
mod command;
mod deadlines;
mod defects;
mod early;
mod endings;
mod engines;
mod exposition;
mod failover;
mod fleet;
mod guard;
mod h2;
mod help;
mod hostile;
mod injection;
mod life;
mod manager;
mod metrics;
mod model_ends;
mod passing;
mod process;
mod proxy;
mod reach;
mod refusals;
mod reload;
mod residency;
mod residency_wire;
mod shadow;
mod shares;
mod speed;
mod streams;
mod support;
mod translation;
mod wording;
