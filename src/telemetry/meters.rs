//! Histograms of requests and of calls to models, by labels.
//!
//! Bounds: `sets` limits series, `models` limits names of models. Invariant: labels come from the file and closed lists, except
//! the names of models that a backend has answered to.

mod labels;
mod models;
mod sets;

use std::sync::{Arc, OnceLock};

use http::Method;

use self::labels::{CallKey, Failed, RequestKey, Status};
use self::models::ModelLabels;
use self::sets::Sets;
use super::names::{self, Metric, label};
use crate::model::METHODS;
use crate::outcome::{Attempt, BackendLabels, LegEnd, Outcome};
use crate::stats::{Count, HTTP_BOUNDS, Histogram, Traced, View};
use crate::wire::endpoint::Operation;
use crate::wire::pace;

/// Upper bounds in seconds: OpenTelemetry's for `gen_ai.client.inference.duration`, and two longer ones.
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

/// Counters of tokens in the order of [`Call::usage`].
pub(crate) const USAGE: [Metric; 5] = [
    names::USAGE_INPUT,
    names::USAGE_OUTPUT,
    names::USAGE_CACHE_READ,
    names::USAGE_CACHE_WRITE,
    names::USAGE_REASONING,
];
/// Value of [`label::TOKEN_MODALITY`] where the answer does not say how many tokens are of text, images or audio.
const NO_BREAKDOWN: &str = "unknown";

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
    asked: ModelLabels,
    answered: ModelLabels,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            requests: Sets::default(),
            calls: Sets::default(),
            overhead: [(); 3].map(|()| Histogram::new(&OVERHEAD_BOUNDS)),
            active: Default::default(),
            asked: ModelLabels::default(),
            answered: ModelLabels::default(),
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
    /// Tokens in the order of [`USAGE`]. A call without a count adds 0.
    usage: [Count; USAGE.len()],
}

impl Default for Call {
    fn default() -> Self {
        let [first_chunk, per_chunk, input, output] = Default::default();
        let duration = Histogram::new(&CALL_BOUNDS);
        Self { duration, first_chunk, per_chunk, input, output, usage: Default::default() }
    }
}

/// Series of one histogram: labels and values.
pub(crate) type Series = Vec<(Vec<(&'static str, String)>, View)>;
/// Series of one counter: labels and values.
pub(crate) type CountSeries = Vec<(Vec<(&'static str, String)>, u64)>;

/// Series of the `gen_ai_*` metrics.
#[derive(Debug, Default)]
pub struct CallSeries {
    /// Durations of calls for text, in seconds.
    pub duration: Series,
    /// Times to the first chunk, in seconds.
    pub first_chunk: Series,
    /// Times between chunks, in seconds.
    pub per_chunk: Series,
    /// Tokens of calls for text: prompt, generated, read from a cache, written to one, thoughts.
    pub usage: [CountSeries; USAGE.len()],
    /// Durations of calls for embeddings, in seconds.
    pub embeddings_duration: Series,
    /// Tokens per call for embeddings.
    pub embeddings_input: Series,
    /// Tokens per call of any kind, by type.
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
            // A part above its whole is a backend's mistake; it must not make a counter overflow.
            let part = |tokens: Option<u64>, whole: u64| tokens.unwrap_or(0).min(whole);
            let counts = [
                usage.input,
                usage.output,
                part(usage.cached_input, usage.input),
                part(usage.cache_written, usage.input),
                part(usage.reasoning, usage.output),
            ];
            for (count, tokens) in call.usage.iter().zip(counts) {
                count.add(tokens);
            }
        }
    }

    /// True if applications asked for this model, by the name that a backend got, and a backend answered. Names above the
    /// limit of labels are not known.
    pub fn has_model(&self, name: &str) -> bool {
        self.asked.has(name)
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
                (label::METHOD, key.method.to_owned()),
                (label::ROUTE, key.route.to_owned()),
                (label::STATUS, key.status.label()),
                (label::PROTOCOL_VERSION, key.version.to_owned()),
                (label::ERROR_TYPE, key.failed.label()),
            ]
        };
        sorted(self.requests.all().iter().map(|(key, set)| (labels(key), set.view())).collect())
    }

    /// Series of calls to models.
    pub fn calls(&self) -> CallSeries {
        let mut series = CallSeries::default();
        for (key, call) in self.calls.all() {
            series.add(key.operation, self.labels(&key), &call);
        }
        series.sorted()
    }

    fn labels(&self, key: &CallKey) -> Vec<(&'static str, String)> {
        vec![
            (label::OPERATION, key.operation.as_str().to_owned()),
            (label::PROVIDER, key.backend.engine.as_str().to_owned()),
            (label::REQUEST_MODEL, self.asked.label(key.asked)),
            (label::RESPONSE_MODEL, self.answered.label(key.answered)),
            (label::SERVER_ADDRESS, key.backend.host.clone()),
            (label::SERVER_PORT, key.backend.port.to_string()),
            (label::ERROR_TYPE, key.failed.label()),
            ("backend", key.backend.name.clone()),
            ("leg", key.leg.as_str().to_owned()),
        ]
    }
}

impl CallSeries {
    fn add(&mut self, operation: Operation, labels: Vec<(&'static str, String)>, call: &Call) {
        let with = |name, value: &str| {
            let mut labels = labels.clone();
            labels.push((name, value.to_owned()));
            labels
        };
        let mut observed = |series: fn(&mut Self) -> &mut Series, set: &OnceLock<Histogram>, labels| {
            if let Some(set) = set.get() {
                series(self).push((labels, set.view()));
            }
        };
        observed(|all| &mut all.first_chunk, &call.first_chunk, labels.clone());
        observed(|all| &mut all.per_chunk, &call.per_chunk, labels.clone());
        for (kind, set) in [("input", &call.input), ("output", &call.output)] {
            observed(|all| &mut all.tokens, set, with(label::TOKEN_TYPE, kind));
        }
        if operation == Operation::Embeddings {
            observed(|all| &mut all.embeddings_input, &call.input, labels.clone());
            self.embeddings_duration.push((labels, call.duration.view()));
            return;
        }
        for (series, count) in self.usage.iter_mut().zip(&call.usage) {
            series.push((with(label::TOKEN_MODALITY, NO_BREAKDOWN), count.get()));
        }
        self.duration.push((labels, call.duration.view()));
    }

    fn sorted(self) -> Self {
        Self {
            duration: sorted(self.duration),
            first_chunk: sorted(self.first_chunk),
            per_chunk: sorted(self.per_chunk),
            usage: self.usage.map(sorted),
            embeddings_duration: sorted(self.embeddings_duration),
            embeddings_input: sorted(self.embeddings_input),
            tokens: sorted(self.tokens),
        }
    }
}

/// Sorts series by labels, so that every page has the same order.
fn sorted<V>(mut series: Vec<(Vec<(&'static str, String)>, V)>) -> Vec<(Vec<(&'static str, String)>, V)> {
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

#[cfg(test)]
mod tests;
