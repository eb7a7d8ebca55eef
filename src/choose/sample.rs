//! The draw for shadows: whether a request is copied, and whether the baseline is asked for it once more.
//!
//! Requests with a key are drawn by it, each purpose with its own hash: whole conversations are copied, those copied at
//! a lower percent are copied at a higher one too, and the split does not matter.

use http::HeaderMap;

use super::assign::Salts;
use super::key::Keyed;
use crate::config::{Config, RouteShadow};
use crate::model::RouteId;
use crate::model::header::SHIFTGATE_SHADOW;

/// A request that was drawn for a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// True if the baseline is to be asked once more, where it served.
    pub has_noise: bool,
    /// True if the application declined the copy.
    pub is_declined: bool,
    /// Hash of the request's key; `None` without a key.
    pub key: Option<u64>,
}

/// Draws for a request on this route; `None` if it is not copied. `draw` returns a unit for a request without a key.
pub(super) fn sample(
    config: &Config,
    salts: &Salts,
    route: RouteId,
    (headers, keyed): (&HeaderMap, &Keyed<'_>),
    draw: &mut dyn FnMut() -> u16,
) -> Option<Sample> {
    let shadow = config.shadow.as_ref()?;
    let percent = config.shadow_percent(&config[route]);
    let wishes =
        || headers.get_all(SHIFTGATE_SHADOW).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let says = |word: &[u8]| wishes().any(|wish| wish.trim_ascii().eq_ignore_ascii_case(word));
    let is_forced = config.server.allow_override && config[route].shadow != RouteShadow::Never && says(b"on");
    if percent.hundredths() == 0 && !is_forced {
        return None;
    }
    let (for_shadow, for_noise) = salts.of_copies(route)?;
    let key = keyed.get();
    let unit = key.map_or_else(&mut *draw, |key| for_shadow.unit(&key.value));
    if unit >= percent.hundredths() && !is_forced {
        return None;
    }
    let noise = key.map_or_else(draw, |key| for_noise.unit(&key.value));
    Some(Sample {
        has_noise: noise < shadow.noise_percent.hundredths(),
        is_declined: says(b"off"),
        key: key.map(|key| salts.affinity().hash(&key.value)),
    })
}
