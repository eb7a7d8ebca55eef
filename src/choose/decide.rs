//! The order of decision: override, owner of state, pins, owner of a tool's call, the split.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderMap;
use memchr::memmem::Finder;
use serde::Deserialize;

use super::assign::{Intervals, Purpose, Salt};
use super::key;
use crate::config::{Backend, Config, RouteMatch};
use crate::model::header::{SHIFTGATE_BACKEND, STAINLESS_RETRY_COUNT};
use crate::model::{Engine, MissingFeatures, Pin, Reason};
use crate::translate::{self, Owner, TranslateInput};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{self, Scan};

/// What there is of a request's body.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Scanned(&'a Scan<'a>),
    Unparsable,
    OverCap,
    /// The endpoint's body is none of our business.
    NotRead,
}

/// What a decision is made of.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub endpoint: &'a Endpoint,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Body<'a>,
    /// What was learnt of the backends, by their places in the file.
    pub known: &'a dyn Fn(usize) -> Known,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("endpoint", self.endpoint).finish_non_exhaustive()
    }
}

/// What a backend said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    pub max_model_len: Option<u64>,
    /// What a probe found not to work there.
    pub lacks: MissingFeatures,
    /// A probe has looked; what it did not miss works.
    pub probed: bool,
}

/// Route, backend, reason; and for the split how it came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub route: usize,
    pub backend: usize,
    pub reason: Reason,
    /// The split's, in hundredths of a percent; also where it was drawn.
    pub unit: Option<u16>,
    /// Index into the sticky chain; `None` when the unit was drawn.
    pub key: Option<usize>,
}

/// The override header names no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownBackend;

/// Worked out once for each file.
#[derive(Debug)]
pub struct Tables(Vec<(Intervals, Salt)>);

impl Tables {
    pub fn new(config: &Config) -> Self {
        let table = |route: &crate::config::Route| {
            (Intervals::new(&route.percent), Salt::new(Purpose::Split, &config.name, &route.name))
        };
        Self(config.routes.iter().map(table).collect())
    }
}

/// Decides; `draw` gives a unit where there is no key.
pub fn decide(
    config: &Config,
    tables: &Tables,
    request: &Request<'_>,
    draw: &mut dyn FnMut() -> u16,
) -> Result<Decision, UnknownBackend> {
    let scan = match request.body {
        Body::Scanned(scan) => Some(scan),
        Body::Unparsable | Body::OverCap | Body::NotRead => None,
    };
    let route = route_of(config, request, scan);
    let at = |backend, reason| Decision { route, backend, reason, unit: None, key: None };
    if config.server.allow_override
        && let Some(name) = request.headers.get(SHIFTGATE_BACKEND)
    {
        let named = name.to_str().ok().and_then(|name| config.backend(name.trim())).ok_or(UnknownBackend)?;
        return Ok(at(named, Reason::Override));
    }
    if let Some(owner) = owner_of_state(config, request, scan) {
        return Ok(at(owner, Reason::Affinity));
    }
    if let Some(pin) = pin(config, route, request, scan) {
        return Ok(at(config.baseline, Reason::Pinned(pin)));
    }
    if let Some(owner) = scan.and_then(|scan| owner_of_call(config, route, scan)) {
        return Ok(at(owner, Reason::Affinity));
    }
    let Some((intervals, salt)) = tables.0.get(route) else { return Ok(at(config.baseline, Reason::Split)) };
    let found = key::find(&config.sticky, request.headers, scan);
    let unit = found.as_ref().map_or_else(draw, |key| salt.unit(&key.value));
    let backend = intervals.owner(unit).unwrap_or(config.baseline);
    Ok(Decision { route, backend, reason: Reason::Split, unit: Some(unit), key: found.map(|key| key.source) })
}

/// First match wins; the last route matches everything.
fn route_of(config: &Config, request: &Request<'_>, scan: Option<&Scan<'_>>) -> usize {
    let model = scan.and_then(Scan::model);
    let matches = |rule: &RouteMatch| {
        rule.path.as_ref().is_none_or(|glob| glob.matches(request.path))
            && rule.model.as_ref().is_none_or(|glob| model.as_ref().is_some_and(|model| glob.matches(model)))
            && rule.header.iter().all(|(name, glob)| {
                let mut values = request.headers.get_all(name).iter();
                values.any(|value| value.to_str().is_ok_and(|value| glob.matches(value)))
            })
    };
    let last = config.routes.len().saturating_sub(1);
    config.routes.iter().position(|route| matches(&route.matcher)).unwrap_or(last)
}

fn pin(config: &Config, route: usize, request: &Request<'_>, scan: Option<&Scan<'_>>) -> Option<Pin> {
    if *request.endpoint == Endpoint::Responses
        && let Some(scan) = scan
        && is_stateful(scan)
    {
        return Some(Pin::Stateful);
    }
    if !request.endpoint.split_candidate() {
        return Some(Pin::Endpoint);
    }
    let Some(scan) = scan else {
        return Some(if matches!(request.body, Body::OverCap) { Pin::BodyOverCap } else { Pin::Unparsable });
    };
    let Some(model) = scan.model() else { return Some(Pin::Unparsable) };
    let mut candidates = config
        .routes
        .get(route)?
        .percent
        .iter()
        .filter(|(_, percent)| percent.hundredths() > 0)
        .filter_map(|(backend, _)| Some((*backend, config.backends.get(*backend)?)));
    if *request.endpoint == Endpoint::Responses
        && candidates.clone().any(|(backend, one)| !serves_responses(one, (request.known)(backend)))
    {
        return Some(Pin::Endpoint);
    }
    if candidates.clone().any(|(_, one)| one.model_for(model).is_none()) {
        return Some(Pin::Model);
    }
    let needs = translate::needs(scan, *request.endpoint);
    if candidates.clone().any(|(backend, _)| (request.known)(backend).lacks.intersects(needs)) {
        return Some(Pin::Probe);
    }
    let cannot = candidates.find_map(|(backend, one)| {
        // Nothing of the body's text is needed to tell.
        let body = &Bytes::new();
        let max_model_len = (request.known)(backend).max_model_len;
        translate::pin_exactly(&TranslateInput {
            body,
            scan,
            endpoint: *request.endpoint,
            backend: one,
            is_baseline: false,
            max_model_len,
        })
    });
    if let Some(pinned) = cannot {
        return Some(pinned.pin);
    }
    let retries = request.headers.get(STAINLESS_RETRY_COUNT).and_then(|count| count.to_str().ok());
    if retries.and_then(|count| count.trim().parse::<u32>().ok()).is_some_and(|count| count >= 1) {
        return Some(Pin::Retry);
    }
    None
}

/// The file says so, or a probe has seen it. TGI has no such endpoint.
fn serves_responses(backend: &Backend, known: Known) -> bool {
    let seen = known.probed && !known.lacks.contains(MissingFeatures::RESPONSES);
    backend.engine != Engine::Tgi && (backend.translation.responses || seen)
}

/// Whether the answer, or what it builds on, is kept by a server. An unset `store` means yes at OpenAI.
fn is_stateful(scan: &Scan<'_>) -> bool {
    !scan.is_false("store")
        || scan.is_true("background")
        || ["previous_response_id", "conversation", "prompt"].iter().any(|field| scan.has(field))
}

/// The backend of the file whose name an id carries.
fn named(config: &Config, owner: Owner) -> Option<usize> {
    config.backends.iter().position(|backend| Owner::of(&backend.name) == owner)
}

/// Whose server keeps what the request builds on; whatever the percent. Ids of OpenAI are no one's here.
fn owner_of_state(config: &Config, request: &Request<'_>, scan: Option<&Scan<'_>>) -> Option<usize> {
    let of = |id: &str| named(config, translate::owner_of_response(id)?.0);
    let in_path = request.path.strip_prefix("/v1/responses/").and_then(|rest| of(rest.split('/').next()?));
    if in_path.is_some() || *request.endpoint != Endpoint::Responses {
        return in_path;
    }
    of(&scan?.field(&["previous_response_id".to_owned()])?)
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
}

/// How our ids of calls begin; looked for in every body.
static OUR_CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("call_q_"));

/// A tool's result goes to who asked for it, as long as that one serves anything at all on this route.
fn owner_of_call(config: &Config, route: usize, scan: &Scan<'_>) -> Option<usize> {
    let turns = scan.get("messages").or_else(|| scan.get("input"))?.get();
    OUR_CALL.find(turns.as_bytes())?;
    let last = scan::list(turns)?.pop()?;
    let turn: Turn<'_> = serde_json::from_str(last.get()).ok()?;
    let owner = named(config, translate::owner_of_call(turn.tool_call_id.or(turn.call_id)?.as_ref())?)?;
    let serves = |(backend, percent): &(usize, crate::model::Percent)| *backend == owner && percent.hundredths() > 0;
    (owner == config.baseline || config.routes.get(route)?.percent.iter().any(serves)).then_some(owner)
}
