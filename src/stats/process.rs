//! Counters of the whole process, and the sets of its backends and routes by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::backend::BackendStats;
use super::count::{Count, lock};
use super::gauge::Gauge;
use super::names::make_room;
use super::route::RouteStats;
use super::rule::RuleStats;
use super::shadow::ShadowStats;
use crate::model::{End, Limit, Reason, Refusal};

/// Spans by result.
#[derive(Debug, Default)]
pub struct TelemetryStats {
    /// Spans that the collector accepted.
    pub exported: Count,
    /// Spans dropped because the queue was full.
    pub dropped_full: Count,
    /// Spans of batches that could not be delivered.
    pub dropped_failed: Count,
    /// Spans that the collector rejected out of an accepted batch.
    pub dropped_rejected: Count,
    /// Spans of traces above the limit of kept traces per second.
    pub dropped_rate: Count,
    /// Spans left at shutdown.
    pub dropped_shutdown: Count,
    /// Number of spans in the queue.
    pub queued: Count,
}

/// Lines of the records by result.
#[derive(Debug, Default)]
pub struct RecordStats {
    /// Lines that are in the file.
    pub written: Count,
    /// Lines lost because the file could not be written.
    pub failed: Count,
    /// Lines lost because another process writes to the file.
    pub locked: Count,
    /// Lines lost because the queue was full, or left at shutdown.
    pub dropped: Count,
}

impl RecordStats {
    /// Lines by result.
    pub const fn results(&self) -> [(&'static str, &Count); 4] {
        [("written", &self.written), ("failed", &self.failed), ("locked", &self.locked), ("dropped", &self.dropped)]
    }
}

/// Readings of the file after the first, by result.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Readings put in force.
    pub ok: Count,
    /// Files that could not be read.
    pub unreadable: Count,
    /// Files that violate the rules.
    pub invalid: Count,
    /// Valid files that cannot be used on this machine.
    pub unusable: Count,
}

impl Reloads {
    /// Failed readings by kind of error.
    pub const fn failed(&self) -> [(&'static str, &Count); 3] {
        [("unreadable", &self.unreadable), ("invalid", &self.invalid), ("unusable", &self.unusable)]
    }
}

/// Reason of connections refused at `limits.connections`, before any request.
const REFUSED_CONNECTIONS: &str = "refused:connections";

/// Everything counted in this process.
#[derive(Debug, Default)]
pub struct Stats {
    /// Spans.
    pub telemetry: TelemetryStats,
    /// Lines of the records; shared with their writer.
    pub records: Arc<RecordStats>,
    backends: Mutex<BTreeMap<String, Arc<BackendStats>>>,
    routes: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    rules: Mutex<BTreeMap<String, Arc<RuleStats>>>,
    refused: [Count; Refusal::ALL.len()],
    ended: [Count; End::ALL.len()],
    shed: [Count; Limit::ALL.len()],
    /// Connections refused at `limits.connections`.
    pub refused_connections: Count,
    /// Connections of applications that shiftgate closed, by a closed list of reasons.
    closed: Mutex<BTreeMap<&'static str, u64>>,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Connections of applications.
    pub connections: Gauge,
    /// Connections above the limit that are being sent a 503.
    pub refusing: Gauge,
    /// Bytes held of bodies and answers.
    pub body_bytes: Gauge,
    /// Failovers refused by the retry budget.
    pub over_budget: Count,
    /// Readings of the file.
    pub reloads: Reloads,
    /// Log lines dropped because the reader was too slow.
    pub log_dropped: Count,
    /// Shadows.
    pub shadow: ShadowStats,
}

impl Stats {
    /// Returns the counters of the backend of this name.
    pub fn backend(&self, name: &str) -> Arc<BackendStats> {
        let mut backends = lock(&self.backends);
        Arc::clone(backends.entry(name.to_owned()).or_default())
    }

    /// Returns the counters of the route of this name.
    pub fn route(&self, name: &str) -> Arc<RouteStats> {
        let mut routes = lock(&self.routes);
        let route = routes.entry(name.to_owned()).or_insert_with(|| Arc::new(RouteStats::named(name)));
        Arc::clone(route)
    }

    /// Returns the counters of the residency rule of this name.
    pub fn rule(&self, name: &str) -> Arc<RuleStats> {
        Arc::clone(lock(&self.rules).entry(name.to_owned()).or_default())
    }

    /// Removes unused names above [`super::names::MAX_NAMES`].
    pub fn prune(&self) {
        make_room(&mut lock(&self.backends));
        make_room(&mut lock(&self.routes));
        make_room(&mut lock(&self.rules));
    }

    /// Counts a request refused at a limit.
    pub fn shed(&self, limit: Limit) {
        if let Some(count) = self.shed.get(limit.index()) {
            count.add(1);
        }
    }

    /// Counts a request answered by shiftgate itself.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(count) = self.refused.get(refusal.index()) {
            count.add(1);
        }
    }

    /// Counts an ended request.
    pub fn end(&self, end: End) {
        if let Some(count) = self.ended.get(end.index()) {
            count.add(1);
        }
    }

    /// Counts a connection closed by shiftgate; `why` is from a closed list.
    pub fn close(&self, why: &'static str) {
        *lock(&self.closed).entry(why).or_insert(0) += 1;
    }

    /// Closed connections by reason.
    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.closed).clone()
    }

    /// Requests refused at a limit, by the limit's key.
    pub fn sheds(&self) -> BTreeMap<&'static str, u64> {
        Limit::ALL.iter().zip(&self.shed).map(|(limit, count)| (limit.as_str(), count.get())).collect()
    }

    /// Requests answered by shiftgate and connections refused, by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        let reasons = Refusal::ALL.into_iter().map(|refusal| Reason::Refused(refusal).as_str());
        let requests = reasons.zip(self.refused.iter().map(Count::get));
        requests.chain([(REFUSED_CONNECTIONS, self.refused_connections.get())]).collect()
    }

    /// Ended requests by their end.
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        End::ALL.iter().zip(&self.ended).map(|(end, count)| (end.as_str(), count.get())).collect()
    }

    /// Counters of every backend, by name.
    pub fn backends(&self) -> Vec<(String, Arc<BackendStats>)> {
        lock(&self.backends).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    /// Counters of every residency rule, by name.
    pub fn rules(&self) -> Vec<(String, Arc<RuleStats>)> {
        lock(&self.rules).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    /// Counters of every route, by name.
    pub fn routes(&self) -> Vec<(String, Arc<RouteStats>)> {
        lock(&self.routes).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }
}
