//! The verdict on the pairs since the start, in the words of the report.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::report::{Bounds, Collector, GpuPrices, Report, Route, Verdict};
use crate::stats::lock;

/// Age at which a verdict is made anew: making one takes up to some tens of milliseconds.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The pairs of the process, summed as the report sums them. Takes no memory before the first one.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Locked by the thread of comparisons for each pair, and for a copy of it; never on a request's path.
    collector: Mutex<Option<Box<Collector>>>,
    said: Mutex<Said>,
}

/// The last verdicts.
#[derive(Debug, Default)]
struct Said {
    /// Time at which they were made, and the number of pairs then.
    of: Option<(Instant, u64)>,
    verdicts: Arc<[RouteVerdict]>,
}

/// The verdict on one candidate on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteVerdict {
    /// Name of the route, as far as records have it.
    pub route: String,
    /// Name of the candidate, as far as records have it.
    pub candidate: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Checks that it rests on.
    pub why: Vec<&'static str>,
    /// Pairs until the next verdict, if the two do not differ; `None` if that is not known.
    pub needs_pairs: Option<u64>,
    /// Pairs that it rests on: those of the epoch in force.
    pub pairs: u64,
    /// The verdict as a sentence. It has names that applications write: escape it for a terminal.
    pub says: String,
}

impl Verdicts {
    /// Takes the line of a pair, as it is written to the records.
    pub(super) fn add(&self, line: &[u8]) {
        lock(&self.collector).get_or_insert_with(|| Box::new(Collector::bounded(Bounds::PROCESS))).line(Some(line));
    }

    /// True if a pair has ended.
    pub(super) fn has_pairs(&self) -> bool {
        lock(&self.collector).is_some()
    }

    /// Returns the verdicts, at most a second old. Takes its time: not for a thread that serves.
    pub(super) fn said(&self, now: Instant) -> Arc<[RouteVerdict]> {
        let mut said = lock(&self.said);
        let pairs = lock(&self.collector).as_ref().map_or(0, |collector| collector.pairs());
        let is_fresh = |(at, of): (Instant, u64)| of == pairs || now.saturating_duration_since(at) < MAX_AGE;
        if !said.of.is_some_and(is_fresh) {
            // The figures are made from a copy, so that pairs do not wait for them.
            let collector = lock(&self.collector).clone();
            let report = collector.map(|collector| collector.report(1, &GpuPrices::default()));
            let verdicts = report.map(|report| report.routes.iter().map(|route| verdict(&report, route)).collect());
            *said = Said { of: Some((now, pairs)), verdicts: verdicts.unwrap_or_default() };
        }
        Arc::clone(&said.verdicts)
    }
}

fn verdict(report: &Report, route: &Route) -> RouteVerdict {
    RouteVerdict {
        route: route.route.clone(),
        candidate: route.candidate.clone(),
        verdict: route.verdict,
        why: route.why.clone(),
        needs_pairs: route.needs_pairs,
        pairs: route.rows.iter().filter_map(|row| report.rows.get(*row)).map(|row| row.pairs).sum(),
        says: route.says.clone(),
    }
}
