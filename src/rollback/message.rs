//! The message about a move: its JSON, and its text for a chat.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use crate::config::{Config, NotifyFormat};
use crate::guard::{Move, Rates, Sides};
use crate::telemetry::log::rfc3339;

/// A message, as receivers get it.
#[derive(Debug, Serialize)]
pub(super) struct Message {
    event: &'static str,
    candidate: String,
    baseline: String,
    since: String,
    cause: &'static str,
    why: String,
    rate: Rates,
    trials: Sides,
    counted: Sides,
    /// `None` for the rules by the breaker, and for lifts.
    evidence: Option<f64>,
    threshold: f64,
    /// Percents of the candidate in the file, by route.
    percents: BTreeMap<String, f64>,
    /// Traces of its last failures.
    trace_ids: Vec<String>,
    instance: String,
    hash: String,
}

/// A message to a chat.
#[derive(Serialize)]
struct Chat {
    text: String,
}

impl Message {
    pub(super) fn of(config: &Config, instance: &str, entry: &Entry, one: &Move) -> Self {
        let id = config.backend(entry.name());
        let percents = config.routes.iter().filter_map(|route| {
            let (_, own) = route.percent.iter().find(|(candidate, _)| Some(*candidate) == id)?;
            Some((route.name.clone(), own.as_f64()))
        });
        Self {
            event: one.kind.as_str(),
            candidate: entry.name().to_owned(),
            baseline: entry.guard.facts().baseline.clone(),
            since: rfc3339(one.since),
            cause: one.cause.as_str(),
            why: one.why.clone(),
            rate: one.tally.rates(),
            trials: one.tally.trials,
            counted: one.tally.counted,
            evidence: one.evidence,
            threshold: one.threshold,
            percents: percents.collect(),
            trace_ids: entry.traces.iter().map(|trace| trace.as_str().to_owned()).collect(),
            instance: instance.to_owned(),
            hash: config.hash.clone(),
        }
    }

    /// Returns the body to send.
    pub(super) fn body(&self, format: NotifyFormat) -> serde_json::Result<Vec<u8>> {
        match format {
            NotifyFormat::Json => serde_json::to_vec(self),
            NotifyFormat::Slack => {
                let text = format!("shiftgate {}: {} {}: {}", self.instance, self.candidate, self.event, self.why);
                serde_json::to_vec(&Chat { text })
            }
        }
    }
}
