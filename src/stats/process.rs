//! Numbers of the whole process, and the sets of its backends and routes by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::backend::BackendStats;
use super::count::{Count, lock};
use super::gauge::Gauge;
use super::route::RouteStats;
use crate::model::{End, Limit, Reason, Refusal};

/// Number of names kept in one set though they are no longer in the file; above it they are forgotten.
pub(crate) const MAX_NAMES: usize = 256;

/// Spans by what became of them.
#[derive(Debug, Default)]
pub struct TelemetryStats {
    /// Spans that the collector took.
    pub exported: Count,
    /// Spans that found the queue full.
    pub dropped_full: Count,
    /// Spans of batches that could not be delivered.
    pub dropped_failed: Count,
    /// Spans that the collector rejected out of a batch that it took.
    pub dropped_rejected: Count,
    /// Spans of traces that would have been kept, above the rate of kept traces.
    pub dropped_rate: Count,
    /// Spans that were left when the process ended.
    pub dropped_shutdown: Count,
    /// Number of spans in the queue.
    pub queued: Count,
}

/// Readings of the file after the first, by result.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Readings that were put in force.
    pub ok: Count,
    /// Files that could not be read.
    pub unreadable: Count,
    /// Files that break the rules.
    pub invalid: Count,
    /// Valid files that cannot be put to use here.
    pub unusable: Count,
}

impl Reloads {
    /// Failed readings by the kind of their error.
    pub const fn failed(&self) -> [(&'static str, &Count); 3] {
        [("unreadable", &self.unreadable), ("invalid", &self.invalid), ("unusable", &self.unusable)]
    }
}

/// The reason of connections refused at `limits.connections`, before there is a request.
const REFUSED_CONNECTIONS: &str = "refused:connections";

/// Everything counted in this process.
#[derive(Debug, Default)]
pub struct Stats {
    /// Spans.
    pub telemetry: TelemetryStats,
    backends: Mutex<BTreeMap<String, Arc<BackendStats>>>,
    routes: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    refused: [Count; Refusal::ALL.len()],
    ended: [Count; End::ALL.len()],
    shed: [Count; Limit::ALL.len()],
    /// Connections refused at `limits.connections`.
    pub refused_connections: Count,
    /// Connections of applications that shiftgate ended, by a closed list of reasons.
    closed: Mutex<BTreeMap<&'static str, u64>>,
    /// Requests being answered.
    pub in_flight: Gauge,
    /// Connections of applications.
    pub connections: Gauge,
    /// Connections over the limit that are being told so.
    pub refusing: Gauge,
    /// Bytes of bodies and answers held.
    pub body_bytes: Gauge,
    /// Failovers that the budget did not allow.
    pub over_budget: Count,
    /// Readings of the file.
    pub reloads: Reloads,
    /// Log lines dropped because nobody read them.
    pub log_dropped: Count,
}

impl Stats {
    /// Numbers of the backend of this name.
    pub fn backend(&self, name: &str) -> Arc<BackendStats> {
        let mut backends = lock(&self.backends);
        Arc::clone(backends.entry(name.to_owned()).or_default())
    }

    /// Numbers of the route of this name.
    pub fn route(&self, name: &str) -> Arc<RouteStats> {
        let mut routes = lock(&self.routes);
        let route = routes.entry(name.to_owned()).or_insert_with(|| Arc::new(RouteStats::named(name)));
        Arc::clone(route)
    }

    /// Forgets names that nobody uses any more, once there are more than [`MAX_NAMES`].
    pub fn prune(&self) {
        fn prune<T>(entries: &mut BTreeMap<String, Arc<T>>) {
            if entries.len() > MAX_NAMES {
                entries.retain(|_, entry| Arc::strong_count(entry) > 1);
            }
        }
        prune(&mut lock(&self.backends));
        prune(&mut lock(&self.routes));
    }

    /// Counts a request refused at a limit.
    pub fn shed(&self, limit: Limit) {
        if let Some(count) = self.shed.get(limit.index()) {
            count.add(1);
        }
    }

    /// Counts a request that shiftgate answered itself.
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

    /// Counts a connection that shiftgate ended; `why` is of a closed list.
    pub fn close(&self, why: &'static str) {
        *lock(&self.closed).entry(why).or_insert(0) += 1;
    }

    /// Ended connections by reason.
    pub fn closed(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.closed).clone()
    }

    /// Requests refused at a limit, by its key.
    pub fn sheds(&self) -> BTreeMap<&'static str, u64> {
        Limit::ALL.iter().zip(&self.shed).map(|(limit, count)| (limit.as_str(), count.get())).collect()
    }

    /// Requests that shiftgate answered itself, and connections that it refused, by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        let reasons = Refusal::ALL.into_iter().map(|refusal| Reason::Refused(refusal).as_str());
        let requests = reasons.zip(self.refused.iter().map(Count::get));
        requests.chain([(REFUSED_CONNECTIONS, self.refused_connections.get())]).collect()
    }

    /// Ended requests by how they ended.
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        End::ALL.iter().zip(&self.ended).map(|(end, count)| (end.as_str(), count.get())).collect()
    }

    /// Every backend's numbers, by name.
    pub fn backends(&self) -> Vec<(String, Arc<BackendStats>)> {
        lock(&self.backends).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }

    /// Every route's numbers, by name.
    pub fn routes(&self) -> Vec<(String, Arc<RouteStats>)> {
        lock(&self.routes).iter().map(|(name, stats)| (name.clone(), Arc::clone(stats))).collect()
    }
}
