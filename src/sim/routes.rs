//! The answer to each request: keys, configured statuses, paths, and the faults that show in the answer's text.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use serde_json::{Deserializer, Map, Value};

use super::config::{Behaviour, Fault, SimConfig};
use super::metrics::{self, Measurements, MetricsPage};
use super::params::{GenerationParams, Output};
use super::quirks::Quirks;
use super::responses::Responses;
use super::simulator::{ApiRequest, Refusal, Reply, Simulator};
use super::stamp::Stamp;
use super::state::SharedState;
use super::step::Step;

/// A request before its body is parsed.
#[derive(Debug)]
pub(super) struct RawRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const POSTED: [&str; 5] = [CHAT, COMPLETIONS, RESPONSES, "/v1/embeddings", "/v1/moderations"];

impl RawRequest<'_> {
    fn bears(&self, key: &str) -> bool {
        let given = self.headers.get("authorization").and_then(|value| value.to_str().ok());
        given.and_then(|given| given.strip_prefix("Bearer ")) == Some(key)
    }

    fn is_json(&self) -> bool {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.to_ascii_lowercase().starts_with("application/json")
    }

    /// True if the body asks for a stream.
    fn is_streamed(&self) -> bool {
        let asks = |body: Value| body.get("stream").is_some_and(|stream| stream == true);
        POSTED.contains(&self.path) && serde_json::from_slice::<Value>(self.body).is_ok_and(asks)
    }
}

/// Returns the answer to a request.
pub(super) fn respond(
    shared: &SharedState,
    simulator: &dyn Simulator,
    behaviour: &Behaviour,
    request: &RawRequest<'_>,
    stamp: Stamp,
) -> Reply {
    let (config, quirks) = (&shared.config, simulator.quirks());
    if let Some(reply) = open_page(shared, simulator, behaviour, request) {
        return reply;
    }
    let guarded = !quirks.guards_generation_only || POSTED.contains(&request.path);
    if guarded && config.api_key.as_deref().is_some_and(|key| !request.bears(key)) {
        return Reply::Refused(simulator.by_status(401), None);
    }
    if let Some((status, retry_after)) = behaviour.status {
        return refused(simulator.by_status(status), request.is_streamed(), retry_after);
    }
    if behaviour.fails(stamp.number) {
        return refused(simulator.by_status(500), request.is_streamed(), None);
    }
    if let Some(rest) = request.path.strip_prefix("/v1/models") {
        return match *request.method {
            Method::GET | Method::HEAD => models(simulator, config, rest, stamp),
            _ => Reply::Refused(simulator.by_status(405), None),
        };
    }
    let known = POSTED.contains(&request.path);
    if known && *request.method != Method::POST {
        return Reply::Refused(simulator.by_status(405), None);
    }
    if known
        && !request.is_json()
        && let Some(refusal) = simulator.refuse_content_type(request.path)
    {
        return Reply::Refused(refusal, None);
    }
    let body = match parse(request.body, quirks) {
        Ok(Value::Object(body)) => body,
        _ if !known => Map::new(),
        _ => return Reply::Refused(simulator.refuse_body(request.body, request.path), None),
    };
    let reply = match request.path {
        CHAT | COMPLETIONS | RESPONSES => {
            let request = ApiRequest { body: &body, config, path: request.path, size: request.body.len() };
            generate(shared, simulator, behaviour, &request, stamp)
        }
        path => simulator.other_path(request.method, path, &body),
    };
    reply.unwrap_or_else(|| Reply::Refused(simulator.by_status(404), None))
}

fn parse(body: &Bytes, quirks: &Quirks) -> serde_json::Result<Value> {
    if quirks.ignores_trailing
        && let Some(first) = Deserializer::from_slice(body).into_iter::<Value>().next()
    {
        return first;
    }
    serde_json::from_slice(body)
}

/// Returns the pages that need no key and fail only if everything fails.
fn open_page(
    shared: &SharedState,
    simulator: &dyn Simulator,
    behaviour: &Behaviour,
    request: &RawRequest<'_>,
) -> Option<Reply> {
    let (config, load) = (&shared.config, behaviour.load);
    if *request.method != Method::GET {
        return None;
    }
    if request.path == metrics::DCGM {
        return Some(Reply::Page(metrics::dcgm(load)));
    }
    if simulator.quirks().metrics_path == Some(request.path) {
        let mut page = MetricsPage::default();
        simulator.write_metrics(&mut page, &Measurements::new(config.served(), load, &shared.tokens));
        return Some(Reply::Page(page.into_text()));
    }
    // A server that fails every request is not healthy either.
    if let Some((status, retry_after)) =
        behaviour.status.filter(|(status, _)| *status >= 500 && request.path == "/health")
    {
        return Some(Reply::Refused(simulator.by_status(status), retry_after));
    }
    simulator.open_page(request.path, config, load)
}

/// Returns the refusal, within a stream if the engine reports it so.
fn refused(refusal: Refusal, is_streamed: bool, retry_after: Option<u32>) -> Reply {
    match &refusal.event {
        Some(event) if is_streamed => Reply::Stream(vec![Step::event(event, false), Step::done()]),
        _ => Reply::Refused(refusal, retry_after),
    }
}

fn models(simulator: &dyn Simulator, config: &SimConfig, rest: &str, stamp: Stamp) -> Reply {
    let list = simulator.models(config, stamp);
    if rest.is_empty() {
        return Reply::Whole(list, 0);
    }
    let Some(name) = rest.strip_prefix('/') else { return Reply::Refused(simulator.by_status(404), None) };
    let entry = list["data"].as_array().and_then(|all| all.iter().find(|entry| entry["id"] == name));
    match entry.filter(|_| simulator.quirks().serves_each_model) {
        Some(entry) => Reply::Whole(entry.clone(), 0),
        None => Reply::Refused(simulator.unknown_model(name), None),
    }
}

/// Returns the answer of a path that generates tokens.
fn generate(
    shared: &SharedState,
    simulator: &dyn Simulator,
    behaviour: &Behaviour,
    request: &ApiRequest<'_>,
    stamp: Stamp,
) -> Option<Reply> {
    let (path, quirks) = (request.path, simulator.quirks());
    let refusal = match path {
        CHAT => simulator.refuse(request),
        COMPLETIONS => simulator.refuse_completion(request),
        _ => simulator.refuse_response(request),
    };
    let mut params = GenerationParams::read(request.body, request.config, quirks);
    if behaviour.fault == Fault::CallAsText {
        params.write_calls_as_text();
    }
    params.plant(&behaviour.differences, request.body, stamp.number);
    let choices = if quirks.one_choice || path != CHAT { 1 } else { params.choices };
    let outputs: Vec<Output> = (0..choices).map(|choice| params.generate(choice, behaviour)).collect();
    let first = outputs.first()?;
    let responses = simulator.responses().map(|dialect| Responses {
        dialect,
        body: request.body,
        params: &params,
        output: first,
        stamp,
    });
    if let Some(refusal) = refusal.or_else(|| simulator.refuse_answer(&params)) {
        return Some(match (&refusal.event, responses) {
            (Some(error), Some(responses)) if path == RESPONSES && params.stream => {
                Reply::Stream(responses.failed(error))
            }
            _ => refused(refusal, params.stream, None),
        });
    }
    let (spent, _) = params.spent(&outputs);
    shared.tokens.add(params.prompt_tokens, behaviour.load.prefix_hits, spent);
    Some(match (path, params.stream) {
        (CHAT, false) => Reply::Whole(unfinished(simulator.whole(&params, &outputs, stamp), behaviour.fault), spent),
        (COMPLETIONS, false) => Reply::Whole(simulator.completion(&params, first, stamp), spent),
        (_, false) => Reply::Whole(responses?.whole(), spent),
        (path, true) => {
            let steps = match path {
                CHAT => simulator.stream(&params, &outputs, stamp),
                COMPLETIONS => simulator.completion_stream(&params, first, stamp),
                _ => responses?.stream(),
            };
            Reply::Stream(disturbed(steps, behaviour.fault, simulator))
        }
    })
}

/// Removes the finish reasons, if the fault says so.
fn unfinished(mut answer: Value, fault: Fault) -> Value {
    if fault == Fault::NoFinish {
        for choice in answer["choices"].as_array_mut().into_iter().flatten() {
            choice["finish_reason"] = Value::Null;
        }
    }
    answer
}

/// Applies the faults that show in the events of a stream.
fn disturbed(mut steps: Vec<Step>, fault: Fault, simulator: &dyn Simulator) -> Vec<Step> {
    match fault {
        Fault::ErrorEventFirst => return simulator.late_error(),
        Fault::ErrorEventAfter(count) => {
            steps.truncate(count);
            steps.extend(simulator.late_error());
        }
        Fault::NoDone => steps.retain(|step| !step.is_done()),
        Fault::NoFinish => steps.retain(|step| !step.has_finish()),
        Fault::Comments => {
            steps = steps.into_iter().flat_map(|step| [Step::comment(), step]).collect();
        }
        _ => {}
    }
    steps
}
