//! The comparison of one pair: its answers, its legs' scores, its result.

use super::capture::Kept;
use super::leg::LegDone;
use super::pair::{About, Job};
use crate::compare::{self, Answer, Asked, LegOutcome, LegScores, NullReason, Schemas, Scores, Side};
use crate::model::PairResult;
use crate::outcome::LegEnd;

/// Share of its time for which a served answer may have waited for the application, before its times count as the
/// application's.
const SLOW_CLIENT: f64 = 0.1;

/// Everything that a comparison found.
#[derive(Debug)]
pub(super) struct Compared<'a> {
    pub(super) asked: Asked,
    pub(super) served: ScoredLeg<'a>,
    pub(super) shadow: ScoredLeg<'a>,
    pub(super) noise: Option<ScoredLeg<'a>>,
    pub(super) scores: Scores,
    pub(super) floor: Option<Scores>,
    pub(super) result: PairResult,
}

impl<'a> Compared<'a> {
    /// Returns the baseline's leg and the candidate's.
    pub(super) const fn sides(&self, is_served_by_baseline: bool) -> (&ScoredLeg<'a>, &ScoredLeg<'a>) {
        if is_served_by_baseline { (&self.served, &self.shadow) } else { (&self.shadow, &self.served) }
    }
}

/// One leg beside what the comparison found about it.
#[derive(Debug)]
pub(super) struct ScoredLeg<'a> {
    pub(super) end: &'a LegEnd,
    pub(super) outcome: LegOutcome,
    pub(super) answer: Option<&'a Answer>,
    pub(super) scores: LegScores,
    pub(super) cost_usd: Option<f64>,
    pub(super) waiting: Option<f64>,
    pub(super) ttft_ms: Option<f64>,
    pub(super) total_ms: Option<f64>,
}

/// An answer after the attempt to read it; `None` without an attempt.
type Read<'a> = Option<Option<&'a Answer>>;

/// The answers of a pair, as far as they can be read.
pub(super) struct Answers {
    /// True if they were read, so that one that is missing is none.
    is_read: bool,
    served: Option<Answer>,
    shadow: Option<Answer>,
    noise: Option<Answer>,
}

impl Answers {
    pub(super) fn read(job: &Job) -> Self {
        let about = &job.about;
        let read = |outcome, kept: &Kept| if outcome == LegOutcome::Ok { kept.answer() } else { None };
        let copy = |leg: &LegDone| read(leg.outcome(), &leg.kept);
        Self {
            is_read: true,
            served: read(about.served_outcome(), &about.kept),
            shadow: copy(&job.shadow),
            noise: about.noise.as_ref().and_then(copy),
        }
    }

    /// The answers of a pair that is not compared.
    pub(super) const fn none() -> Self {
        Self { is_read: false, served: None, shadow: None, noise: None }
    }

    fn of<'a>(&self, answer: &'a Option<Answer>) -> Read<'a> {
        self.is_read.then_some(answer.as_ref())
    }
}

/// Compares a pair. `instead` is the reason for which it is not compared.
pub(super) fn compare<'a>(
    job: &'a Job,
    served: &'a LegEnd,
    answers: &'a Answers,
    (instead, schemas): (Option<PairResult>, &mut Schemas),
) -> Compared<'a> {
    let about = job.about.as_ref();
    let config = &about.in_force.snapshot.config;
    let is_served_by_baseline = about.choice.backend() == config.baseline;
    let body = about.inbound.body().map_or(&[][..], |body| body);
    let asked = Asked::read(about.inbound.endpoint(), body);
    let is_stream = about.inbound.is_stream();
    let served_side = side_of_served(about, served, answers.of(&answers.served));
    let shadow_side = side_of_copy(&job.shadow, answers.of(&answers.shadow), is_stream);
    let noise = about.noise.as_ref().map(|noise| (noise, side_of_copy(noise, answers.of(&answers.noise), is_stream)));
    let result = result(job, instead, served_side.outcome, shadow_side.outcome);
    let void = match result {
        PairResult::CompareFull => Some(NullReason::CompareFull),
        PairResult::Lagged => Some(NullReason::Lagged),
        PairResult::Cancelled => Some(NullReason::Cancelled),
        _ => None,
    };
    let (reference, other) =
        if is_served_by_baseline { (&served_side, &shadow_side) } else { (&shadow_side, &served_side) };
    let scores = match void {
        Some(reason) => Scores::void(reason),
        None => compare::pair(&asked, reference, other, schemas),
    };
    let floor = noise.as_ref().map(|(_, side)| match void {
        Some(reason) => Scores::void(reason),
        None => compare::pair(&asked, &served_side, side, schemas),
    });
    let mut leg = |side: &Side<'_>| match instead {
        Some(PairResult::Lagged) => void_leg(NullReason::Lagged),
        Some(_) => void_leg(NullReason::CompareFull),
        None => compare::leg(&asked, side, schemas),
    };
    let copy = |done: &'a LegDone, side: &Side<'a>, scores| ScoredLeg {
        end: &done.end,
        outcome: side.outcome,
        answer: side.answer,
        scores,
        cost_usd: done.cost_usd,
        waiting: done.waiting,
        ttft_ms: side.ttft_ms,
        total_ms: side.total_ms,
    };
    let served = ScoredLeg {
        end: served,
        outcome: served_side.outcome,
        answer: served_side.answer,
        scores: leg(&served_side),
        cost_usd: served_side.cost_usd,
        waiting: about.waiting,
        ttft_ms: served_side.ttft_ms,
        total_ms: served_side.total_ms,
    };
    let shadow = copy(&job.shadow, &shadow_side, leg(&shadow_side));
    let noise = noise.map(|(done, side)| copy(done, &side, leg(&side)));
    Compared { asked, served, shadow, noise, scores, floor, result }
}

/// Returns the result, given what reading the answers showed.
fn result(job: &Job, instead: Option<PairResult>, served: LegOutcome, shadow: LegOutcome) -> PairResult {
    match job.result() {
        PairResult::Compared if instead.is_some() => instead.unwrap_or(PairResult::CompareFull),
        PairResult::Compared if served != LegOutcome::Ok || shadow != LegOutcome::Ok => PairResult::Failed,
        known => known,
    }
}

fn side_of_served<'a>(about: &About, end: &LegEnd, read: Read<'a>) -> Side<'a> {
    let (ttft_ms, total_ms) = times(end, about.inbound.is_stream());
    let waited = about.client_waits.as_secs_f64() * 1e3;
    Side {
        outcome: readable(about.served_outcome(), about.kept.is_over_cap(), read),
        is_over_cap: about.kept.is_over_cap(),
        answer: read.flatten(),
        is_stream: about.inbound.is_stream(),
        is_slow_client: total_ms.is_some_and(|total| waited > total * SLOW_CLIENT),
        ttft_ms,
        total_ms,
        output_tokens: end.facts.usage.map(|usage| usage.output),
        // After a failover it is that of another leg.
        cost_usd: about.outcome.cost_usd.filter(|_| about.outcome.legs.len() == 1),
    }
}

fn side_of_copy<'a>(done: &LegDone, read: Read<'a>, is_stream: bool) -> Side<'a> {
    let (ttft_ms, total_ms) = times(&done.end, is_stream);
    Side {
        outcome: readable(done.outcome(), done.kept.is_over_cap(), read),
        is_over_cap: done.kept.is_over_cap(),
        answer: read.flatten(),
        is_stream,
        is_slow_client: false,
        ttft_ms,
        total_ms,
        output_tokens: done.end.facts.usage.map(|usage| usage.output),
        cost_usd: done.cost_usd,
    }
}

/// A good answer that cannot be read is a bad one.
const fn readable(outcome: LegOutcome, is_over_cap: bool, read: Read<'_>) -> LegOutcome {
    match outcome {
        LegOutcome::Ok if matches!(read, Some(None)) && !is_over_cap => LegOutcome::BadAnswer,
        outcome => outcome,
    }
}

/// Times from sending the last attempt: to the first token of a stream, and to the end, in milliseconds.
fn times(end: &LegEnd, is_stream: bool) -> (Option<f64>, Option<f64>) {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let last = end.attempts.last();
    let total = last.map(|last| last.ended_at.saturating_duration_since(last.sent_at));
    (end.first_token_after().filter(|_| is_stream).map(ms), total.map(ms))
}

const fn void_leg(reason: NullReason) -> LegScores {
    LegScores {
        mode: Err(reason),
        refused: Err(reason),
        hint: Err(reason),
        json_valid: Err(reason),
        schema_valid: Err(reason),
        chars: Err(reason),
        calls: Err(reason),
        gap_ms: Err(reason),
    }
}
