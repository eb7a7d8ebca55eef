//! The fixed list of listeners, and their order.

use std::sync::Arc;

use http::Method;

use super::meters::Meters;
use super::tracer::Tracer;
use super::{counters, log_line};
use crate::choose::Choice;
use crate::config::{Keep, Telemetry};
use crate::model::{Cause, TraceContext};
use crate::outcome::{LegEnd, Outcome};
use crate::stats::{ShareStats, Stats};

/// All listeners to requests. The composition root makes one.
#[derive(Debug)]
pub struct Sinks {
    stats: Arc<Stats>,
    meters: Arc<Meters>,
    /// Exporter of traces, if configured.
    tracer: Option<Arc<Tracer>>,
}

impl Sinks {
    /// Creates listeners that add to these counters and, with a tracer, export traces.
    pub const fn new(stats: Arc<Stats>, meters: Arc<Meters>, tracer: Option<Arc<Tracer>>) -> Self {
        Self { stats, meters, tracer }
    }

    /// True if traces are exported.
    pub const fn has_tracer(&self) -> bool {
        self.tracer.is_some()
    }

    /// The exporter of traces, if configured.
    pub const fn tracer(&self) -> Option<&Arc<Tracer>> {
        self.tracer.as_ref()
    }

    /// True if the trace is sampled; `ratio` is the file's. Without a tracer the context decides.
    pub fn samples(&self, context: &TraceContext, ratio: f64) -> bool {
        self.tracer.as_ref().map_or_else(|| context.is_sampled(), |tracer| tracer.samples(context, ratio))
    }

    /// Reports that a request has begun.
    pub fn began(&self, method: &Method) {
        self.meters.begins(method);
    }

    /// Reports a decision, with the counters of the backend decided for and of the backend asked.
    pub fn decided(&self, choice: &Choice, decided: &ShareStats, asked: &ShareStats) {
        counters::decided(choice, decided, asked);
    }

    /// Reports that a leg has ended. `trace_id` is its request's.
    pub fn leg_ended(&self, leg: &LegEnd, trace_id: &str) {
        log_line::leg_ended(leg, trace_id);
        counters::leg_ended(leg);
    }

    /// Reports that another backend is asked after a failed leg.
    pub fn failed_over(&self, leg: &LegEnd, cause: Cause) {
        counters::failed_over(leg, cause);
    }

    /// Reports that a request has ended, after its legs.
    pub fn ended(&self, outcome: &mut Outcome, file: &Telemetry, is_logged: bool) {
        counters::ended(&self.stats, outcome);
        if is_logged {
            log_line::ended(outcome);
        }
        let traced = self.tracer.as_ref().filter(|tracer| {
            outcome.trace.is_sampled() || (is_worth_keeping(outcome, file.keep) && tracer.keeps(outcome, file.keep))
        });
        self.meters.ended(outcome, traced.is_some());
        if let Some(tracer) = traced {
            outcome.trace.set_sampled(true);
            tracer.ended(outcome);
        }
    }
}

/// True if an unsampled request is traced all the same: it failed, failed over, was slow, or was copied.
fn is_worth_keeping(outcome: &Outcome, keep: Keep) -> bool {
    let is_error = outcome.fault.is_some() || outcome.status.is_some_and(|status| status >= 400);
    is_error
        || outcome.is_copied
        || outcome.tripped.is_some()
        || outcome.legs.len() > 1
        || outcome.total() > keep.slower_than
}
