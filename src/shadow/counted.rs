//! The lines of counts: each minute and at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::shared::Shared;
use crate::config::Config;
use crate::live::InForce;
use crate::records::{Source, Totals, counts};
use crate::stats::lock;
use crate::telemetry::meters::Meters;

/// Counts at the end of the last interval.
#[derive(Debug, Default)]
pub(super) struct Counted(Mutex<Option<Totals>>);

impl Counted {
    /// Begins the first interval.
    pub(super) fn begin(&self, shared: &Shared, config: &Config) {
        lock(&self.0).get_or_insert_with(|| totals(shared, config));
    }

    /// Ends the interval: writes its lines, and begins the next one. Nothing is written without `[records]`.
    pub(super) fn write(&self, shared: &Shared, in_force: &InForce, meters: &Meters) {
        let config = &in_force.snapshot.config;
        let mut now = totals(shared, config);
        add_ends(&mut now, in_force, meters);
        let previous = lock(&self.0).replace(now.clone());
        let records = lock(&shared.records);
        let (Some(writer), Some(previous)) = (records.as_ref(), previous) else { return };
        let source = Source { instance: shared.instance.name(), name: &config.name, hash: &config.hash };
        for line in counts(&previous, &now, source) {
            writer.write(line.to_json());
        }
    }
}

fn totals(shared: &Shared, config: &Config) -> Totals {
    let mut totals = Totals::read(jiff::Timestamp::now(), config, &shared.stats);
    let shadow = &shared.stats.shadow;
    for ((route, backend), stats) in shadow.pairings() {
        if let Some(route) = totals.routes.get_mut(&route) {
            route.shadow.insert(backend, stats.copies().collect());
        }
    }
    for (route, stats) in shadow.noises() {
        if let Some(route) = totals.routes.get_mut(&route) {
            route.noise = stats.legs().collect();
        }
    }
    totals
}

/// Adds the models that end, to the backends on all routes.
fn add_ends(totals: &mut Totals, in_force: &InForce, meters: &Meters) {
    for target in in_force.targets_off_path() {
        let ends = in_force.ends(target, meters).unwrap_or_default();
        let ends: BTreeMap<String, String> = ends.into_iter().map(|end| (end.model, end.date.to_string())).collect();
        for route in totals.routes.values_mut() {
            if let Some(backend) = route.backends.get_mut(&target.config.name) {
                backend.ends.clone_from(&ends);
            }
        }
    }
}
