//! From a key to a unit, from a unit to a backend.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012) with an all-zero key: its output is specified, so a unit is the same in
//! every version and on every machine. The 64 bits are scaled by multiplication, not by remainder: no bias.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::config::Config;
use crate::model::{BackendId, Percent, RouteId};

/// Units of the whole: hundredths of a percent.
pub const UNITS: u16 = 10_000;

/// What a hash is for; each has assignments of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Split,
    Shadow,
    Noise,
    Capture,
}

impl Purpose {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Shadow => "shadow",
            Self::Noise => "noise",
            Self::Capture => "capture",
        }
    }
}

/// Everything of the hash but the key, worked out once for each route.
#[derive(Debug, Clone)]
pub struct Salt(SipHasher24);

impl Salt {
    pub fn new(purpose: Purpose, name: &str, route: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        for part in [purpose.as_str(), name, route] {
            write_part(&mut hasher, part.as_bytes());
        }
        Self(hasher)
    }

    /// The hash of a key under this salt.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0;
        write_part(&mut hasher, key);
        hasher.finish()
    }

    /// The unit of a key, 0 to 9,999.
    pub fn unit(&self, key: &[u8]) -> u16 {
        unit_of_hash(self.hash(key))
    }
}

/// Scales a hash to a unit, 0 to 9,999.
pub(super) fn unit_of_hash(hash: u64) -> u16 {
    let scaled = (u128::from(hash) * u128::from(UNITS)) >> 64;
    #[expect(clippy::cast_possible_truncation, reason = "below 10,000: 64 bits times 10,000, shifted by 64")]
    let unit = scaled as u16;
    unit
}

/// The hashes' salts of one file, by route.
#[derive(Debug)]
pub struct Salts(Vec<Salt>);

impl Salts {
    /// Works out every route's salt.
    pub fn new(config: &Config) -> Self {
        Self(config.routes.iter().map(|route| Salt::new(Purpose::Split, &config.name, &route.name)).collect())
    }

    /// The salt of a route.
    pub(super) fn of(&self, route: RouteId) -> Option<&Salt> {
        self.0.get(route.index())
    }
}

fn write_part(hasher: &mut SipHasher24, part: &[u8]) {
    // Lengths keep "ab" + "c" apart from "a" + "bc". No name or header comes near 4 GiB.
    hasher.write(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.write(part);
}

/// The same in one call.
pub fn unit(purpose: Purpose, name: &str, route: &str, key: &[u8]) -> u16 {
    Salt::new(purpose, name, route).unit(key)
}

/// Who owns which units of a route; what nobody owns is the baseline's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals(Vec<(u16, u16, BackendId)>);

/// Units that change hands between two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// `None` is the baseline.
    pub from: Option<BackendId>,
    pub to: Option<BackendId>,
    pub units: u16,
}

impl Intervals {
    /// `percents` has every candidate of the file, by name, also at 0: places do not depend on who is at 0.
    /// The first grows up from 0, the second down from the top, so that changing one moves no key of the other; a third
    /// and further ones stand on top of the first and move when one below them changes.
    pub fn new(percents: &[(BackendId, Percent)]) -> Self {
        let mut owned = Vec::with_capacity(percents.len());
        let (mut low, mut high) = (0, UNITS);
        for (place, (backend, percent)) in percents.iter().enumerate() {
            let units = percent.hundredths();
            let interval = if place == 1 {
                let from = high.saturating_sub(units).max(low);
                let interval = (from, high, *backend);
                high = from;
                interval
            } else {
                let to = low.saturating_add(units).min(high);
                let interval = (low, to, *backend);
                low = to;
                interval
            };
            if interval.0 < interval.1 {
                owned.push(interval);
            }
        }
        Self(owned)
    }

    pub fn owner(&self, unit: u16) -> Option<BackendId> {
        self.0.iter().find(|(from, to, _)| (*from..*to).contains(&unit)).map(|(_, _, backend)| *backend)
    }

    /// What changes hands when `self` becomes `next`.
    pub fn moved(&self, next: &Self) -> Vec<Moved> {
        let mut edges: Vec<u16> = self.0.iter().chain(&next.0).flat_map(|(from, to, _)| [*from, *to]).collect();
        edges.extend([0, UNITS]);
        edges.sort_unstable();
        edges.dedup();
        let mut moved: Vec<Moved> = Vec::new();
        for (from_unit, to_unit) in edges.iter().zip(edges.iter().skip(1)) {
            let (from, to, units) = (self.owner(*from_unit), next.owner(*from_unit), to_unit - from_unit);
            if from == to {
                continue;
            }
            match moved.iter_mut().find(|one| one.from == from && one.to == to) {
                Some(one) => one.units += units,
                None => moved.push(Moved { from, to, units }),
            }
        }
        moved
    }
}
