//! Maps a key to a unit, and a unit to a backend.
//!
//! SipHash-2-4 (Aumasson and Bernstein, 2012) with an all-zero key: its output is specified, so that a key has one unit
//! in every version and on every machine. The 64 bits are scaled by multiplication, which has less bias than a
//! remainder.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::config::Config;
use crate::model::{BackendId, Percent, RouteId};

/// Number of units in a whole: one unit is a hundredth of a percent.
pub const UNITS: u16 = 10_000;

/// Purpose of a hash; each purpose assigns keys independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Choice of a backend.
    Split,
    /// Choice of requests to mirror.
    Shadow,
    /// Choice of requests that measure noise.
    Noise,
    /// Choice of requests to record.
    Capture,
    /// Value of the affinity header.
    Affinity,
}

impl Purpose {
    /// Text that enters the hash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Shadow => "shadow",
            Self::Noise => "noise",
            Self::Capture => "capture",
            Self::Affinity => "affinity",
        }
    }
}

/// State of a hash before the key is added; computed once per route.
#[derive(Debug, Clone)]
pub struct Salt(SipHasher24);

impl Salt {
    /// Hashes the purpose, the file's name and the route's name.
    pub fn new(purpose: Purpose, name: &str, route: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        for part in [purpose.as_str(), name, route] {
            write_part(&mut hasher, part.as_bytes());
        }
        Self(hasher)
    }

    /// Hashes the purpose of affinity and the file's name: routes share the caches of a backend.
    pub fn affinity(name: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        for part in [Purpose::Affinity.as_str(), name] {
            write_part(&mut hasher, part.as_bytes());
        }
        Self(hasher)
    }

    /// Returns the hash of a key under this salt.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0;
        write_part(&mut hasher, key);
        hasher.finish()
    }

    /// Returns the unit of a key, 0 to 9,999.
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

/// Salts of one file.
#[derive(Debug)]
pub struct Salts {
    routes: Vec<RouteSalts>,
    affinity: Salt,
}

/// Salts of one route.
#[derive(Debug)]
struct RouteSalts {
    split: Salt,
    shadow: Salt,
    noise: Salt,
}

impl Salts {
    /// Computes the salt of affinity and every route's.
    pub fn new(config: &Config) -> Self {
        let routes = config.routes.iter().map(|route| {
            let salt = |purpose| Salt::new(purpose, &config.name, &route.name);
            let (split, shadow, noise) = (salt(Purpose::Split), salt(Purpose::Shadow), salt(Purpose::Noise));
            RouteSalts { split, shadow, noise }
        });
        Self { routes: routes.collect(), affinity: Salt::affinity(&config.name) }
    }

    /// Returns the salt of affinity.
    pub(super) const fn affinity(&self) -> &Salt {
        &self.affinity
    }

    /// Returns the salt of a route's split.
    pub(super) fn of(&self, route: RouteId) -> Option<&Salt> {
        self.routes.get(route.index()).map(|salts| &salts.split)
    }

    /// Returns the salts of a route's shadows and noise legs.
    pub(super) fn of_copies(&self, route: RouteId) -> Option<(&Salt, &Salt)> {
        self.routes.get(route.index()).map(|salts| (&salts.shadow, &salts.noise))
    }
}

fn write_part(hasher: &mut SipHasher24, part: &[u8]) {
    // Lengths distinguish "ab" + "c" from "a" + "bc". No name or header comes near 4 GiB.
    hasher.write(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    hasher.write(part);
}

/// Returns the unit of a key, 0 to 9,999, without a kept salt.
pub fn unit(purpose: Purpose, name: &str, route: &str, key: &[u8]) -> u16 {
    Salt::new(purpose, name, route).unit(key)
}

/// Units of a route by owner; units without an owner are the baseline's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals(Vec<(u16, u16, BackendId)>);

/// A number of units that change their owner between two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Owner before; `None` is the baseline.
    pub from: Option<BackendId>,
    /// Owner afterwards; `None` is the baseline.
    pub to: Option<BackendId>,
    /// Number of units.
    pub units: u16,
}

impl Intervals {
    /// `percents` holds every candidate of the file in order of name, 0 % included, so that positions do not depend on
    /// the percents. The first candidate grows from unit 0 upwards, the second from the top downwards: changing one
    /// moves no key of the other. Further candidates follow the first, and move if one before them changes.
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

    /// Returns the candidate that owns `unit`; `None` for the baseline.
    pub fn owner(&self, unit: u16) -> Option<BackendId> {
        self.0.iter().find(|(from, to, _)| (*from..*to).contains(&unit)).map(|(_, _, backend)| *backend)
    }

    /// Returns the units that change their owner when `next` replaces `self`.
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
