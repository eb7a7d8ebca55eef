//! The line of one pair, in the shape of schema v1 (see the README).

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use serde_json::value::RawValue;

use super::compared::{Compared, ScoredLeg};
use super::leg::LegDone;
use super::pair::{About, Job};
use super::shared::Shared;
use crate::choose::Choice;
use crate::compare::{Answer, Asked, LegOutcome, LegScores, Scores};
use crate::config::{Backend, Config};
use crate::model::{BackendId, Fault, Percent};
use crate::outcome::{LegEnd, LegKind};
use crate::records::{Cut, Ms, Rfc3339, Rounded, Usd};
use crate::wire::endpoint::Endpoint;

/// Version of the schema.
const VERSION: u8 = 1;

#[derive(Debug, Serialize)]
struct PairLine<'a> {
    v: u8,
    kind: &'static str,
    id: String,
    at: Rfc3339,
    instance: &'a str,
    name: Cut<'a>,
    epoch: String,
    hash: &'a str,
    generation: u64,
    route: Cut<'a>,
    operation: &'static str,
    model: Cut<'a>,
    stream: bool,
    percent: f64,
    served_by: &'static str,
    key: Option<String>,
    trace_id: &'a str,
    request: RequestPart<'a>,
    baseline: LegPart<'a>,
    candidate: LegPart<'a>,
    noise: Option<LegPart<'a>>,
    scores: &'a Scores,
    floor: Option<&'a Scores>,
    content: Option<Content<'a>>,
}

#[derive(Debug, Serialize)]
struct RequestPart<'a> {
    bytes: usize,
    #[serde(flatten)]
    asked: &'a Asked,
}

#[derive(Debug, Serialize)]
struct LegPart<'a> {
    backend: Cut<'a>,
    engine: &'static str,
    model: Cut<'a>,
    leg: &'static str,
    outcome: LegOutcome,
    status: Option<u16>,
    error_type: Option<String>,
    finish: Option<Cut<'a>>,
    late_ms: Ms,
    ttft_ms: Option<Ms>,
    total_ms: Option<Ms>,
    reused: Option<bool>,
    #[serde(flatten)]
    scores: &'a LegScores,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cost_usd: Option<Usd>,
    waiting: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Content<'a> {
    request: Option<Box<RawValue>>,
    baseline: Option<&'a Answer>,
    candidate: Option<&'a Answer>,
    noise: Option<&'a Answer>,
}

/// Returns the backend of the pair that is not the baseline.
pub(super) fn candidate_of(config: &Config, choice: &Choice, shadow: &LegDone) -> BackendId {
    if choice.backend() == config.baseline { shadow.to } else { choice.backend() }
}

/// Writes the line; `None` if it cannot be written as JSON.
pub(super) fn line(shared: &Shared, job: &Job, compared: &Compared<'_>) -> Option<Vec<u8>> {
    let about = job.about.as_ref();
    let snapshot = &about.in_force.snapshot;
    let config = &snapshot.config;
    let candidate = candidate_of(config, &about.choice, &job.shadow);
    let route = &config[about.choice.route()];
    let is_served_by_baseline = about.choice.backend() == config.baseline;
    let served_at = about.served_leg().and_then(|leg| leg.attempts.first()).map(|attempt| attempt.sent_at);
    let wall = served_at.map_or(about.outcome.clock.wall, |at| about.outcome.clock.wall_of(at));
    let at = jiff::Timestamp::try_from(wall).unwrap_or_default();
    let (baseline, other) = compared.sides(is_served_by_baseline);
    let part = |leg| LegPart::of(leg, about);
    let body = about.inbound.body().map_or(&[][..], |body| body);
    let has_content =
        config.records.as_ref().is_some_and(|records| records.content) && shared.has_content.load(Relaxed);
    let line = PairLine {
        v: VERSION,
        kind: "pair",
        id: format!("{:016x}", about.id),
        at: Rfc3339(at),
        instance: shared.instance.name(),
        name: Cut(&config.name),
        epoch: epoch(config, candidate),
        hash: &config.hash,
        generation: snapshot.generation,
        route: Cut(&route.name),
        operation: if about.inbound.endpoint() == Endpoint::Responses { "responses" } else { "chat" },
        model: Cut(about.inbound.scan().and_then(|scan| scan.model()).map_or("", AsRef::as_ref)),
        stream: about.inbound.is_stream(),
        percent: Percent::as_f64(about.choice.shares().percent(about.choice.route(), candidate)),
        served_by: if is_served_by_baseline { "baseline" } else { "candidate" },
        key: about.sample.key.map(|key| shared.instance.hide(key, at.as_second())),
        trace_id: about.outcome.trace.trace.as_str(),
        request: RequestPart { bytes: body.len(), asked: &compared.asked },
        baseline: part(baseline),
        candidate: part(other),
        noise: compared.noise.as_ref().map(part),
        scores: &compared.scores,
        floor: compared.floor.as_ref(),
        content: has_content.then(|| Content {
            request: on_one_line(body),
            baseline: baseline.answer,
            candidate: other.answer,
            noise: compared.noise.as_ref().and_then(|noise| noise.answer),
        }),
    };
    serde_json::to_vec(&line).ok()
}

/// Returns the JSON without line breaks. They stand between its values alone: strings have them escaped.
fn on_one_line(json: &[u8]) -> Option<Box<RawValue>> {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let one_line = json.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect();
    RawValue::from_string(String::from_utf8(one_line).ok()?).ok()
}

impl<'a> LegPart<'a> {
    fn of(leg: &'a ScoredLeg<'_>, about: &About) -> Self {
        let end = leg.end;
        let last = end.attempts.last();
        let finish = match leg.answer {
            Some(answer) => answer.finish.as_deref(),
            None => end.facts.told.reasons.first().map(String::as_str),
        };
        let usage = end.facts.usage;
        // An answer over its cap was going well until it was cut here.
        let fault = last.and_then(|attempt| attempt.fault).filter(|fault| *fault != Fault::Shed);
        let served_at = about.served_leg().and_then(LegEnd::sent_at);
        let late = end.sent_at().zip(served_at).map(|(at, served)| at.saturating_duration_since(served));
        let late = late.unwrap_or_default();
        Self {
            backend: Cut(&end.backend.name),
            engine: end.backend.engine.as_str(),
            model: Cut(&end.model),
            leg: if end.kind == LegKind::Served { "served" } else { end.kind.as_str() },
            outcome: leg.outcome,
            status: last.and_then(|attempt| attempt.status),
            error_type: fault.map(|fault| Fault::as_str(fault).into_owned()),
            finish: finish.map(Cut),
            late_ms: Ms::of(late),
            ttft_ms: leg.ttft_ms.map(Rounded),
            total_ms: leg.total_ms.map(Rounded),
            reused: last.and_then(|attempt| attempt.is_reused),
            scores: &leg.scores,
            input_tokens: usage.map(|usage| usage.input),
            cached_input_tokens: usage.and_then(|usage| usage.cached_input),
            output_tokens: usage.map(|usage| usage.output),
            reasoning_tokens: usage.and_then(|usage| usage.reasoning),
            cost_usd: leg.cost_usd.map(Rounded),
            waiting: leg.waiting,
        }
    }
}

/// Returns 16 hex digits that change with everything that evidence about two backends depends on. Secrets are not part
/// of it.
fn epoch(config: &Config, candidate: BackendId) -> String {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0, 0);
    for backend in [&config[candidate], &config[config.baseline]] {
        let Backend { engine, url, models, family, translation, system, .. } = backend;
        let text = format!("{engine:?} {url} {models:?} {family:?} {translation:?} {system:?}");
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text.as_bytes());
    }
    hasher.write(config.name.as_bytes());
    format!("{:016x}", hasher.finish())
}
