//! The conformance probe: sends each backend requests of the kinds that applications use, and judges the answers.
//!
//! Owns: the test requests, the verdicts, the list of missing features. Does not: pin requests. Invariant: reports show
//! no key, and a server's text only truncated and without control characters.

mod ask;
mod call;
mod feature;
mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;

use self::ask::Asker;
use self::call::{call, get};
pub use self::feature::Feature;
use self::judge::{Finding, judge};
use super::deadlines::ends_in;
use super::intervals::PollIntervals;
use super::length::length;
use super::pause::Pause;
use crate::backend::{Auth, Failure, ModelEnd, ModelEnds, Target};
use crate::model::{ContextLength, Engine, MissingFeatures};
use crate::outcome::Role;

/// Limit of a server's text in a report, in characters; longer texts are truncated.
const MAX_DETAIL: usize = 160;
/// Limit of model names in a report; further ones are counted.
const MAX_MODELS: usize = 3;

/// Verdict about a feature of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The backend supports it.
    Works,
    /// It works with shiftgate's translation.
    Translated,
    /// Requests that need it go to the baseline.
    Pinned,
    /// The backend does not support it, or could not be tested.
    Failed,
    /// The answer ended before it showed whether the backend supports it, or no request can show it.
    Unknown,
}

impl Verdict {
    /// Text in reports and their JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Translated => "translated",
            Self::Pinned => "pinned",
            Self::Failed => "failed",
            Self::Unknown => "not known",
        }
    }
}

/// Result of one feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The feature tested.
    pub feature: Feature,
    /// Its verdict.
    pub verdict: Verdict,
    /// Reason for the verdict, on one line; may be empty.
    pub detail: String,
    /// Flag or setting that would help.
    pub hint: Option<&'static str>,
}

/// Availability of a backend for the probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The backend was probed.
    Yes,
    /// It was not probed: its key is the application's. With the reason.
    No(String),
    /// It could not be reached or rejected the key. With the reason.
    NoAnswer(String),
}

/// Result of the probe of one backend.
#[derive(Debug, Clone)]
pub struct Report {
    /// Name of the backend.
    pub backend: String,
    /// Its engine.
    pub engine: Engine,
    /// Availability; with the reason if it was not probed.
    pub asked: Asked,
    /// One row per feature; empty if it was not probed.
    pub rows: Vec<Row>,
    /// Models that end, by its list of models; the first to end first.
    pub ends: Vec<ModelEnd>,
}

/// Time limit of one backend's probe; features left after it are reported as untested. A backend that hangs once hangs
/// on.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tests every feature, one after the other.
pub async fn probe(target: &Arc<Target>, role: Role) -> Report {
    let (name, engine) = (target.config.name.clone(), target.config.engine);
    let until = Instant::now() + PATIENCE;
    let mut report = Report { backend: name, engine, asked: Asked::Yes, rows: Vec::new(), ends: Vec::new() };
    let served = match models(target).await {
        Ok((served, ends)) => {
            report.ends = ends;
            served
        }
        Err(asked) => return Report { asked, ..report },
    };
    let asker = begin(target, role, served.as_ref()).await;
    report.rows.push(models_row(&asker, served));
    for feature in Feature::ALL.into_iter().filter(|feature| *feature != Feature::Models && feature.is_asked(engine)) {
        let finding = if Instant::now() < until {
            find(&asker, feature).await
        } else {
            Finding::Silent("not asked: what was asked before took too long".to_owned())
        };
        match finding {
            Finding::Locked(status) => {
                report.asked = locked(target, status);
                return report;
            }
            finding => report.rows.push(row(&asker, feature, finding)),
        }
    }
    report
}

/// Repeats the probe until it succeeds, and then from time to time while features are missing. Tests only features that
/// pins depend on.
pub(super) async fn keep_probed(target: &Arc<Target>, pace: PollIntervals) {
    let mut pause = Pause::new(pace);
    loop {
        match lacking(target).await {
            Some(lacking) => {
                let lacks = lacking.values().fold(MissingFeatures::NONE, |all, (lack, _)| all | *lack);
                if target.facts.probed() != Some(lacks) {
                    tell(target, &lacking);
                }
                target.facts.set_lacks(lacks);
                if lacks.is_empty() {
                    return;
                }
                tokio::time::sleep(pace.probe_again.mul_f64(rand::random_range(0.8..1.2))).await;
                pause = Pause::new(pace);
            }
            None => pause.wait().await,
        }
    }
}

/// Missing features and their rows, by the feature's name.
type Lacking = BTreeMap<&'static str, (MissingFeatures, Row)>;

/// Returns the missing features; `None` if some could not be tested.
async fn lacking(target: &Arc<Target>) -> Option<Lacking> {
    let (served, _) = models(target).await.ok()?;
    let asker = begin(target, Role::Candidate, served.as_ref()).await;
    let mut lacking = Lacking::new();
    for feature in Feature::ALL {
        let Some(lack) = feature.lack() else { continue };
        let finding = find(&asker, feature).await;
        match finding {
            Finding::Good { .. } => {}
            Finding::Silent(_) | Finding::Locked(_) | Finding::NoModel(_) => return None,
            // A longer answer may show it, and an application's answer may be longer.
            Finding::Cut | Finding::NotTested(_) => {}
            // Features that the translation does not send are pinned by it, except a path, which it does not check.
            Finding::Pinned(_) if feature != Feature::Responses => {}
            Finding::Bad(_) | Finding::Pinned(_) => {
                lacking.insert(feature.as_str(), (lack, row(&asker, feature, finding)));
            }
        }
    }
    Some(lacking)
}

fn tell(target: &Target, lacking: &Lacking) {
    let backend = &target.config.name;
    for (feature, (_, row)) in lacking {
        let hint = row.hint.unwrap_or_default();
        tracing::warn!(
            backend,
            feature,
            detail = row.detail,
            hint,
            "the feature does not work on the backend: requests that need it go to the baseline"
        );
    }
    if lacking.is_empty() {
        tracing::info!(backend, "all probed features work on the backend");
    }
}

/// Returns the names of the backend's models, `None` if it has no list; and the models that end.
async fn models(target: &Arc<Target>) -> Result<(Option<Vec<String>>, Vec<ModelEnd>), Asked> {
    let unusable = || Asked::NoAnswer("its path cannot be asked for".to_owned());
    let plan = get(target, "/v1/models").map_err(|_| unusable())?;
    let answer = call(plan).await.map_err(|failure| Asked::NoAnswer(failure.to_string()))?;
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(locked(target, answer.status)),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Asked::NoAnswer(format!("it answered {}", status.as_u16())));
        }
        _ => {}
    }
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let names = |list: &Vec<Value>| list.iter().filter_map(|one| Some(one["id"].as_str()?.to_owned())).collect();
    let ends = ModelEnds::default();
    if answer.status.is_success() {
        ends.set(ends_in(&answer.body).unwrap_or_default());
    }
    let names = json["data"].as_array().filter(|_| answer.status.is_success()).map(names);
    Ok((names, ends.of(|_| true).unwrap_or_default()))
}

fn locked(target: &Target, status: StatusCode) -> Asked {
    match target.auth {
        Auth::Client => Asked::No("its key is the application's".to_owned()),
        Auth::None => Asked::NoAnswer(format!("it wants a key ({})", status.as_u16())),
        Auth::Bearer(_) => Asked::NoAnswer(format!("it refuses the key ({})", status.as_u16())),
    }
}

async fn begin<'a>(target: &'a Arc<Target>, role: Role, served: Option<&Vec<String>>) -> Asker<'a> {
    let (model, served) = ask::model_of(&target.config, served.map_or(&[], Vec::as_slice));
    let context = match (target.max_model_len(), target.config.engine.facts().context_length) {
        (_, ContextLength::Unasked) => None,
        (Some(length), ContextLength::Models) => Some(length),
        // `/info` has the limit on prompts too, which no file sets.
        (known, ContextLength::Info) => length(target).await.filter(|_| known.is_none()).or(known),
        (None, ContextLength::Models) => length(target).await,
    };
    Asker { target, role, model, served, context }
}

async fn find(asker: &Asker<'_>, feature: Feature) -> Finding {
    if feature == Feature::Context && asker.context.is_none() {
        return Finding::Bad("its length is not known".to_owned());
    }
    if matches!(feature, Feature::Developer | Feature::LateSystem) && asker.replaces_system() {
        return Finding::NotTested("not tested: system = { replace } takes the place of such messages");
    }
    let requests = match asker.requests(feature) {
        Ok(requests) => requests,
        Err(why) => return Finding::Pinned(why),
    };
    let mut found = Finding::Good { native: true, advise: false, detail: "" };
    if feature == Feature::Context && requests.is_empty() {
        found = Finding::Good { native: true, advise: false, detail: "too long to be tried" };
    }
    for sent in requests {
        let finding = match call(sent.plan).await {
            Ok(answer) => judge(feature, &answer),
            // The server is reachable but does not answer this request.
            Err(failure @ Failure::Timeout(_)) => Finding::Bad(failure.to_string()),
            Err(failure) => Finding::Silent(failure.to_string()),
        };
        match finding {
            Finding::Good { native, advise, detail } => {
                if !native || sent.is_translated {
                    found = Finding::Good { native: false, advise, detail };
                }
            }
            other => return other,
        }
    }
    found
}

fn models_row(asker: &Asker<'_>, names: Option<Vec<String>>) -> Row {
    let feature = Feature::Models;
    let Some(names) = names else {
        return Row { feature, verdict: Verdict::Failed, detail: "there is no such list".to_owned(), hint: None };
    };
    let shown = names.iter().take(MAX_MODELS).cloned().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(MAX_MODELS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let config = &asker.target.config;
    // TGI serves one model under any name.
    let is_there = names.contains(&asker.served) || config.engine.facts().own_model_name.is_some();
    let (verdict, detail, hint) = if is_there {
        (Verdict::Works, format!("{shown}{more}"), None)
    } else {
        let detail = format!("{} is not among {shown}{more}", asker.served);
        (Verdict::Failed, detail, feature.hint(config.engine, config.family))
    };
    Row { feature, verdict, detail: clean(asker.target, &detail), hint }
}

fn row(asker: &Asker<'_>, feature: Feature, finding: Finding) -> Row {
    let config = &asker.target.config;
    let hint = feature.hint(config.engine, config.family);
    let probe = config.translation.probe;
    let is_sent = config.translation.responses || probe || config.engine.facts().speaks_openai;
    let (verdict, detail, hint) = match finding {
        Finding::Good { .. } if feature == Feature::Responses && !is_sent => {
            let hint = "responses = true of its section in rollout.toml";
            (Verdict::Pinned, "it works, and is not used".to_owned(), Some(hint))
        }
        Finding::Good { native, advise, detail } => {
            let verdict = if native { Verdict::Works } else { Verdict::Translated };
            (verdict, detail.to_owned(), hint.filter(|_| advise))
        }
        Finding::Pinned(why) => (Verdict::Pinned, why.to_owned(), None),
        Finding::NotTested(why) => (Verdict::Unknown, why.to_owned(), None),
        Finding::Bad(detail) => {
            let unused = feature == Feature::Responses && !config.translation.responses;
            let pinned = (probe && feature.lack().is_some()) || unused;
            let verdict = if pinned { Verdict::Pinned } else { Verdict::Failed };
            let hint = hint.filter(|_| feature.is_hint_apt(config.engine, &detail));
            (verdict, detail, hint)
        }
        Finding::Cut => {
            let hint = if config.family.is_some() {
                "raise thinking_budget_factor of its section in rollout.toml"
            } else {
                "family of its section in rollout.toml: without it the model thinks unasked"
            };
            (Verdict::Unknown, "the token limit cut its answer within a thought".to_owned(), Some(hint))
        }
        Finding::NoModel(detail) => (Verdict::Failed, detail, Feature::Models.hint(config.engine, config.family)),
        Finding::Silent(detail) => (Verdict::Failed, detail, None),
        Finding::Locked(status) => (Verdict::Failed, format!("it answered {}", status.as_u16()), None),
    };
    let detail = match (feature, asker.context, asker.target.facts.max_input_tokens()) {
        (Feature::Context, Some(length), Some(input)) => {
            format!("{length} tokens, of which the prompt may have {input}: {detail}")
        }
        (Feature::Context, Some(length), None) => format!("{length} tokens: {detail}"),
        _ => detail,
    };
    Row { feature, verdict, detail: clean(asker.target, detail.trim_end_matches([':', ' '])), hint }
}

/// Returns a server's text without control characters and keys, on one line.
fn clean(target: &Target, words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    let mut line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if let Auth::Bearer(value) = &target.auth
        && let Some(key) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "))
        && !key.is_empty()
    {
        line = line.replace(key, "****");
    }
    line.chars().take(MAX_DETAIL).collect()
}
