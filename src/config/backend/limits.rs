//! Reads `timeout` and `breaker`: limits that candidates have by default and the baseline only where they are written.

use std::time::Duration;

use super::super::problem::Problems;
use super::super::reader::{Section, Value, boolean, duration, fraction, whole};
use super::super::types::{Breaker, Timeouts};

/// Reads `timeout`; the baseline has only `connect` by default.
pub(super) fn timeouts(value: Option<&Value<'_>>, is_baseline: bool, p: &mut Problems<'_>) -> Timeouts {
    let mut s = value.map_or_else(Section::absent, |value| Section::new("timeout", value, p));
    let default = |seconds| (!is_baseline).then(|| Duration::from_secs(seconds));
    let timeouts = Timeouts {
        connect: s.read("connect", p, duration).unwrap_or(Duration::from_secs(2)),
        ttft: s.read("ttft", p, duration).or_else(|| default(60)),
        idle: s.read("idle", p, duration).or_else(|| default(60)),
        total: s.read("total", p, duration).or_else(|| default(600)),
    };
    s.finish(p);
    timeouts
}

/// Reads `breaker`; returns `None` if the backend has none.
pub(super) fn breaker(value: Option<&Value<'_>>, is_baseline: bool, p: &mut Problems<'_>) -> Option<Breaker> {
    let written = value.is_some();
    let mut s = value.map_or_else(Section::absent, |value| Section::new("breaker", value, p));
    let enabled = s.read("enabled", p, boolean).unwrap_or(written || !is_baseline);
    let counted = |v: &Value<'_>| whole(v, 1, 1_000_000).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let breaker = Breaker {
        failures: s.read("failures", p, counted).unwrap_or(5),
        ratio: s.read("ratio", p, fraction).unwrap_or(0.2),
        min: s.read("min", p, counted).unwrap_or(20),
        window: s.read("window", p, duration).unwrap_or(Duration::from_secs(30)),
        open: s.read("open", p, duration).unwrap_or(Duration::from_secs(10)),
    };
    s.finish(p);
    enabled.then_some(breaker)
}
