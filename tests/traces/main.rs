//! Traces as a collector receives them: an in-process receiver, and a real Jaeger if one is installed.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../sidecar/authority.rs"]
mod authority;
mod canaries;
mod check;
mod context;
mod jaeger;
mod kept;
mod logs;
mod outage;
mod pairs;
#[expect(dead_code, reason = "shared with the tests of the running proxy, which need more of it")]
#[path = "../sidecar/process.rs"]
mod process;
mod receiver;
mod secrets;
mod shape;
mod span;
mod statuses;
#[expect(dead_code, reason = "shared with the tests of the running proxy, which need more of it")]
#[path = "../sidecar/support.rs"]
mod support;
mod tls;
mod ways;
