//! Histograms of requests and of calls to models, by labels.
//!
//! Bounds: `sets` limits series, `names` limits models. Invariant: labels come from the file and closed lists, except
//! the names of models that a backend has answered to.

mod labels;
mod names;
mod sets;

use std::sync::{Arc, OnceLock};

use http::Method;

use self::labels::{CallKey, Failed, RequestKey, Status};
use self::names::Names;
use self::sets::Sets;
use crate::model::METHODS;
use crate::outcome::{Attempt, BackendLabels, LegEnd, Outcome};
use crate::stats::{Count, HTTP_BOUNDS, Histogram, Traced, View};
use crate::wire::endpoint::Operation;
use crate::wire::pace;

/// Upper bounds in seconds: OpenTelemetry's for `gen_ai.client.operation.duration`, and two longer ones.
const CALL_BOUNDS: [f64; 16] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68];
/// Upper bounds in tokens: OpenTelemetry's for `gen_ai.client.token.usage`, the powers of four.
const TOKEN_BOUNDS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Upper bounds in seconds from 10 µs to 10 ms, each about one and a half times the one before.
const OVERHEAD_BOUNDS: [f64; 18] = [
    0.000_01,
    0.000_015,
    0.000_022_5,
    0.000_034,
    0.000_051,
    0.000_076,
    0.000_114,
    0.000_171,
    0.000_256,
    0.000_384,
    0.000_577,
    0.000_865,
    0.0013,
    0.001_95,
    0.002_92,
    0.004_38,
    0.006_57,
    0.01,
];

/// Phases of shiftgate's own time, each counted from the request's head.
const PHASES: [&str; 3] = ["request", "first_byte", "total"];

/// Histograms of requests and calls, and the number of running requests.
#[derive(Debug)]
pub struct Meters {
    requests: Sets<RequestKey, Histogram>,
    calls: Sets<CallKey, Call>,
    /// Histograms in the order of [`PHASES`].
    overhead: [Histogram; 3],
    /// Running requests by method; the last entry counts all other methods.
    active: [Count; METHODS.len() + 1],
    asked: Names,
    answered: Names,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            requests: Sets::default(),
            calls: Sets::default(),
            overhead: [(); 3].map(|()| Histogram::new(&OVERHEAD_BOUNDS)),
            active: Default::default(),
            asked: Names::default(),
            answered: Names::default(),
        }
    }
}

/// Histograms of one kind of call; unused ones are not allocated.
#[derive(Debug)]
struct Call {
    duration: Histogram,
    first_chunk: OnceLock<Histogram>,
    per_chunk: OnceLock<Histogram>,
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
}

impl Default for Call {
    fn default() -> Self {
        let [first_chunk, per_chunk, input, output] = Default::default();
        Self { duration: Histogram::new(&CALL_BOUNDS), first_chunk, per_chunk, input, output }
    }
}

/// Series of one metric: labels and values.
pub(crate) type Series = Vec<(Vec<(&'static str, String)>, View)>;

/// Series of the `gen_ai_*` histograms.
#[derive(Debug, Default)]
pub struct CallSeries {
    /// Durations of calls, in seconds.
    pub duration: Series,
    /// Times to the first chunk, in seconds.
    pub first_chunk: Series,
    /// Times between chunks, in seconds.
    pub per_chunk: Series,
    /// Tokens per call, by type.
    pub tokens: Series,
}

impl Meters {
    /// Counts a request that begins.
    pub(super) fn begins(&self, method: &Method) {
        if let Some(count) = self.active.get(labels::method_place(method)) {
            count.add(1);
        }
    }

    /// Adds an ended request; `is_traced` is true if its trace is exported.
    pub(super) fn ended(&self, outcome: &Outcome, is_traced: bool) {
        if let Some(count) = self.active.get(labels::method_place(&outcome.method)) {
            count.sub(1);
        }
        let traced =
            is_traced.then(|| Traced { trace: outcome.trace.trace, at: outcome.clock.wall_of(outcome.ended_at) });
        let request = RequestKey {
            method: labels::method_at(labels::method_place(&outcome.method)),
            route: outcome.template,
            status: Status::of(outcome.status),
            version: labels::version(outcome.version),
            failed: Failed::of(outcome.fault),
        };
        if let Some(histogram) = self.requests.at(request, || Histogram::new(&HTTP_BOUNDS)) {
            histogram.observe(outcome.total().as_secs_f64(), traced);
        }
        let ours = [outcome.overhead.request, outcome.overhead.first_byte, Some(outcome.overhead.total)];
        for (histogram, took) in self.overhead.iter().zip(ours) {
            if let Some(took) = took {
                histogram.observe(took.as_secs_f64(), traced);
            }
        }
        if let Some(operation) = outcome.operation {
            for leg in &outcome.legs {
                for (place, attempt) in leg.attempts.iter().enumerate() {
                    let is_last = place + 1 == leg.attempts.len();
                    self.call(outcome, operation, (leg, attempt, is_last), traced);
                }
            }
        }
    }

    /// Adds one attempt. The answer's facts belong to the last attempt of its leg.
    fn call(
        &self,
        outcome: &Outcome,
        operation: Operation,
        (leg, attempt, is_last): (&LegEnd, &Attempt, bool),
        traced: Option<Traced>,
    ) {
        let has_answered = attempt.status.is_some_and(|status| (200..300).contains(&status));
        let facts = is_last.then_some(&leg.facts);
        let model = facts.and_then(|facts| facts.told.model.as_deref()).unwrap_or_default();
        let key = CallKey {
            backend: Arc::clone(&leg.backend),
            operation,
            leg: leg.kind,
            asked: self.asked.of(&leg.model, has_answered),
            answered: self.answered.of(model, has_answered),
            failed: Failed::of(attempt.fault),
        };
        let Some(call) = self.calls.at(key, Call::default) else { return };
        let took = attempt.ended_at.saturating_duration_since(attempt.sent_at);
        call.duration.observe(took.as_secs_f64(), traced);
        let Some(facts) = facts else { return };
        if outcome.params.stream {
            let new = || Histogram::new(&pace::BOUNDS);
            if let Some(waited) = leg.first_token_after() {
                call.first_chunk.get_or_init(new).observe(waited.as_secs_f64(), traced);
            }
            if let Some(pace) = facts.pace.as_deref().filter(|pace| pace.gaps() > 0) {
                call.per_chunk.get_or_init(new).merge(pace);
            }
        }
        if let Some(usage) = facts.usage {
            for (histogram, tokens) in [(&call.input, usage.input), (&call.output, usage.output)] {
                #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
                histogram.get_or_init(|| Histogram::new(&TOKEN_BOUNDS)).observe(tokens as f64, traced);
            }
        }
    }

    /// Removes the series of backends that left the file, once half the limit is reached.
    pub fn prune<'p>(&self, in_force: impl Iterator<Item = &'p Arc<BackendLabels>> + Clone) {
        self.calls.prune(|key| in_force.clone().any(|backend| *backend == key.backend));
    }

    /// Running requests by method.
    pub fn active(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.active.iter().enumerate().map(|(place, count)| (labels::method_at(place), count.get()))
    }

    /// Series of shiftgate's own time, by phase.
    pub fn overhead(&self) -> Series {
        PHASES
            .iter()
            .zip(&self.overhead)
            .map(|(phase, set)| (vec![("phase", (*phase).to_owned())], set.view()))
            .collect()
    }

    /// Series of request durations.
    pub fn requests(&self) -> Series {
        let labels = |key: &RequestKey| {
            vec![
                ("http_request_method", key.method.to_owned()),
                ("http_route", key.route.to_owned()),
                ("http_response_status_code", key.status.label()),
                ("network_protocol_version", key.version.to_owned()),
                ("error_type", key.failed.label()),
            ]
        };
        sorted(self.requests.all().iter().map(|(key, set)| (labels(key), set.view())).collect())
    }

    /// Series of calls to models.
    pub fn calls(&self) -> CallSeries {
        let mut series = CallSeries::default();
        for (key, call) in self.calls.all() {
            let labels = self.labels(&key);
            if let Some(set) = call.first_chunk.get() {
                series.first_chunk.push((labels.clone(), set.view()));
            }
            if let Some(set) = call.per_chunk.get() {
                series.per_chunk.push((labels.clone(), set.view()));
            }
            for (kind, set) in [("input", &call.input), ("output", &call.output)] {
                if let Some(set) = set.get() {
                    let mut labels = labels.clone();
                    labels.push(("gen_ai_token_type", kind.to_owned()));
                    series.tokens.push((labels, set.view()));
                }
            }
            series.duration.push((labels, call.duration.view()));
        }
        let CallSeries { duration, first_chunk, per_chunk, tokens } = series;
        CallSeries {
            duration: sorted(duration),
            first_chunk: sorted(first_chunk),
            per_chunk: sorted(per_chunk),
            tokens: sorted(tokens),
        }
    }

    fn labels(&self, key: &CallKey) -> Vec<(&'static str, String)> {
        vec![
            ("gen_ai_operation_name", key.operation.as_str().to_owned()),
            ("gen_ai_provider_name", key.backend.engine.as_str().to_owned()),
            ("gen_ai_request_model", self.asked.label(key.asked)),
            ("gen_ai_response_model", self.answered.label(key.answered)),
            ("server_address", key.backend.host.clone()),
            ("server_port", key.backend.port.to_string()),
            ("error_type", key.failed.label()),
            ("backend", key.backend.name.clone()),
            ("leg", key.leg.as_str().to_owned()),
        ]
    }
}

/// Sorts series by labels, so that every page has the same order.
fn sorted(mut series: Series) -> Series {
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

#[cfg(test)]
mod tests;
