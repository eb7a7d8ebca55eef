//! The part of `/status` about shadows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::model::CopyResult;
use crate::records::Cut;
use crate::report::Verdict;
use crate::shadow::RouteVerdict;
use crate::stats::{KindStats, PairingStats};

/// Shadows of the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShadowStatus {
    /// Copies and noise legs in flight.
    pub in_flight: u64,
    /// Bytes held of copies and captured answers.
    pub bytes: u64,
    /// Money left for copies at this moment, in USD; below 0 after a copy that cost more than was left.
    pub budget_left_usd: f64,
    /// Copies by route and receiver.
    pub copies: Vec<CopiesStatus>,
    /// Verdicts on the pairs since the start, by route and candidate; those without a pair are missing.
    #[serde(default)]
    pub verdicts: Vec<VerdictStatus>,
    /// Requests chosen for a noise leg, by route and result.
    pub noise: BTreeMap<String, BTreeMap<String, u64>>,
    /// Cost of all noise legs, in USD; `null` if none is known.
    pub noise_cost_usd: Option<f64>,
}

/// Copies of one route for one receiver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopiesStatus {
    /// Name of the route.
    pub route: String,
    /// Receiver of the copies.
    pub backend: String,
    /// Requests chosen for a copy, by result.
    pub requests: BTreeMap<String, u64>,
    /// The part of `requests` without a copy that was neither sent nor declined by the application.
    pub dropped: u64,
    /// Pairs, by result.
    pub pairs: BTreeMap<String, u64>,
    /// Agreement by kind; kinds without a score are missing.
    pub agreement: BTreeMap<String, AgreementStatus>,
    /// Cost of the copies, in USD; `null` if none is known.
    pub cost_usd: Option<f64>,
}

/// The verdict on one candidate on one route, as the report has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerdictStatus {
    /// Name of the route.
    pub route: String,
    /// Name of the candidate.
    pub candidate: String,
    /// `ready`, `not_ready` or `not_enough_data`.
    pub verdict: Verdict,
    /// Checks that it rests on.
    pub why: Vec<String>,
    /// Pairs until the next verdict, if the two do not differ; `null` if that is not known.
    pub needs_pairs: Option<u64>,
    /// Pairs that it rests on: those of the epoch in force.
    pub pairs: u64,
    /// The verdict as a sentence, with names as applications write them.
    pub says: String,
}

/// Mean agreement of one kind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct AgreementStatus {
    /// Number of scores.
    pub pairs: u64,
    /// Their mean, 0 to 1.
    pub mean: Option<f64>,
    /// Number of scores of the baseline with itself.
    pub floor_pairs: u64,
    /// Their mean, 0 to 1; `null` without one.
    pub floor: Option<f64>,
}

impl ShadowStatus {
    /// Reads the counters; `None` before the first `[shadow]`.
    pub(crate) fn of(view: &View) -> Option<Self> {
        let shadow = &view.stats.shadow;
        let noises = shadow.noises();
        let noise_nano: u64 = noises.iter().map(|(_, stats)| stats.spent.nano_usd.get()).sum();
        Some(Self {
            in_flight: shadow.in_flight.get(),
            bytes: shadow.bytes.get(),
            budget_left_usd: rounded(view.budget_left?, 1e6),
            copies: shadow.pairings().iter().map(|((route, backend), stats)| copies(route, backend, stats)).collect(),
            verdicts: view.verdicts.iter().filter(|one| is_current(view, one)).map(verdict).collect(),
            noise: noises.iter().map(|(route, stats)| (route.clone(), words(stats.legs()))).collect(),
            noise_cost_usd: usd(noise_nano),
        })
    }
}

fn copies(route: &str, backend: &str, stats: &PairingStats) -> CopiesStatus {
    let kept = [CopyResult::Sent.as_str(), CopyResult::OptedOut.as_str()];
    CopiesStatus {
        route: route.to_owned(),
        backend: backend.to_owned(),
        requests: words(stats.copies()),
        dropped: stats.copies().filter(|(result, _)| !kept.contains(result)).map(|(_, count)| count).sum(),
        pairs: words(stats.pairs()),
        agreement: stats.agreement().filter_map(|(kind, one)| Some((kind.to_owned(), agreement(one)?))).collect(),
        cost_usd: usd(stats.spent.nano_usd.get()),
    }
}

/// True if the file has the route and the candidate.
fn is_current(view: &View, one: &RouteVerdict) -> bool {
    view.routes.iter().any(|route| Cut(&route.name).as_str() == one.route)
        && view.backends.iter().any(|backend| Cut(&backend.labels.name).as_str() == one.candidate)
}

fn verdict(one: &RouteVerdict) -> VerdictStatus {
    let RouteVerdict { route, candidate, verdict, why, needs_pairs, pairs, says } = one;
    VerdictStatus {
        route: route.clone(),
        candidate: candidate.clone(),
        verdict: *verdict,
        why: why.iter().map(|check| (*check).to_owned()).collect(),
        needs_pairs: *needs_pairs,
        pairs: *pairs,
        says: says.clone(),
    }
}

/// Returns the means; `None` without a score.
fn agreement(stats: &KindStats) -> Option<AgreementStatus> {
    let (scores, floor) = (stats.agreement(), stats.floor());
    if scores.count() + floor.count() == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of pairs are far below 2^52")]
    let mean = |sum: f64, count: u64| (count > 0).then(|| rounded(sum / count as f64, 1e4));
    Some(AgreementStatus {
        pairs: scores.count(),
        mean: mean(scores.sum, scores.count()),
        floor_pairs: floor.count(),
        floor: mean(floor.sum, floor.count()),
    })
}

fn words(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.map(|(word, count)| (word.to_owned(), count)).collect()
}

fn rounded(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}

#[expect(clippy::cast_precision_loss, reason = "sums of money are far below 2^52 billionths")]
fn usd(nano: u64) -> Option<f64> {
    (nano > 0).then(|| nano as f64 / 1e9)
}
