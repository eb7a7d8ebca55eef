//! The end of a pair: compared, counted, written, traced. Runs on the thread of comparisons.

use std::cell::RefCell;
use std::time::Instant;

use super::compared::{Answers, Compared, compare};
use super::pair::Job;
use super::record;
use super::shared::Shared;
use crate::compare::{Schemas, Scores, Value};
use crate::config::Config;
use crate::model::{PairResult, SpanId};
use crate::outcome::{Comparison, Pair, Score};
use crate::stats::lock;

/// Ends a pair. `instead` is the reason for which it is not compared.
pub(super) fn finish(shared: &Shared, job: &Job, instead: Option<PairResult>) {
    thread_local! {
        static SCHEMAS: RefCell<Schemas> = RefCell::default();
    }
    let Some(served) = job.about.served_leg() else {
        // A request that ended before its first leg has no line.
        let config = &job.about.in_force.snapshot.config;
        let route = &config[job.about.choice.route()].name;
        shared.stats.shadow.pairing(route, &config[job.shadow.to].name).pair(PairResult::Cancelled);
        return;
    };
    let began_at = Instant::now();
    let instead = instead.or_else(|| job.about.kept.is_lagged().then_some(PairResult::Lagged));
    let answers = if instead.is_some() { Answers::none() } else { Answers::read(job) };
    let compared = SCHEMAS.with_borrow_mut(|schemas| compare(job, served, &answers, (instead, schemas)));
    let comparison = (compared.result == PairResult::Compared).then(|| Comparison {
        span: SpanId::new(rand::random()),
        began_at,
        ended_at: Instant::now(),
        scores: told(&compared.scores),
    });
    count(shared, job, &compared);
    if let Some(line) = record::line(shared, job, &compared) {
        shared.verdicts.add(&line);
        if let Some(writer) = lock(&shared.records).as_ref() {
            writer.write(line);
        }
    }
    trace(shared, job, comparison);
}

/// Scores as telemetry shows them.
fn told(scores: &Scores) -> Vec<Score> {
    let kind = scores.kind.map(|kind| kind.as_str());
    let told = scores.named().filter_map(|(name, value)| {
        let value = match value {
            Value::Number(value) | Value::Ratio(value) | Value::Milliseconds(value) => value,
            Value::Truth(truth) => f64::from(u8::from(truth)),
            Value::Count(_) | Value::Word(_) => return None,
        };
        Some(Score { name, value, label: kind.filter(|_| name == "agreement") })
    });
    told.collect()
}

fn count(shared: &Shared, job: &Job, compared: &Compared<'_>) {
    let about = job.about.as_ref();
    let config: &Config = &about.in_force.snapshot.config;
    let route = &config[about.choice.route()].name;
    let stats = shared.stats.shadow.pairing(route, &config[job.shadow.to].name);
    stats.pair(compared.result);
    let agreed = |scores: &Scores, is_floor| {
        if let (Some(kind), Ok(agreement)) = (scores.kind, scores.agreement) {
            stats.agreed(kind, agreement, is_floor);
        }
    };
    agreed(&compared.scores, false);
    if let Some(floor) = &compared.floor {
        agreed(floor, true);
    }
    stats.spent.add(job.shadow.end.facts.usage, job.shadow.cost_usd);
    if let Some(noise) = about.noise.as_ref().filter(|_| job.is_first) {
        shared.stats.shadow.noise(route).spent.add(noise.end.facts.usage, noise.cost_usd);
    }
}

/// Exports the spans of the copies, if the request's were.
fn trace(shared: &Shared, job: &Job, comparison: Option<Comparison>) {
    let about = &job.about;
    let Some(tracer) = shared.tracer.as_ref().filter(|_| about.outcome.trace.is_sampled()) else { return };
    tracer.pair_ended(&Pair {
        served: about.outcome.clone(),
        shadow: job.shadow.end.clone(),
        noise: about.noise.as_ref().filter(|_| job.is_first).map(|noise| noise.end.clone()),
        comparison,
    });
}
