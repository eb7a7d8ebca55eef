//! The end of a request: its outcome, made once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Progress;
use crate::model::{End, Fault, Reason};
use crate::outcome::{Ending, OtherAnswer, Outcome, Overhead, Restricted};
use crate::stats::{Placement, lock};
use crate::telemetry::cost;

impl Progress {
    /// End of a request that was dropped before any end was noted.
    fn torn(&self) -> End {
        if self.proxy.shutdown.cut.is_cancelled() { End::Drained } else { End::ClientGone }
    }

    fn end_running_legs(&mut self, end: End) {
        let is_torn = matches!(end, End::ClientGone | End::Drained);
        self.resolve(if is_torn { OtherAnswer::Unknown } else { OtherAnswer::Differs });
        if let Some(leg) = self.leg.take() {
            let ending = match end {
                End::Complete => Ending::Complete,
                End::ClientGone => Ending::ClientGone,
                End::Drained => Ending::Drained,
                End::Timeout => Ending::TimedOut,
                End::UpstreamError | End::Refused => Ending::Broken,
            };
            self.end_leg(leg, ending, OtherAnswer::NotAsked);
        }
    }

    /// The request's `error.type`. A failed leg's fault is more precise than the end that followed it.
    fn fault(&self, end: End) -> Option<Fault> {
        let status = self.status.map(|status| status.as_u16());
        let last = self.legs.last();
        let fault = match end {
            End::ClientGone => Some(Fault::ClientGone),
            End::Drained => Some(Fault::Drained),
            End::Timeout => Some(Fault::IdleTimeout),
            End::UpstreamError if last.is_some_and(|leg| leg.facts.error_event) => Some(Fault::SseError),
            End::UpstreamError => Some(Fault::UpstreamReset),
            End::Refused if status == Some(503) => Some(Fault::Shed),
            End::Complete | End::Refused => status.filter(|status| *status >= 500).map(Fault::Status),
        };
        let missed = match last.map(|leg| leg.ending) {
            Some(Ending::Missed(miss)) if !matches!(end, End::ClientGone | End::Refused) => Some(miss.fault),
            _ => None,
        };
        fault.and(missed).or(fault)
    }

    fn cost(&self, now: Instant) -> Option<f64> {
        let (target, leg) = (self.target.as_ref()?, self.legs.last()?);
        let measured = || target.load.reading(now).tokens_per_second;
        leg.facts.usage.and_then(|usage| cost::usd(target.config.price.as_ref(), &leg.model, usage, measured))
    }

    /// Shiftgate's own time before the first request to a backend.
    fn before_sending(&self) -> Option<Duration> {
        let sent_at = self.legs.first()?.attempts.first()?.sent_at;
        let since = sent_at.saturating_duration_since(self.clock.began_at);
        Some(since.saturating_sub(self.waited_time.waited()))
    }

    /// The residency rules of the request. A moved request that its new backend does not serve counts as refused.
    fn placed(&mut self) -> Option<Restricted> {
        let by = self.residency.take()?;
        let is_refused = by.placement == Placement::Moved && matches!(self.reason, Some(Reason::Refused(_)));
        Some(if is_refused { Restricted { placement: Placement::Refused, ..by } } else { by })
    }

    fn outcome(&mut self, end: End, now: Instant) -> Outcome {
        let first_byte = self.first_byte;
        let overhead = Overhead {
            request: self.before_sending(),
            first_byte,
            total: first_byte.unwrap_or_else(|| self.own_until(now)) + self.passing,
        };
        Outcome {
            clock: self.clock,
            ended_at: now,
            trace: self.trace,
            trace_state: std::mem::take(&mut self.trace_state),
            span: self.span,
            generation: self.in_force.snapshot.generation,
            method: std::mem::take(&mut self.method),
            template: self.endpoint.template(),
            path: std::mem::take(&mut self.path),
            version: self.version,
            operation: self.operation(),
            params: std::mem::take(&mut self.params),
            backend: self.target.as_ref().map(|target| Arc::clone(&target.labels)),
            reason: self.reason,
            is_copied: self.copy.is_some(),
            tripped: None,
            is_early: self.is_early(),
            status: self.status.map(|status| status.as_u16()),
            end,
            fault: self.fault(end),
            overhead,
            cost_usd: self.cost(now),
            decided: self.decided.take(),
            residency: self.placed(),
            legs: std::mem::take(&mut self.legs),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let end = self.end.unwrap_or_else(|| self.torn());
        self.end_running_legs(end);
        if self.in_flight.is_some() {
            lock(&self.proxy.budget).ended(Instant::now());
        }
        let mut outcome = self.outcome(end, Instant::now());
        outcome.tripped = self.proxy.guards.ended(self.watched.take(), &self.in_force, &outcome);
        let config = &self.in_force.snapshot.config;
        self.proxy.sinks.ended(&mut outcome, &config.telemetry, config.server.request_log);
        if let Some(copy) = self.copy.take() {
            copy.ends(outcome);
        }
    }
}
