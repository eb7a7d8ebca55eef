//! Writes one log line per request, and a warning if a backend needs attention.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use tracing::Value;

use super::log;
use super::spans::SPANS;
use crate::model::Reason;
use crate::outcome::{Blame, LegEnd, Outcome};

/// The target of request lines, for `RUST_LOG`.
const TARGET: &str = "shiftgate::request";

/// Warns of an opened breaker, and once of a misconfigured backend. `trace_id` is the request's.
pub(super) fn leg_ended(leg: &LegEnd, trace_id: &str) {
    let backend = leg.backend.name.as_str();
    if leg.verdict.blame == Some(Blame::Configuration) && leg.stats.misconfigured.get() == 0 {
        tracing::warn!(backend, trace_id, "backend rejected the API key, model or path: check [backend.{backend}]");
    }
    if leg.opened_breaker {
        tracing::warn!(
            backend,
            trace_id,
            "breaker opened: the baseline serves this backend's requests until a probe succeeds"
        );
        tracing::info_span!(target: SPANS, "shiftgate.breaker_open", shiftgate.backend = backend);
    }
}

/// Writes the outcome line: as JSON straight to the log's writer, or through `tracing` if the log is human-readable or
/// an embedder's own.
pub(super) fn ended(outcome: &Outcome) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    match log::json_writer() {
        Some(mut writer) => LINE.with_borrow_mut(|line| {
            line.clear();
            write_json(line, outcome);
            // The writer drops and counts lines above its limit.
            drop(writer.write_all(line));
        }),
        None => event(outcome),
    }
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Fields of the line, in their order.
struct Fields<'o> {
    route: Option<&'o str>,
    backend: Option<&'o str>,
    reason: Option<&'static str>,
    residency: Option<&'o str>,
    status: Option<u16>,
    attempts: usize,
    ttft_ms: Option<f64>,
    total_ms: f64,
    overhead_us: u64,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl<'o> Fields<'o> {
    fn of(outcome: &'o Outcome) -> Self {
        let usage = outcome.answered_by().and_then(|leg| leg.facts.usage);
        let overhead = outcome.overhead.first_byte.unwrap_or(outcome.overhead.total);
        Self {
            route: outcome.decided.as_ref().map(|decided| decided.route.name.as_str()),
            backend: outcome.backend.as_ref().map(|backend| backend.name.as_str()),
            reason: outcome.reason.map(Reason::as_str),
            residency: outcome.residency.as_ref().map(|by| by.names.as_str()),
            status: outcome.status,
            attempts: outcome.attempts().count(),
            ttft_ms: outcome.first_token_after().map(millis),
            total_ms: millis(outcome.total()),
            overhead_us: u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX),
            input_tokens: usage.map(|usage| usage.input),
            cached_input_tokens: usage.and_then(|usage| usage.cached_input),
            output_tokens: usage.map(|usage| usage.output),
        }
    }
}

/// Returns milliseconds, rounded to three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn write_json(line: &mut Vec<u8>, outcome: &Outcome) {
    let fields = Fields::of(outcome);
    log::begin_json(line, "INFO", "request");
    let mut json = Json(line);
    json.text("route", fields.route);
    json.text("backend", fields.backend);
    json.word("reason", fields.reason);
    json.text("residency", fields.residency);
    json.number("generation", Some(outcome.generation));
    json.word("method", Some(outcome.method.as_str()));
    json.word("path", Some(outcome.template));
    if outcome.is_early {
        json.number("early", Some(true));
    }
    json.number("status", fields.status);
    json.number("attempts", Some(fields.attempts));
    json.number("ttft_ms", fields.ttft_ms);
    json.number("total_ms", Some(fields.total_ms));
    json.number("overhead_us", Some(fields.overhead_us));
    json.number("input_tokens", fields.input_tokens);
    json.number("cached_input_tokens", fields.cached_input_tokens);
    json.number("output_tokens", fields.output_tokens);
    json.number("cost_usd", outcome.cost_usd);
    json.word("end", Some(outcome.end.as_str()));
    json.word("trace_id", Some(outcome.trace.trace.as_str()));
    line.extend_from_slice(b"}\n");
}

/// Writer of further fields of a JSON object that already has one. Unknown values are `null`.
struct Json<'l>(&'l mut Vec<u8>);

impl Json<'_> {
    fn name(&mut self, name: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        self.value(name, &value);
    }

    /// A word of a closed list or of hexadecimal digits: nothing in it has to be escaped.
    fn word(&mut self, name: &'static str, value: Option<&str>) {
        self.name(name);
        match value {
            Some(word) => {
                self.0.push(b'"');
                self.0.extend_from_slice(word.as_bytes());
                self.0.push(b'"');
            }
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn number(&mut self, name: &'static str, value: Option<impl serde::Serialize>) {
        self.value(name, &value);
    }

    fn value(&mut self, name: &'static str, value: &impl serde::Serialize) {
        self.name(name);
        // Strings and numbers always serialize; a NaN becomes `null`.
        if serde_json::to_writer(&mut *self.0, value).is_err() {
            self.0.extend_from_slice(b"null");
        }
    }
}

/// Value of an unknown number: JSON output shows NaN as `null`.
const UNKNOWN: f64 = f64::NAN;

fn event(outcome: &Outcome) {
    fn known<T: Value>(value: Option<&T>) -> &dyn Value {
        value.map_or(&UNKNOWN as &dyn Value, |value| value as &dyn Value)
    }
    let fields = Fields::of(outcome);
    tracing::info!(
        target: TARGET,
        route = known(fields.route.as_ref()),
        backend = known(fields.backend.as_ref()),
        reason = known(fields.reason.as_ref()),
        residency = known(fields.residency.as_ref()),
        generation = outcome.generation,
        method = outcome.method.as_str(),
        path = outcome.template,
        early = outcome.is_early,
        status = known(fields.status.as_ref()),
        attempts = fields.attempts,
        ttft_ms = known(fields.ttft_ms.as_ref()),
        total_ms = fields.total_ms,
        overhead_us = fields.overhead_us,
        input_tokens = known(fields.input_tokens.as_ref()),
        cached_input_tokens = known(fields.cached_input_tokens.as_ref()),
        output_tokens = known(fields.output_tokens.as_ref()),
        cost_usd = known(outcome.cost_usd.as_ref()),
        end = outcome.end.as_str(),
        trace_id = outcome.trace.trace.as_str(),
        "request"
    );
}
