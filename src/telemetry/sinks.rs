//! The fixed list of listeners, and the order in which they hear.

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

/// Everything that listens to requests. Made once by the composition root.
#[derive(Debug)]
pub struct Sinks {
    stats: Arc<Stats>,
    meters: Arc<Meters>,
    /// The way to a collector, if there is one.
    tracer: Option<Arc<Tracer>>,
}

impl Sinks {
    /// Listeners that add to these numbers and, with a tracer, export traces.
    pub const fn new(stats: Arc<Stats>, meters: Arc<Meters>, tracer: Option<Arc<Tracer>>) -> Self {
        Self { stats, meters, tracer }
    }

    /// True if traces are exported.
    pub const fn has_tracer(&self) -> bool {
        self.tracer.is_some()
    }

    /// True if the trace is sampled from its beginning; `ratio` is the file's. Without a tracer, as the context says.
    pub fn samples(&self, context: &TraceContext, ratio: f64) -> bool {
        self.tracer.as_ref().map_or_else(|| context.is_sampled(), |tracer| tracer.samples(context, ratio))
    }

    /// A request has begun.
    pub fn began(&self, method: &Method) {
        self.meters.begins(method);
    }

    /// A request's backend is chosen, with the counters of the backends that it was decided for and that is asked.
    pub fn decided(&self, choice: &Choice, decided: &ShareStats, asked: &ShareStats) {
        counters::decided(choice, decided, asked);
    }

    /// A leg has ended. `trace_id` is that of its request.
    pub fn leg_ended(&self, leg: &LegEnd, trace_id: &str) {
        log_line::leg_ended(leg, trace_id);
        counters::leg_ended(leg);
    }

    /// The baseline is asked after a leg that failed.
    pub fn failed_over(&self, leg: &LegEnd, cause: Cause) {
        counters::failed_over(leg, cause);
    }

    /// A request has ended; its legs have been heard of before.
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

/// True if a request that was not sampled is traced all the same: it failed, failed over, or was slow.
fn is_worth_keeping(outcome: &Outcome, keep: Keep) -> bool {
    let is_error = outcome.fault.is_some() || outcome.status.is_some_and(|status| status >= 400);
    is_error || outcome.legs.len() > 1 || outcome.total() > keep.slower_than
}
