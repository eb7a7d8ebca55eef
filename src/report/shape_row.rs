//! A row of the report as a value.

use std::collections::BTreeMap;

use serde::Serialize;

use super::verdict::{CheckResult, Verdict};

/// Pairs by what both sides did: baseline, candidate, number.
pub type Matrix = BTreeMap<String, BTreeMap<String, u64>>;

/// Pairs that may be pooled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the route.
    pub route: String,
    /// Model that the application asked for.
    pub model: String,
    /// Name of the candidate.
    pub candidate: String,
    /// `baseline` or `candidate`.
    pub served_by: &'static str,
    /// `greedy` at temperature 0, else `sampled`.
    pub sampling: &'static str,
    /// Epoch of the two backends.
    pub epoch: String,
    /// Name of the baseline.
    pub baseline: String,
    /// True if it is of the last epoch, so that it decides.
    pub current: bool,
    /// Verdict.
    pub verdict: Verdict,
    /// Checks that stand in the way.
    pub why: Vec<&'static str>,
    /// Number of pairs that are missing for `ready`, if both sides do not differ.
    pub needs_pairs: Option<u64>,
    /// Time of the first pair.
    pub from: Option<String>,
    /// Time of the last pair.
    pub to: Option<String>,
    /// Number of pairs.
    pub pairs: u64,
    /// Number of distinct keys of the key-hours that are kept.
    pub keys: u64,
    /// Number of key-hours that are kept.
    pub key_hours: u64,
    /// True if not all key-hours are kept.
    pub thinned: bool,
    /// Shares of the candidate that were in force, in percent.
    pub percents: Vec<f64>,
    /// Outcomes of all pairs.
    pub outcomes: Matrix,
    /// Modes of ok pairs.
    pub modes: Matrix,
    /// Finish reasons of ok pairs.
    pub finishes: Matrix,
    /// Pairs without agreement, by reason.
    pub unscored: BTreeMap<String, u64>,
    /// The seven checks in their order.
    pub checks: Vec<Check>,
    /// Kinds that occur, by name.
    pub kinds: Vec<Kind>,
    /// Properties that differ.
    pub flips: Flips,
    /// Times to the first token.
    pub ttft_ms: Ttft,
    /// Times to the end.
    pub total_ms: Times,
    /// Lengths of the text.
    pub length: Pairing,
    /// Tokens of both sides.
    pub tokens: Sides<TokenSums>,
    /// Costs of both sides.
    pub cost: Cost,
    /// The ten worst pairs.
    pub worst: Vec<Worst>,
    /// Remarks that decide nothing.
    pub notes: Vec<Note>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Name of the check.
    pub check: &'static str,
    /// Pairs that it is over.
    pub n: u64,
    /// Pairs in which both sides are at fault.
    pub both: u64,
    /// Pairs in which the baseline alone is.
    pub baseline_only: u64,
    /// Pairs in which the candidate alone is.
    pub candidate_only: u64,
    /// Shares of the sides' faults.
    pub share: Option<Share>,
    /// Candidate's share minus the baseline's, over key-hours.
    pub difference: Option<Means>,
    /// Largest difference that is not held against the candidate.
    pub limit: f64,
    /// Result.
    pub result: CheckResult,
}

/// A share of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Share of the baseline's answers, 0 to 1.
    pub baseline: f64,
    /// Share of the candidate's answers, 0 to 1.
    pub candidate: f64,
}

/// A figure of both sides over the same pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sides<T> {
    /// Number of pairs.
    pub n: u64,
    /// Baseline's figure.
    pub baseline: T,
    /// Candidate's figure.
    pub candidate: T,
}

/// A mean over key-hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Means {
    /// Number of key-hours.
    pub n: u64,
    /// Mean.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// A median ratio, candidate over baseline, over key-hours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Median {
    /// Number of key-hours.
    pub n: u64,
    /// Median.
    pub median: f64,
    /// Lower bound.
    pub low: Option<f64>,
    /// Upper bound.
    pub high: Option<f64>,
}

/// Agreement of one kind of pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kind {
    /// Name of the kind.
    pub kind: &'static str,
    /// Number of pairs.
    pub n: u64,
    /// Mean agreement over the pairs.
    pub agreement: Option<f64>,
    /// The baseline with itself.
    pub floor: KindFloor,
    /// 1 − agreement, over key-hours.
    pub loss: Option<Means>,
    /// Floor − agreement, over key-hours.
    pub difference: Option<Means>,
    /// Largest difference that is not held against the candidate.
    pub limit: Option<f64>,
    /// Result.
    pub result: CheckResult,
    /// Floor − agreement over the pairs that have both; not rounded, and no part of the JSON.
    #[serde(skip)]
    pub beside: Option<f64>,
}

/// Agreement of the baseline with itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct KindFloor {
    /// Number of pairs.
    pub n: u64,
    /// Mean agreement.
    pub agreement: Option<f64>,
}

/// Properties that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flips {
    /// Finish reasons.
    pub finish: Flip,
    /// Texts.
    pub exact: Flip,
    /// Names of the called tools.
    pub tool_names: Flip,
    /// Calls with their arguments.
    pub tools: Flip,
    /// Scripts.
    pub script: Flip,
    /// Fences around JSON.
    pub fence: Flip,
}

/// Pairs in which a property differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// Pairs in which it is known.
    pub n: u64,
    /// Pairs in which it differs.
    pub count: u64,
    /// The baseline with itself.
    pub floor: FlipFloor,
}

/// Pairs in which a property of the baseline differs from itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FlipFloor {
    /// Pairs in which it is known.
    pub n: u64,
    /// Pairs in which it differs.
    pub count: u64,
}

/// Times to the first token, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ttft {
    /// All pairs.
    #[serde(flatten)]
    pub all: Times,
    /// Less than half of the prompt was cached at both legs.
    pub cold: Pairing,
    /// Half or more was cached at both legs.
    pub warm: Pairing,
    /// Half or more was cached at one leg.
    pub mixed: Pairing,
    /// A side does not say.
    pub unknown: Pairing,
}

/// Times of both sides, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// Number of pairs.
    pub n: u64,
    /// Baseline's figure.
    pub baseline: Option<Quantiles>,
    /// Candidate's figure.
    pub candidate: Option<Quantiles>,
    /// Candidate over baseline.
    pub ratio: Option<Median>,
}

/// Quantiles within 0.1 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half of the values are not above it.
    pub p50: f64,
    /// 95 % of the values are not above it.
    pub p95: f64,
    /// 99 % of the values are not above it.
    pub p99: f64,
}

/// A ratio of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pairing {
    /// Number of pairs.
    pub n: u64,
    /// Candidate over baseline.
    pub ratio: Option<Median>,
}

/// Tokens of one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TokenSums {
    /// Prompt tokens.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
}

/// Costs of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Pairs whose cost is known on both sides.
    pub n: u64,
    /// Their share of all pairs.
    pub coverage: Option<f64>,
    /// Baseline's figure.
    pub baseline: CostSide,
    /// Candidate's figure.
    pub candidate: CostSide,
}

/// Cost of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostSide {
    /// USD for 1,000 answers.
    pub per_1000: Option<f64>,
    /// Answers that the application can use.
    pub good: u64,
    /// USD for 1,000 of those.
    pub per_1000_good: Option<f64>,
}

/// One of the worst pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worst {
    /// Id of the pair.
    pub id: String,
    /// Id of its trace.
    pub trace_id: String,
    /// Time at which the request was sent.
    pub at: Option<String>,
    /// Kind.
    pub kind: Option<&'static str>,
    /// Agreement.
    pub agreement: Option<f64>,
    /// LegOutcome of the candidate.
    pub outcome: &'static str,
}

/// A remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Name of the remark.
    pub note: &'static str,
    /// Remark in words.
    pub says: String,
}
