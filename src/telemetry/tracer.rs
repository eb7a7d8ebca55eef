//! Which requests are traced: decided before there is any span, and once more when one has ended badly.
//!
//! Owns: sampling, the bound on kept traces, the queue to whoever exports. Refuses: formats, sockets.
//! Invariant: telling costs a request a lock and no waiting; what does not fit is dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::stats::{Stats, lock};
use super::story::Story;
use crate::config::Keep;
use crate::model::{TraceContext, TraceId};

/// Whether a trace is recorded, as `OTEL_TRACES_SAMPLER` puts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Of the traces that begin here: 0 is none, 1 is all.
    pub ratio: f64,
    /// What the application decided holds.
    pub follows: bool,
}

impl Sampler {
    pub fn samples(self, context: &TraceContext) -> bool {
        if self.follows && context.parent.is_some() {
            return context.is_sampled();
        }
        self.takes(context.trace)
    }

    /// As OpenTelemetry's `TraceIdRatioBased` does it: the last 63 bits of the id are a number drawn evenly.
    fn takes(self, trace: TraceId) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a ratio is no finer than a double")]
        let drawn = ((trace.as_u128() as u64) >> 1) as f64 / (1_u64 << 63) as f64;
        drawn < self.ratio
    }

    /// An application that said no is not overruled.
    fn may_keep(self, context: &TraceContext) -> bool {
        !(self.follows && context.parent.is_some() && !context.is_sampled())
    }
}

/// What is told to whoever exports.
#[derive(Debug)]
pub struct Told {
    pub story: Box<Story>,
}

impl Told {
    pub fn spans(&self) -> usize {
        self.story.attempts.len() + 1
    }
}

/// Traces on their way out, and who goes there.
#[derive(Debug)]
pub struct Tracer {
    /// The environment's; the file's otherwise.
    sampler: Option<Sampler>,
    kept: Mutex<Allowance>,
    queue: Mutex<Queue>,
    /// In spans; further ones are dropped.
    max_queue: usize,
    /// So many wake the exporter before its time.
    batch: usize,
    wake: Notify,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Queue {
    told: VecDeque<Told>,
    spans: usize,
    closed: bool,
}

/// A second's kept traces.
#[derive(Debug)]
struct Allowance {
    second: Instant,
    left: u32,
}

impl Tracer {
    pub fn new(sampler: Option<Sampler>, max_queue: usize, batch: usize, stats: Arc<Stats>) -> Self {
        let kept = Mutex::new(Allowance { second: Instant::now(), left: 0 });
        let (queue, wake) = (Mutex::default(), Notify::new());
        Self { sampler, kept, queue, max_queue, batch, wake, stats }
    }

    fn sampler(&self, ratio: f64) -> Sampler {
        self.sampler.unwrap_or(Sampler { ratio, follows: true })
    }

    /// `ratio` is the file's.
    pub fn samples(&self, context: &TraceContext, ratio: f64) -> bool {
        self.sampler(ratio).samples(context)
    }

    /// A request that was not sampled ended so that it should have been.
    pub fn keeps(&self, context: &TraceContext, keep: Keep, now: Instant) -> bool {
        if !self.sampler(0.0).may_keep(context) {
            return false;
        }
        let mut kept = lock(&self.kept);
        if now.saturating_duration_since(kept.second) >= Duration::from_secs(1) || kept.left > keep.per_second {
            *kept = Allowance { second: now, left: keep.per_second };
        }
        let granted = kept.left > 0;
        kept.left = kept.left.saturating_sub(1);
        drop(kept);
        if !granted {
            self.stats.telemetry.dropped_rate.add(1);
        }
        granted
    }

    pub fn tell(&self, story: Box<Story>) {
        let told = Told { story };
        let spans = told.spans();
        let mut queue = lock(&self.queue);
        if queue.closed || queue.spans + spans > self.max_queue {
            let telemetry = &self.stats.telemetry;
            let dropped = if queue.closed { &telemetry.dropped_shutdown } else { &telemetry.dropped_full };
            dropped.add(spans as u64);
            return;
        }
        let before = queue.spans;
        queue.spans += spans;
        queue.told.push_back(told);
        self.stats.telemetry.queued.add(spans as u64);
        let is_full = before < self.batch && queue.spans >= self.batch;
        drop(queue);
        if is_full {
            self.wake.notify_one();
        }
    }

    /// Enough for a batch waits, or somebody wants it all out.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What waits, up to about `spans` spans.
    pub fn take(&self, spans: usize) -> Vec<Told> {
        let mut queue = lock(&self.queue);
        let mut taken = Vec::new();
        let mut count = 0;
        while count < spans
            && let Some(told) = queue.told.pop_front()
        {
            count += told.spans();
            taken.push(told);
        }
        queue.spans = queue.spans.saturating_sub(count);
        self.stats.telemetry.queued.sub(count as u64);
        taken
    }

    pub fn waiting(&self) -> usize {
        lock(&self.queue).spans
    }

    /// Nothing more is taken in.
    pub fn close(&self) {
        lock(&self.queue).closed = true;
        self.wake.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }
}
