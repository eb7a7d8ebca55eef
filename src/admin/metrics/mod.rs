//! `/metrics`: the view's numbers, in Prometheus' text format and in OpenMetrics.
//!
//! Owns: the series and their labels; names of metrics are in the table of `telemetry`. Invariant: label values come from rollout.toml and closed lists only, except
//! models, which are bounded where they are counted. Bound: a few hundred series per metric.

mod backends;
mod candidates;
mod format;
mod guards;
mod measured;
mod page;
mod process;
mod shadows;
mod sidecar;
mod split;

use super::view::View;

pub use format::Format;

/// Renders the page.
pub fn render(view: &View, format: Format) -> String {
    let mut families = sidecar::families(view);
    families.extend(split::families(view));
    families.extend(backends::families(view));
    families.extend(candidates::families(view));
    families.extend(guards::families(view));
    families.extend(shadows::families(view));
    families.extend(measured::families(&view.meters));
    families.extend(process::families());
    page::write(&families, format)
}

#[cfg(test)]
mod tests;
