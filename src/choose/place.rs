//! Moves a request to a backend that may see it.

use super::assign::UNITS;
use super::eligible::Eligible;
use super::order::{Decision, refers_to_state, serves_responses};
use super::refused::{Lack, NotChosen, Refused};
use super::request::{Body, Facts, Request};
use super::shares::Shares;
use crate::config::Config;
use crate::model::{BackendId, MissingFeatures, Pin, Reason, RouteId};
use crate::translate::{self, Pinned};
use crate::wire::endpoint::Endpoint;

/// Returns the decision if its backend may see the request; otherwise decides for the baseline, or else for another
/// backend that may. `unit` draws among several.
pub(super) fn place(
    config: &Config,
    shares: &Shares,
    (request, facts): (&Request<'_>, &dyn Facts),
    eligible: &Eligible,
    decision: Decision,
    unit: impl FnOnce(RouteId) -> u16,
) -> Result<Decision, NotChosen> {
    if eligible.contains(decision.backend) {
        return Ok(decision);
    }
    let refuse = |lack| Refused { route: decision.route, eligible: eligible.clone(), lack };
    if decision.is_bound {
        return Err(NotChosen::Residency(refuse(Lack::State)));
    }
    let to = |backend| Decision { backend, reason: Reason::Pinned(Pin::Residency), drawn: None, ..decision };
    if eligible.contains(config.baseline) {
        return Ok(to(config.baseline));
    }
    let weights: Vec<(BackendId, u16)> = shares
        .effective(decision.route)
        .filter(|(backend, _)| eligible.contains(*backend))
        .map(|(backend, percent)| (backend, percent.hundredths()))
        .collect();
    let chosen = match weights.as_slice() {
        [] => return Err(NotChosen::Residency(refuse(Lack::Backend))),
        [(only, _)] => *only,
        [(first, _), ..] => deal(*first, &weights, unit(decision.route)),
    };
    match lack(config, request, facts, chosen) {
        None => Ok(to(chosen)),
        Some((lack, None)) => Err(NotChosen::Residency(refuse(lack))),
        Some((lack, Some(pinned))) => Err(NotChosen::Unable(refuse(lack), pinned)),
    }
}

/// Deals a unit over candidates in proportion to their percents, equally if all are 0; `first` is one of them.
fn deal(first: BackendId, candidates: &[(BackendId, u16)], unit: u16) -> BackendId {
    let sum: u64 = candidates.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let weight = |given: u16| if sum == 0 { 1 } else { u64::from(given) };
    let whole = if sum == 0 { candidates.len() as u64 } else { sum };
    // Units are scaled to the weights; weights below 100 % make each of them wider.
    let place = u64::from(unit) * whole / u64::from(UNITS);
    let mut end = 0;
    let dealt = candidates.iter().find(|(_, given)| {
        end += weight(*given);
        place < end
    });
    dealt.map_or(first, |(backend, _)| *backend)
}

/// Returns what a candidate lacks for a request that the split would not send there. Features that only a translation
/// shows are found by the translation.
pub(super) fn lack(
    config: &Config,
    request: &Request<'_>,
    facts: &dyn Facts,
    candidate: BackendId,
) -> Option<(Lack, Option<Pinned>)> {
    let backend = &config[candidate];
    let endpoint = *request.endpoint;
    let lacks_endpoint = Some((Lack::Endpoint(endpoint.template()), None));
    let speaks_openai = backend.engine.facts().speaks_openai;
    if let (Endpoint::Embeddings, Body::Scanned(scan)) = (endpoint, request.body) {
        // Another model's vectors cannot be compared with those that the application has stored.
        let is_same = scan.model().is_some_and(|model| backend.model_for(model) == Some(model));
        return if is_same { None } else { Some((Lack::EmbeddingModel, None)) };
    }
    if speaks_openai {
        return None;
    }
    let is_served = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => true,
        Endpoint::Responses => serves_responses(backend, facts.known(candidate)),
        _ => false,
    };
    let scan = match request.body {
        _ if !is_served => return lacks_endpoint,
        Body::OverCap => return Some((Lack::MaxBody, None)),
        Body::Unparsable | Body::NotRead | Body::Empty => {
            let why = "the body is not a JSON object, so that it cannot be translated";
            return Some((Lack::Feature, Some(Pinned { pin: Pin::Unparsable, field: "body".into(), why })));
        }
        Body::Scanned(scan) if scan.model().is_none() => {
            let why = "the body does not name a model, so that it cannot be translated";
            return Some((Lack::Feature, Some(Pinned { pin: Pin::Unparsable, field: "model".into(), why })));
        }
        Body::Scanned(scan) => scan,
    };
    if endpoint == Endpoint::Responses && refers_to_state(scan) {
        return Some((Lack::State, None));
    }
    let missing = facts.known(candidate).missing & translate::needs(scan, endpoint);
    (!missing.is_empty()).then(|| (Lack::Feature, Some(unable(missing))))
}

/// Returns the pin for features that a probe found missing and the request needs.
fn unable(missing: MissingFeatures) -> Pinned {
    let field = if missing.intersects(MissingFeatures::TOOLS | MissingFeatures::TOOLS_STREAMED) {
        "tools"
    } else {
        "response_format"
    };
    Pinned { pin: Pin::Probe, field: field.into(), why: "a probe found that the backend does not have this" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_dealt_in_proportion_and_equally_without_percents() {
        let [a, b] = [BackendId::new(1), BackendId::new(2)];
        let count = |weights: [u16; 2]| {
            let dealt = |unit| deal(b, &[(a, weights[0]), (b, weights[1])], unit);
            (0..UNITS).filter(|unit| dealt(*unit) == a).count()
        };
        assert_eq!(count([500, 500]), 5000);
        assert_eq!(count([0, 0]), 5000);
        assert_eq!(count([100, 300]), 2500);
        assert_eq!(count([0, 1]), 0);
    }
}
