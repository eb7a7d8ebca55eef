//! The end of a request: what its counters, its line in the log, its metrics and its trace are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Record;
use crate::model::{End, Reason};
use crate::telemetry::cost;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::story::{Overhead, Story};

impl Record {
    fn ending(&self) -> End {
        let torn = if self.proxy.life.cut.is_cancelled() { End::Drained } else { End::ClientGone };
        self.end.unwrap_or(torn)
    }

    fn count(&self, end: End, now: Instant, cost: Option<f64>) {
        let Some(target) = &self.backend else { return };
        let stats = &target.stats;
        if self.status.is_some() && !self.own_words {
            stats.served.add(1);
        }
        if self.failed || matches!(end, End::UpstreamError | End::Timeout) || self.seen.error_event {
            stats.errors.add(1);
        } else if end == End::Complete && self.status.is_some_and(|status| status.is_success()) {
            // The backend's own time: what another one took before it is that one's.
            let asked = self.journey.attempts.last().map_or(self.watch.started, |attempt| attempt.sent);
            stats.total.record(now.saturating_duration_since(asked));
            if let Some(first) = self.seen.first_content {
                stats.ttft.record(first.saturating_duration_since(asked));
            }
        }
        if let Some(usage) = self.seen.usage {
            stats.input_tokens.add(usage.input);
            stats.output_tokens.add(usage.output);
        }
        if let Some(usd) = cost.filter(|usd| usd.is_finite() && *usd >= 0.0) {
            stats.priced.add(1);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative")]
            stats.nano_usd.add((usd * 1e9) as u64);
        }
    }

    fn cost(&self, now: Instant) -> Option<f64> {
        let price = self.backend.as_ref().and_then(|target| target.config.price.as_ref());
        let measured = || self.backend.as_ref()?.load.reading(now).tokens_per_second;
        self.seen.usage.and_then(|usage| cost::usd(price, &self.model, usage, measured))
    }

    fn log(&self, end: End, total: Duration, overhead: Duration, cost: Option<f64>) {
        let config = &self.snapshot.config;
        if !config.server.request_log {
            return;
        }
        let first = self.seen.first_content;
        Outcome {
            route: self.route.map(|route| &config[route]).map(|route| route.name.as_str()),
            backend: self.backend.as_ref().map(|target| target.config.name.as_str()),
            reason: self.reason,
            generation: self.snapshot.generation,
            method: self.journey.method.as_str(),
            path: self.template,
            status: self.status.map(|status| status.as_u16()),
            attempts: self.journey.attempts.len(),
            ttft: first.map(|first| first.saturating_duration_since(self.watch.started)),
            total,
            overhead,
            usage: self.seen.usage,
            cost_usd: cost,
            end,
            trace_id: self.journey.trace.trace.as_str(),
        }
        .log();
    }

    fn story(&mut self, end: End, overhead: Duration, cost_usd: Option<f64>, now: Instant) -> Story {
        let status = self.status.map(|status| status.as_u16());
        let fault = self.journey.ends(end, std::mem::take(&mut self.seen), status, now);
        let journey = &mut self.journey;
        Story {
            clock: journey.clock,
            ended: now,
            trace: journey.trace,
            span: journey.span,
            generation: self.snapshot.generation,
            method: std::mem::take(&mut journey.method),
            template: self.template,
            path: std::mem::take(&mut journey.path),
            version: journey.version,
            operation: journey.operation,
            params: std::mem::take(&mut journey.params),
            decided: journey.decided.take(),
            attempts: std::mem::take(&mut journey.attempts),
            backend: self.backend.as_ref().map(|target| Arc::clone(&target.peer)),
            reason: self.reason,
            status,
            end,
            fault,
            overhead: Overhead {
                request: journey.before_sending,
                first_byte: self.overhead,
                total: overhead + self.watch.passing,
            },
            cost_usd,
        }
    }

    /// Whether a request that was not sampled is traced all the same.
    fn is_worth_keeping(&self, story: &Story) -> bool {
        let slow = self.snapshot.config.telemetry.keep.slower_than;
        let is_error = story.fault.is_some() || story.status.is_some_and(|status| status >= 400);
        is_error || matches!(story.reason, Reason::Failover(_)) || story.total() > slow
    }

    fn tell(&self, mut story: Story) {
        let traced = self.proxy.tracer.as_ref().filter(|tracer| {
            let keep = self.snapshot.config.telemetry.keep;
            story.trace.is_sampled() || (self.is_worth_keeping(&story) && tracer.keeps(&story, keep))
        });
        self.proxy.stats.tell(&story, traced.is_some());
        if let Some(tracer) = traced {
            story.trace.set_sampled(true);
            tracer.tell(&story);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = Instant::now();
        let total = now.saturating_duration_since(self.watch.started);
        let end = self.ending();
        if !matches!(end, End::ClientGone | End::Drained) {
            self.settle_doubt(None, now);
        }
        if let Some(ticket) = self.ticket.take() {
            match end {
                End::UpstreamError | End::Timeout => {
                    if let Some(target) = self.backend.clone() {
                        self.bad(&target, ticket, now);
                    }
                }
                End::Complete => ticket.good(now),
                End::ClientGone | End::Drained | End::Refused => drop(ticket),
            }
        }
        let cost = self.cost(now);
        let overhead = self.overhead.unwrap_or_else(|| self.watch.overhead(now));
        self.count(end, now, cost);
        self.proxy.stats.end(end.as_str());
        self.log(end, total, overhead, cost);
        let story = self.story(end, overhead, cost, now);
        self.tell(story);
        self.unassign();
        self.release_body();
        self.proxy.stats.body_bytes.sub(self.answer_held);
        if self.in_flight {
            self.proxy.stats.in_flight.sub(1);
        }
    }
}
