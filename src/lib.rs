//! shiftgate: a sidecar that shifts an application's LLM traffic from OpenAI to Qwen, one percent at a time.
//!
//! Aims, by rank; when two of them conflict, the earlier one wins:
//! 1. the application's answer is never made worse by the experiment;
//! 2. bytes pass unchanged unless a named rewrite changes them;
//! 3. every request yields exactly one outcome;
//! 4. the overhead is low and measured;
//! 5. the code is divided into rooms that can be read one at a time.
//!
//! # Rooms
//!
//! A room is a top-level module. A room imports only from rows above its own, except that [`demo`] imports [`sim`];
//! `tests/architecture/main.rs` checks it. The `mod.rs` of a room says what it owns and what it refuses to do.
//!
//! | room | owns |
//! |---|---|
//! | [`model`] | the shared vocabulary: engines and their facts, percents, reasons, ids, secrets |
//! | [`config`] | rollout.toml: its text becomes a validated [`config::Config`], or a list of every problem |
//! | [`wire`] | OpenAI's format as bytes: endpoints, the scan of a body, SSE, error bodies, framing |
//! | [`translate`] | the pure translation of requests for each engine and of answers to OpenAI's form; the ledger |
//! | [`compare`] | the pure comparison of two answers: agreement, scores, the reasons of nulls |
//! | [`guard`] | pure tests of a candidate's failures, and the states that follow: watching, held, rolled back |
//! | [`choose`] | the pure choice of a backend: hash, intervals, keys, pins, availability, fallback |
//! | [`health`] | breaker, cool-down and load of a candidate; the retry budget |
//! | [`stats`] | counters, gauges with their permits, histograms; kept across reloads |
//! | [`outcome`] | facts of a running leg, the one judgement at its end, the immutable outcome of a request |
//! | [`records`] | the file of pairs and counts: its lines, its writer |
//! | [`report`] | lines of records become figures, intervals and a verdict |
//! | [`telemetry`] | listeners to outcomes: counters, meters, the log line, the tracer |
//! | [`backend`] | connections to backends: TCP, TLS, proxies, pools, headers |
//! | [`exchange`] | one request to one backend, without a client: plan, send, hold, pull |
//! | [`live`] | the state in force: built from the file, published, replaced; the file watcher |
//! | [`fleet`] | polls of backends off the request path: load, context length, deadlines of models, the probe |
//! | [`rollback`] | the guards at work: trials under way, withdrawals, the history, the state file, messages |
//! | [`shadow`] | copies of requests: who is copied, budget, sending, pairs of answers |
//! | [`proxy`] | the application's connections and the order of a request's steps |
//! | [`admin`] | `/healthz`, `/readyz`, `/status`, `/metrics`, and the view behind them |
//! | [`otlp`] | export of spans to a collector, the `OTEL_*` variables |
//! | [`app`] | the composition root: binds, spawns, drains |
//! | [`demo`] | generated traffic through the real proxy to [`sim`], and the live table |
//! | [`cli`] | arguments, commands, exit codes |
//! | [`sim`] | one simulated server for each engine; imports no other room |
//!
//! # The journey of one request
//!
//! `proxy/handler.rs` shows it on one screen.
//!
//! 1. **Intake** (`proxy/intake.rs`): the request takes the state in force ([`live::InForce`]) once and keeps it to the
//!    end. Its head is checked, a permit is taken, and the body is read up to `max_body`; a larger one streams on
//!    unread. The result is an immutable [`exchange::Inbound`], whose body [`wire`] has scanned.
//! 2. **Choose** (`choose/choice.rs`, [`choose::choose`]): override, owner of server-side state, pin, owner of a tool
//!    call, split; then residency (`choose/place.rs`); then the candidate's availability. The result, a [`choose::Choice`], is the only way to a backend's
//!    handle.
//! 3. **Plan** (`exchange/plan.rs`): [`translate`] makes the body for that engine. If this shows that the backend
//!    cannot serve the request, [`choose::instead`] names another one. For an OpenAI baseline the bytes stay as they came.
//! 4. **Open** (`exchange/open.rs`): [`backend`] sends it, and once more if a pooled connection had died. A candidate's
//!    answer is held until its first content.
//! 5. **Instead**: if the candidate failed before that, `may_fail_over` in the handler asks [`choose::instead`] and the
//!    retry budget; then the baseline's leg is planned and opened. This happens at most once.
//! 6. **Relay** (`proxy/answer.rs`, `exchange/stream.rs`): pulls the answer, translated back, to its last byte. The
//!    body carries the permits and the deadlines.
//! 7. **Outcome** (`outcome/judge.rs`): however a leg ends, it is judged once: complete or not, whose fault, a breaker
//!    sample or not. All legs together are one [`outcome::Outcome`].
//! 8. **Copies**: a request that was drawn for a shadow was offered to [`shadow`] when its first leg was sent; at its end
//!    the outcome and the bytes that the application got are handed over, to be compared with the copy's answer.
//! 9. **Guard** (`rollback/guards.rs`): a request that the split decided is a trial; its end, or its age, may withdraw a
//!    candidate.
//! 10. **Sinks** (`telemetry/sinks.rs`): counters, log line, meters and the tracer, which queues for [`otlp`], read it.
//!
//! # Where to change it
//!
//! | to change | start in |
//! |---|---|
//! | the order of decision, a pin | `choose/order.rs`; pins by feature in `translate/features.rs` |
//! | the meaning of a percent | `choose/assign.rs` (key to unit, unit to backend), `choose/shares.rs` (percents in force) |
//! | who is copied, and why a copy is not sent | `shadow/shadows.rs` (on the request's path), `shadow/leg.rs` (`prepare`), `choose/sample.rs` (the draw) |
//! | a score of two answers | `compare`, with `tests/data/agreement_ref.py` |
//! | a field of the records | `shadow/record.rs`, `records/counts.rs` |
//! | which backends may see a request (residency) | `choose/eligible.rs`; where it goes instead: `choose/place.rs`; the error: `choose/refused.rs` |
//! | a timeout of a backend, the client's deadline | `exchange/deadlines.rs`; defaults: `config/backend/limits.rs` |
//! | the status or text of shiftgate's own errors | `proxy/respond.rs` |
//! | the failover rule | `choose/choice.rs` (`instead`), `proxy/handler.rs` (`may_fail_over`), `exchange/leg_error.rs` (`cause`) |
//! | whether a failure counts, and against whom | `outcome/judge.rs` |
//! | when a candidate is withdrawn, and what lifts it | `guard/machine.rs`; the tests: `guard/evidence.rs`; what counts: `guard/counted.rs` |
//! | a field's translation for an engine | its row in `translate/table.rs`, then the module that the row names |
//! | an answer's translation | `translate/answer` |
//! | an engine's limit or ability | `model/engine.rs` |
//! | a metric's name or help text, an attribute's name | `telemetry/names.rs` |
//! | a metric's series and labels | `admin/metrics`; of `gen_ai_*` and `http_server_*`: `telemetry/meters.rs`, values of labels `telemetry/meters/labels.rs` |
//! | when a number counts | `telemetry/counters.rs`, `telemetry/meters.rs` |
//! | a header to a backend | `backend/headers.rs` |
//! | a key of rollout.toml | `config/types`, then `config/backend` or `config/sections` |

#![warn(missing_docs, clippy::missing_docs_in_private_items)]

pub(crate) mod admin;
pub mod api;
pub(crate) mod app;
pub(crate) mod backend;
pub(crate) mod choose;
pub(crate) mod cli;
pub(crate) mod compare;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod exchange;
pub(crate) mod fleet;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod live;
pub(crate) mod model;
#[cfg_attr(not(feature = "otlp"), path = "otlp/absent.rs")]
pub(crate) mod otlp;
pub(crate) mod outcome;
pub(crate) mod proxy;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod rollback;
pub(crate) mod shadow;
pub(crate) mod sim;
pub(crate) mod stats;
pub(crate) mod telemetry;
pub(crate) mod translate;
pub(crate) mod wire;
