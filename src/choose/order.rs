//! The order of decision: override, owner of state, pins, owner of a tool call, split.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::assign::{Salts, unit_of_hash};
use super::eligible::Eligible;
use super::key::Keyed;
use super::matching::{self, Unknown};
use super::refused::NotChosen;
use super::request::{Body, Facts, Known, Request};
use super::shares::Shares;
use crate::config::{Backend, Config};
use crate::model::header::{SHIFTGATE_BACKEND, STAINLESS_RETRY_COUNT};
use crate::model::{BackendId, MissingFeatures, Pin, Reason, RouteId};
use crate::translate::{self, Owner};
use crate::wire::endpoint::Endpoint;
use crate::wire::scan::{self, Scan};

/// Draw of a request that the split decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Unit, in hundredths of a percent.
    pub unit: u16,
    /// Position of the key's source in the `sticky` chain; `None` if the unit is random.
    pub key: Option<usize>,
    /// Hash of the key; `None` without a key.
    pub key_hash: Option<u64>,
}

/// Decision before residency and availability are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) route: RouteId,
    pub(super) backend: BackendId,
    pub(super) reason: Reason,
    pub(super) drawn: Option<Drawn>,
    /// True if the backend holds the server-side state that the request refers to: no other one can serve it.
    pub(super) is_bound: bool,
}

/// Decides; `draw` returns a unit for a request without a key.
pub(super) fn decide(
    config: &Config,
    (salts, shares): (&Salts, &Shares),
    (request, facts): (&Request<'_>, &dyn Facts),
    (eligible, keyed): (&Eligible, &Keyed<'_>),
    draw: &mut dyn FnMut() -> u16,
) -> Result<Decision, NotChosen> {
    let scan = request.scan();
    let route = route_of(config, request);
    let at = |backend, reason| Decision { route, backend, reason, drawn: None, is_bound: false };
    if config.server.allow_override
        && let Some(name) = request.headers.get(SHIFTGATE_BACKEND)
    {
        let named = name.to_str().ok().and_then(|name| config.backend(name.trim())).ok_or(NotChosen::UnknownBackend)?;
        return Ok(at(named, Reason::Override));
    }
    if let Some(owner) = owner_of_state(config, request, scan) {
        return Ok(Decision { is_bound: true, ..at(owner, Reason::Affinity) });
    }
    if let Some(pin) = pin(config, route, request, (facts, eligible)) {
        return Ok(at(config.baseline, Reason::Pinned(pin)));
    }
    if let Some(owner) = scan.and_then(|scan| owner_of_call(config, shares, route, scan))
        && eligible.contains(owner)
    {
        return Ok(at(owner, Reason::Affinity));
    }
    let Some(salt) = salts.of(route) else { return Ok(at(config.baseline, Reason::Split)) };
    let found = keyed.get();
    let key_hash = found.map(|key| salt.hash(&key.value));
    let unit = key_hash.map_or_else(draw, unit_of_hash);
    let backend = shares.owner(route, unit).unwrap_or(config.baseline);
    let drawn = Some(Drawn { unit, key: found.map(|key| key.source), key_hash });
    Ok(Decision { route, backend, reason: Reason::Split, drawn, is_bound: false })
}

/// Returns the first matching route; the last route matches everything.
fn route_of(config: &Config, request: &Request<'_>) -> RouteId {
    let last = config.routes.len().saturating_sub(1);
    let found = config.routes.iter().position(|route| matching::matches(&route.matcher, request, Unknown::Fails));
    RouteId::new(found.unwrap_or(last))
}

/// Returns the reason for which a request belongs to the baseline regardless of the draw. It applies if any eligible
/// candidate of the route above 0 % cannot serve the request, so that shares count only requests that could go either
/// way.
fn pin(
    config: &Config,
    route: RouteId,
    request: &Request<'_>,
    (facts, eligible): (&dyn Facts, &Eligible),
) -> Option<Pin> {
    let scan = request.scan();
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
    let percents = config[route].percent.iter();
    let mut candidates = percents
        .filter(|(backend, percent)| percent.hundredths() > 0 && eligible.contains(*backend))
        .map(|(backend, _)| *backend);
    if *request.endpoint == Endpoint::Responses
        && candidates.clone().any(|backend| !serves_responses(&config[backend], facts.known(backend)))
    {
        return Some(Pin::Endpoint);
    }
    if candidates.clone().any(|backend| config[backend].model_for(model).is_none()) {
        return Some(Pin::Model);
    }
    let needs = translate::needs(scan, *request.endpoint);
    if candidates.clone().any(|backend| facts.known(backend).missing.intersects(needs)) {
        return Some(Pin::Probe);
    }
    if let Some(pin) = candidates.find_map(|backend| facts.cannot(config, request, backend)) {
        return Some(pin);
    }
    let retries = request.headers.get(STAINLESS_RETRY_COUNT).and_then(|count| count.to_str().ok());
    let is_retry = retries.and_then(|count| count.trim().parse::<u32>().ok()).is_some_and(|count| count >= 1);
    is_retry.then_some(Pin::Retry)
}

/// True if the file or a probe shows that the backend has `/v1/responses`.
pub(super) fn serves_responses(backend: &Backend, known: Known) -> bool {
    let is_seen = known.is_probed && !known.missing.contains(MissingFeatures::RESPONSES);
    backend.engine.facts().has_responses && (backend.translation.responses || is_seen)
}

/// True if a server stores the answer or the state it refers to. At OpenAI an absent `store` means true.
fn is_stateful(scan: &Scan<'_>) -> bool {
    !scan.is_false("store") || scan.is_true("background") || refers_to_state(scan)
}

/// True if the request continues something that a server stores.
pub(super) fn refers_to_state(scan: &Scan<'_>) -> bool {
    ["previous_response_id", "conversation", "prompt"].iter().any(|field| scan.has(field))
}

/// Returns the backend whose name an id carries.
fn named(config: &Config, owner: Owner) -> Option<BackendId> {
    config.backends_with_ids().find(|(_, backend)| Owner::of(&backend.name) == owner).map(|(id, _)| id)
}

/// The backend that holds the server-side state this request refers to, at any percent. OpenAI's ids carry no name.
fn owner_of_state(config: &Config, request: &Request<'_>, scan: Option<&Scan<'_>>) -> Option<BackendId> {
    let owner = |id: &str| named(config, translate::owner_of_response(id)?.0);
    let in_path = request.path.strip_prefix("/v1/responses/").and_then(|rest| owner(rest.split('/').next()?));
    if in_path.is_some() || *request.endpoint != Endpoint::Responses {
        return in_path;
    }
    owner(&scan?.field(&["previous_response_id".to_owned()])?)
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_id: Option<Cow<'a, str>>,
}

/// Prefix of the tool call ids that shiftgate makes; every body is searched for it.
static OUR_CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("call_q_"));

/// Returns the backend that made the tool call answered here, if it still has a share of this route.
fn owner_of_call(config: &Config, shares: &Shares, route: RouteId, scan: &Scan<'_>) -> Option<BackendId> {
    let turns = scan.get("messages").or_else(|| scan.get("input"))?.get();
    OUR_CALL.find(turns.as_bytes())?;
    let last = scan::list(turns)?.pop()?;
    let turn: Turn<'_> = serde_json::from_str(last.get()).ok()?;
    let owner = named(config, translate::owner_of_call(turn.tool_call_id.or(turn.call_id)?.as_ref())?)?;
    (owner == config.baseline || shares.percent(route, owner).hundredths() > 0).then_some(owner)
}
