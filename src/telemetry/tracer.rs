//! Choice of traced requests: by sampling at the beginning, and at the end for requests worth keeping.
//!
//! Owns: sampling, the limit of kept traces, the queue to the exporter. Does not: encode or send. Invariant: reporting
//! costs a request a lock and no waiting; spans that do not fit are dropped and counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::Keep;
use crate::model::{TraceContext, TraceId};
use crate::outcome::{Outcome, Pair};
use crate::stats::{Stats, lock};

/// Sampling settings, as in `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Share of the traces that begin here: 0 is none, 1 is all.
    pub ratio: f64,
    /// True if the application's sampling decision is followed.
    pub follows: bool,
}

impl Sampler {
    /// True if the trace is sampled.
    pub fn samples(self, context: &TraceContext) -> bool {
        if self.follows && context.parent.is_some() {
            return context.is_sampled();
        }
        self.takes(context.trace)
    }

    /// Applies OpenTelemetry's `TraceIdRatioBased`: the last 63 bits of the id are an evenly distributed number.
    fn takes(self, trace: TraceId) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a ratio is no finer than a double")]
        let drawn = ((trace.as_u128() as u64) >> 1) as f64 / (1_u64 << 63) as f64;
        drawn < self.ratio
    }

    /// True if the trace may be kept: an application's decision against sampling is respected.
    fn may_keep(self, context: &TraceContext) -> bool {
        !(self.follows && context.parent.is_some() && !context.is_sampled())
    }
}

/// Encoders of spans. They run on the thread that reports, so that only bytes change threads.
#[derive(Debug, Clone, Copy)]
pub struct Encode {
    /// Encodes the spans of a request.
    pub outcome: fn(&Outcome, &mut Vec<u8>),
    /// Encodes the spans of a request's copies and of their comparison.
    pub pair: fn(&Pair, &mut Vec<u8>),
}

/// Encoded spans that are exported together.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The encoded spans.
    pub bytes: Vec<u8>,
    /// Number of spans.
    pub spans: usize,
}

/// Limit of a chunk, in bytes. Collectors accept 4 MiB per gRPC message; one request's spans take a few KiB at most.
const MAX_CHUNK: usize = 2 << 20;
/// Limit of the queue, in bytes, in addition to the limit in spans: names and paths may be long.
const MAX_BYTES: usize = 32 << 20;

/// Queue of encoded traces, and the sampling that decides about them.
#[derive(Debug)]
pub struct Tracer {
    /// Sampler of the environment; `None` uses the file's ratio.
    sampler: Option<Sampler>,
    kept: Mutex<Allowance>,
    queue: Mutex<Queue>,
    /// Limit of the queue, in spans; further spans are dropped and counted.
    max_queue: usize,
    /// Number of spans that fill a chunk and wake the exporter early.
    batch: usize,
    encode: Encode,
    wake: Notify,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Queue {
    full: VecDeque<Chunk>,
    current: Chunk,
    spans: usize,
    bytes: usize,
    /// Number of spans taken last; they count until the exporter returns for more.
    under_way: usize,
    closed: bool,
}

/// Number of traces that may still be kept in one second.
#[derive(Debug)]
struct Allowance {
    second: Instant,
    left: u32,
}

impl Tracer {
    /// Creates an empty queue. `max_queue` and `batch` are in spans.
    pub fn new(
        sampler: Option<Sampler>,
        (max_queue, batch): (usize, usize),
        encode: Encode,
        stats: Arc<Stats>,
    ) -> Self {
        // Above any limit in a file: the first kept trace starts the first second.
        let kept = Mutex::new(Allowance { second: Instant::now(), left: u32::MAX });
        let (queue, wake) = (Mutex::default(), Notify::new());
        Self { sampler, kept, queue, max_queue, batch, encode, wake, stats }
    }

    fn sampler(&self, ratio: f64) -> Sampler {
        self.sampler.unwrap_or(Sampler { ratio, follows: true })
    }

    /// True if the trace is sampled; `ratio` is the file's.
    pub fn samples(&self, context: &TraceContext, ratio: f64) -> bool {
        self.sampler(ratio).samples(context)
    }

    /// True if an unsampled request is kept because of how it ended.
    pub fn keeps(&self, outcome: &Outcome, keep: Keep) -> bool {
        let now = outcome.ended_at;
        if !self.sampler(0.0).may_keep(&outcome.trace) {
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
            self.stats.telemetry.dropped_rate.add(outcome.spans() as u64);
        }
        granted
    }

    /// Queues the outcome's spans, or drops and counts them.
    pub fn ended(&self, outcome: &Outcome) {
        self.queue(outcome.spans(), |encoded| (self.encode.outcome)(outcome, encoded));
    }

    /// Queues the spans of a request's copies, or drops and counts them.
    pub fn pair_ended(&self, pair: &Pair) {
        self.queue(pair.spans(), |encoded| (self.encode.pair)(pair, encoded));
    }

    fn queue(&self, spans: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let fits = |queue: &Queue| !queue.closed && queue.spans + spans <= self.max_queue && queue.bytes < MAX_BYTES;
        ENCODED.with_borrow_mut(|encoded| {
            encoded.clear();
            // Encoding is skipped if the queue is full.
            if fits(&lock(&self.queue)) {
                encode(encoded);
            }
            let mut queue = lock(&self.queue);
            if encoded.is_empty() || !fits(&queue) {
                self.lose(spans, queue.closed);
                return;
            }
            queue.spans += spans;
            queue.bytes += encoded.len();
            queue.current.spans += spans;
            queue.current.bytes.extend_from_slice(encoded);
            self.stats.telemetry.queued.add(spans as u64);
            let is_full = queue.current.spans >= self.batch || queue.current.bytes.len() >= MAX_CHUNK;
            if is_full {
                let chunk = std::mem::take(&mut queue.current);
                queue.full.push_back(chunk);
            }
            drop(queue);
            if is_full {
                self.wake.notify_one();
            }
        });
    }

    fn lose(&self, spans: usize, closed: bool) {
        let telemetry = &self.stats.telemetry;
        let dropped = if closed { &telemetry.dropped_shutdown } else { &telemetry.dropped_full };
        dropped.add(spans as u64);
    }

    /// Waits for a full chunk, or for the end of the queue.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes the oldest chunk; `None` if the queue is empty.
    pub fn take(&self) -> Option<Chunk> {
        let mut queue = lock(&self.queue);
        let chunk = queue.full.pop_front().unwrap_or_else(|| std::mem::take(&mut queue.current));
        queue.spans -= chunk.spans;
        queue.bytes -= chunk.bytes.len();
        queue.under_way = chunk.spans;
        self.stats.telemetry.queued.sub(chunk.spans as u64);
        (chunk.spans > 0).then_some(chunk)
    }

    /// Empties the queue. Returns the number of spans lost, including those that the exporter is sending.
    pub fn abandon(&self) -> usize {
        let mut queue = lock(&self.queue);
        self.stats.telemetry.queued.sub(queue.spans as u64);
        let lost = queue.spans + queue.under_way;
        *queue = Queue { closed: true, ..Queue::default() };
        lost
    }

    /// Closes the queue: further spans are dropped.
    pub fn close(&self) {
        lock(&self.queue).closed = true;
        self.wake.notify_one();
    }

    /// True if the queue is closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }
}
