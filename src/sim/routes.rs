//! Which request gets which answer: keys, statuses on order, paths, and the faults that show in the answer's text.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde_json::{Deserializer, Map, Value, json};

use super::ask::{Ask, Said};
use super::body::Step;
use super::config::{Behaviour, Fault, SimConfig, Wire};
use super::engine::{self, Asked, Engine, Refusal, Stamp};
use super::responses::Responses;
use super::{Shared, metrics, openai, sglang, tgi, trtllm};

/// An answer that is not sent yet.
pub(super) enum Made {
    /// The answer, and how many tokens it took.
    Whole(Value, u64),
    Stream(Vec<Step>),
    Refused(Refusal, Option<u32>),
    /// A page in Prometheus' format.
    Page(String),
    /// 200, and nothing else.
    Empty,
}

/// A request as the routes see it.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const POSTED: [&str; 5] = [CHAT, COMPLETIONS, RESPONSES, "/v1/embeddings", "/v1/moderations"];

impl Request<'_> {
    fn bears(&self, key: &str) -> bool {
        let given = self.headers.get("authorization").and_then(|value| value.to_str().ok());
        given.and_then(|given| given.strip_prefix("Bearer ")) == Some(key)
    }

    fn is_json(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.to_ascii_lowercase().starts_with("application/json")
    }

    /// Whether the body asks for a stream.
    fn streams(&self) -> bool {
        let asks = |body: Value| body.get("stream").is_some_and(|stream| stream == true);
        POSTED.contains(&self.path) && serde_json::from_slice::<Value>(self.body).is_ok_and(asks)
    }
}

pub(super) fn respond(shared: &Shared, behaviour: &Behaviour, request: &Request<'_>, stamp: Stamp) -> Made {
    let config = &shared.config;
    let engine = engine::of(config.wire);
    if let Some(made) = open(shared, behaviour, request) {
        return made;
    }
    // TGI asks for a key only where something is generated.
    let guarded = config.wire != Wire::Tgi || POSTED.contains(&request.path);
    if guarded && config.api_key.as_deref().is_some_and(|key| !request.bears(key)) {
        return Made::Refused(engine.by_status(401), None);
    }
    if let Some((status, retry_after)) = behaviour.status {
        return told(engine.by_status(status), request.streams(), retry_after);
    }
    if behaviour.fails(stamp.number) {
        return told(engine.by_status(500), request.streams(), None);
    }
    if let Some(rest) = request.path.strip_prefix("/v1/models") {
        return match *request.method {
            Method::GET | Method::HEAD => models(engine, config, rest, stamp),
            _ => Made::Refused(engine.by_status(405), None),
        };
    }
    let known = POSTED.contains(&request.path);
    if known && *request.method != Method::POST {
        return Made::Refused(engine.by_status(405), None);
    }
    if known
        && !request.is_json()
        && let Some(refusal) = engine.foreign(request.path)
    {
        return Made::Refused(refusal, None);
    }
    if config.wire == Wire::Sglang && *request.method == Method::DELETE && request.path.starts_with(RESPONSES) {
        return Made::Refused(engine.by_status(405), None);
    }
    let body = match parse(config.wire, request.body) {
        Ok(Value::Object(body)) => body,
        _ if !known => Map::new(),
        _ => return Made::Refused(engine.broken(request.body, request.path), None),
    };
    generate(
        shared,
        behaviour,
        engine,
        &Asked { body: &body, config, path: request.path, size: request.body.len() },
        stamp,
    )
    .unwrap_or_else(|| Made::Refused(engine.by_status(404), None))
}

/// TGI reads to the end of the first value and no further.
fn parse(wire: Wire, body: &Bytes) -> serde_json::Result<Value> {
    if wire == Wire::Tgi
        && let Some(first) = Deserializer::from_slice(body).into_iter::<Value>().next()
    {
        return first;
    }
    serde_json::from_slice(body)
}

/// What is served without a key and whatever happens.
fn open(shared: &Shared, behaviour: &Behaviour, request: &Request<'_>) -> Option<Made> {
    let (config, load) = (&shared.config, behaviour.load);
    if *request.method != Method::GET {
        return None;
    }
    if request.path == metrics::DCGM {
        return Some(Made::Page(metrics::dcgm(load)));
    }
    if metrics::path(config.wire) == Some(request.path) {
        return Some(Made::Page(metrics::page(config, load, &shared.tokens)));
    }
    // One that fails everything is not well either.
    if let Some((status, retry_after)) =
        behaviour.status.filter(|(status, _)| *status >= 500 && request.path == "/health")
    {
        return Some(Made::Refused(engine::of(config.wire).by_status(status), retry_after));
    }
    Some(match (config.wire, request.path) {
        (Wire::Vllm | Wire::Sglang | Wire::Trtllm | Wire::Tgi, "/health") => Made::Empty,
        (Wire::Vllm | Wire::Sglang | Wire::Tgi, "/ping") => Made::Empty,
        (Wire::Sglang, "/ready") | (Wire::Sglang | Wire::Trtllm, "/health_generate") => Made::Empty,
        (Wire::Vllm, "/version") => Made::Whole(json!({"version": "0.32.0"}), 0),
        (Wire::Trtllm, "/version") => Made::Whole(json!({"version": "1.2.1"}), 0),
        (Wire::Sglang, "/v1/loads") => {
            Made::Whole(sglang::loads(load.running, load.waiting, load.kv_usage, config.max_model_len), 0)
        }
        (Wire::Trtllm, "/metrics") => Made::Whole(trtllm::iterations(load.running, load.waiting, load.kv_usage), 0),
        (Wire::Sglang, "/") => Made::Whole(json!("SGLang is running"), 0),
        (Wire::Tgi, "/") => Made::Empty,
        (Wire::Tgi, "/info") => Made::Whole(tgi::info(config), 0),
        _ => return None,
    })
}

fn told(refusal: Refusal, streamed: bool, retry_after: Option<u32>) -> Made {
    match &refusal.event {
        Some(event) if streamed => Made::Stream(vec![Step::event(event, false), Step::done()]),
        _ => Made::Refused(refusal, retry_after),
    }
}

fn models(engine: &dyn Engine, config: &SimConfig, rest: &str, stamp: Stamp) -> Made {
    let list = engine.models(config, stamp);
    if rest.is_empty() {
        return Made::Whole(list, 0);
    }
    let Some(name) = rest.strip_prefix('/') else { return Made::Refused(engine.by_status(404), None) };
    let all = list["data"].as_array();
    let one = all.and_then(|all| all.iter().find(|one| one["id"] == name)).filter(|_| config.wire != Wire::Tgi);
    one.map_or_else(|| Made::Refused(engine.no_model(name), None), |one| Made::Whole(one.clone(), 0))
}

fn generate(
    shared: &Shared,
    behaviour: &Behaviour,
    engine: &dyn Engine,
    asked: &Asked<'_>,
    stamp: Stamp,
) -> Option<Made> {
    let (config, body) = (asked.config, asked.body);
    let refusal = match asked.path {
        CHAT => engine.refuse(asked),
        COMPLETIONS => engine.refuse_completion(asked),
        RESPONSES => engine.refuse_response(asked),
        path => return other(config.wire, path, body),
    };
    let mut ask = Ask::read(body, config);
    if behaviour.fault == Fault::CallAsText {
        ask.calls_as_text();
    }
    let choices = if config.wire == Wire::Tgi || asked.path != CHAT { 1 } else { ask.choices };
    let said: Vec<Said> = (0..choices).map(|choice| ask.say(choice, behaviour)).collect();
    let first = said.first()?;
    let responses = Responses { wire: config.wire, body, ask: &ask, said: first, stamp };
    if let Some(refusal) = refusal.or_else(|| engine.refuse_answer(&ask)) {
        return Some(match &refusal.event {
            Some(error) if asked.path == RESPONSES && ask.stream => Made::Stream(responses.failed(error)),
            _ => told(refusal, ask.stream, None),
        });
    }
    let (spent, _) = ask.spent(&said);
    shared.tokens.add(ask.prompt_tokens, spent);
    Some(match (asked.path, ask.stream) {
        (CHAT, false) => Made::Whole(unfinished(engine.whole(&ask, &said, stamp), behaviour.fault), spent),
        (COMPLETIONS, false) => Made::Whole(engine.completion(&ask, first, stamp), spent),
        (_, false) => Made::Whole(responses.whole(), spent),
        (path, true) => {
            let steps = match path {
                CHAT => engine.stream(&ask, &said, stamp),
                COMPLETIONS => engine.completion_stream(&ask, first, stamp),
                _ => responses.stream(),
            };
            Made::Stream(disturb(steps, behaviour.fault, engine))
        }
    })
}

/// What only OpenAI has, and ids that nobody keeps.
fn other(wire: Wire, path: &str, body: &Map<String, Value>) -> Option<Made> {
    if let (Wire::Sglang, Some(rest)) = (wire, path.strip_prefix("/v1/responses/")) {
        return (!rest.is_empty()).then(|| Made::Refused(sglang::no_store(), None));
    }
    if (wire, path) == (Wire::Sglang, "/v1/embeddings") {
        return Some(Made::Refused(sglang::no_embeddings(), None));
    }
    if wire != Wire::OpenAi {
        return None;
    }
    match path {
        "/v1/embeddings" => Some(Made::Whole(openai::embeddings(body), 0)),
        "/v1/moderations" => Some(Made::Whole(openai::moderation(body), 0)),
        path if path.starts_with("/v1/files") => {
            Some(Made::Whole(json!({"object": "list", "data": [], "has_more": false}), 0))
        }
        _ => None,
    }
}

fn unfinished(mut answer: Value, fault: Fault) -> Value {
    if fault == Fault::NoFinish {
        for choice in answer["choices"].as_array_mut().into_iter().flatten() {
            choice["finish_reason"] = Value::Null;
        }
    }
    answer
}

fn disturb(mut steps: Vec<Step>, fault: Fault, engine: &dyn Engine) -> Vec<Step> {
    match fault {
        Fault::ErrorEventFirst => return engine.broken_off(),
        Fault::ErrorEventAfter(count) => {
            steps.truncate(count);
            steps.extend(engine.broken_off());
        }
        Fault::NoDone => steps.retain(|step| !step.is_done()),
        Fault::NoFinish => steps.retain(|step| !step.finishes()),
        Fault::Comments => {
            steps = steps.into_iter().flat_map(|step| [Step::comment(), step]).collect();
        }
        _ => {}
    }
    steps
}
