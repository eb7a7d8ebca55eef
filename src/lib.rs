//! shiftgate: a sidecar that shifts an application's LLM traffic from OpenAI to Qwen, one percent at a time.
//!
//! Ranked aims, to settle arguments in advance:
//! 1. the application's answer is never made worse by the experiment;
//! 2. bytes pass unchanged unless a named rewrite changes them;
//! 3. every request yields exactly one outcome;
//! 4. low and measured overhead;
//! 5. small enough to read in an afternoon.
//!
//! The rooms, in the order in which they may import each other (a room sees only those above it;
//! `tests/architecture` keeps it so):
//!
//! | room | owns |
//! |---|---|
//! | [`model`] | the vocabulary: engines, percents, reasons, secrets |
//! | [`config`] | text of rollout.toml → a validated [`config::Config`], or every problem at once |
//! | [`wire`] | OpenAI's format as bytes: endpoints, the scan of a body, the splice, SSE, error bodies |
//! | [`translate`] | the pure translation: a request for each engine, its answer made OpenAI's, the ledger |
//! | [`choose`] | the pure decision: hash, intervals, keys, pins |
//! | [`health`] | a candidate's breaker and cool-down, the budget of failovers |
//! | [`telemetry`] | a request's story, counters, histograms, logs, which requests are traced |
//! | [`backend`] | connections to backends: TCP, TLS, proxies, pools, deadlines, headers |
//! | [`fleet`] | what backends say of themselves, asked off the request path: load, context, the probe |
//! | [`live`] | the snapshot in force, how it is built, published and watched |
//! | [`proxy`] | the path of a request, from the listener to the last byte of the answer |
//! | [`admin`] | `/healthz`, `/readyz`, `/status`, `/metrics` |
//! | [`otlp`] | spans on their way to a collector, the `OTEL_*` variables |
//! | [`app`] | the composition root: binds, spawns, drains |
//! | [`sim`] | simulated servers, one for each engine (imports nothing of the others) |
//! | [`demo`] | traffic through the real proxy against [`sim`], and the live table |
//! | [`cli`] | arguments, commands, exit codes |
//!
//! The journey of one request: [`proxy`] takes a permit and one snapshot, reads the body up to its cap, [`wire`]
//! scans it, [`choose`] decides, [`health`] may send it to the baseline, [`wire`] splices the model name, [`backend`]
//! sends, and the answer's body carries permits, deadlines and the outcome to its last byte. A candidate that fails
//! before its first content is followed by the baseline. At the end its story is told once: to the counters, the log, the
//! metrics and, where it is traced, to [`otlp`].

pub(crate) mod admin;
pub mod api;
pub(crate) mod app;
pub(crate) mod backend;
pub(crate) mod choose;
pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod exchange;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod live;
pub(crate) mod model;
#[cfg_attr(not(feature = "otlp"), path = "otlp/absent.rs")]
pub(crate) mod otlp;
pub(crate) mod outcome;
pub(crate) mod proxy;
pub(crate) mod sim;
pub(crate) mod stats;
pub(crate) mod telemetry;
pub(crate) mod translate;
pub(crate) mod wire;
