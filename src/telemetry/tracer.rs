//! Which requests are traced: decided before there is any span, and once more when one has ended badly.
//!
//! Owns: sampling, the bound on kept traces, the queue to whoever exports. Refuses: formats, sockets.
//! Invariant: telling costs a request a lock and no waiting; what does not fit is dropped and counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::config::Keep;
use crate::model::{TraceContext, TraceId};
use crate::outcome::Outcome;
use crate::stats::{Stats, lock};

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

/// The encoder of an outcome's spans; it runs where the request ended, so that only bytes change threads.
pub(crate) type Encode = fn(&Outcome, &mut Vec<u8>);

/// Encoded spans that leave together.
#[derive(Debug, Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    pub spans: usize,
}

/// Largest chunk, in bytes. A collector takes 4 MiB in one gRPC message; one request's spans are a few KiB at most.
const MAX_CHUNK: usize = 2 << 20;
/// Beside the bound in spans: names and paths may be long.
const MAX_BYTES: usize = 32 << 20;

/// Traces on their way out, and who goes there.
#[derive(Debug)]
pub struct Tracer {
    /// The environment's; the file's otherwise.
    sampler: Option<Sampler>,
    kept: Mutex<Allowance>,
    queue: Mutex<Queue>,
    /// In spans; further ones are dropped.
    max_queue: usize,
    /// So many leave together, and wake the exporter before its time.
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
    /// Taken last: it is with the exporter until it comes for more.
    under_way: usize,
    closed: bool,
}

/// A second's kept traces.
#[derive(Debug)]
struct Allowance {
    second: Instant,
    left: u32,
}

impl Tracer {
    /// `max_queue` and `batch` are counts of spans.
    pub fn new(
        sampler: Option<Sampler>,
        (max_queue, batch): (usize, usize),
        encode: Encode,
        stats: Arc<Stats>,
    ) -> Self {
        // More than any file allows: the first second begins with the first that is kept.
        let kept = Mutex::new(Allowance { second: Instant::now(), left: u32::MAX });
        let (queue, wake) = (Mutex::default(), Notify::new());
        Self { sampler, kept, queue, max_queue, batch, encode, wake, stats }
    }

    fn sampler(&self, ratio: f64) -> Sampler {
        self.sampler.unwrap_or(Sampler { ratio, follows: true })
    }

    /// `ratio` is the file's.
    pub fn samples(&self, context: &TraceContext, ratio: f64) -> bool {
        self.sampler(ratio).samples(context)
    }

    /// A request that was not sampled ended so that it should have been.
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
        thread_local! {
            static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let spans = outcome.spans();
        let fits = |queue: &Queue| !queue.closed && queue.spans + spans <= self.max_queue && queue.bytes < MAX_BYTES;
        ENCODED.with_borrow_mut(|encoded| {
            encoded.clear();
            // What will not fit is not worth its encoding.
            if fits(&lock(&self.queue)) {
                (self.encode)(outcome, encoded);
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

    /// Enough for a batch waits, or somebody wants it all out.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What has waited longest.
    pub fn take(&self) -> Option<Chunk> {
        let mut queue = lock(&self.queue);
        let chunk = queue.full.pop_front().unwrap_or_else(|| std::mem::take(&mut queue.current));
        queue.spans -= chunk.spans;
        queue.bytes -= chunk.bytes.len();
        queue.under_way = chunk.spans;
        self.stats.telemetry.queued.sub(chunk.spans as u64);
        (chunk.spans > 0).then_some(chunk)
    }

    /// Forgets what waits. Returns how many spans nobody will get, those that the exporter just sends among them.
    pub fn abandon(&self) -> usize {
        let mut queue = lock(&self.queue);
        self.stats.telemetry.queued.sub(queue.spans as u64);
        let lost = queue.spans + queue.under_way;
        *queue = Queue { closed: true, ..Queue::default() };
        lost
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
