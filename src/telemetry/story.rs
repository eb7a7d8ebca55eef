//! What happened to one request, as plain names, times and numbers: its metrics and its spans are made from this.
//!
//! Invariant: it holds no content, no header and no key; models, ids and finish reasons are bounded where they are read.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, Version};

use super::stats::RouteStats;
use crate::model::{End, Engine, Fault, Reason, SpanId, TraceContext};
use crate::wire::answer_facts::AnswerFacts;
use crate::wire::endpoint::Operation;
use crate::wire::scan::Scan;

/// A backend by the names that telemetry gives it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub name: String,
    pub engine: Engine,
    pub host: String,
    pub port: u16,
}

/// An instant and what the wall's clock said then.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub began: Instant,
    pub wall: SystemTime,
}

impl Clock {
    pub fn start() -> Self {
        Self { began: Instant::now(), wall: SystemTime::now() }
    }

    /// As the wall's clock would have said, had nobody set it since.
    pub fn wall_of(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.began)
    }
}

/// What a server that is not ours tells of a request that it got from us.
#[derive(Debug)]
pub struct ServerSpan {
    pub parent: TraceContext,
    pub name: &'static str,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub failed: bool,
    pub attributes: Vec<(&'static str, f64)>,
}

/// Who is meant to get the answer of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leg {
    Served,
}

impl Leg {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
        }
    }
}

/// Who ended an attempt before its backend did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CancelledBy {
    Client,
    Deadline,
    Drain,
    Shed,
}

impl CancelledBy {
    pub const ALL: [Self; 4] = [Self::Client, Self::Deadline, Self::Drain, Self::Shed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Deadline => "deadline",
            Self::Drain => "drain",
            Self::Shed => "shed",
        }
    }
}

/// What the application asked a model for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    pub stream: bool,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub seed: Option<i64>,
    pub choices: Option<u64>,
}

impl Params {
    /// `all` is whether more than metrics need is wanted.
    pub fn of(scan: &Scan<'_>, all: bool) -> Self {
        fn number<T: std::str::FromStr>(scan: &Scan<'_>, name: &str) -> Option<T> {
            scan.get(name)?.get().parse().ok()
        }
        let stream = scan.stream();
        if !all {
            return Self { stream, ..Self::default() };
        }
        Self {
            stream,
            max_tokens: ["max_completion_tokens", "max_tokens", "max_output_tokens"]
                .iter()
                .find_map(|name| number(scan, name)),
            temperature: number(scan, "temperature").filter(|number: &f64| number.is_finite()),
            top_p: number(scan, "top_p").filter(|number: &f64| number.is_finite()),
            seed: number(scan, "seed"),
            choices: number(scan, "n"),
        }
    }
}

/// What was decided, before any failover.
#[derive(Debug)]
pub struct Decided {
    pub route: Arc<RouteStats>,
    pub backend: Arc<Peer>,
    pub reason: Reason,
    /// The split's place in [0, 1).
    pub bucket: Option<f64>,
    /// What the file asks for that candidate on this route; `None` for the baseline.
    pub percent: Option<f64>,
}

/// One request to one backend.
#[derive(Debug)]
pub struct Attempt {
    pub peer: Arc<Peer>,
    pub leg: Leg,
    pub span: SpanId,
    pub sent: Instant,
    /// When the answer's head had come.
    pub head: Option<Instant>,
    pub ended: Option<Instant>,
    /// The same again on a fresh connection.
    pub is_replay: bool,
    pub reused: Option<bool>,
    pub status: Option<u16>,
    /// The model as this backend knows it; empty where the request names none.
    pub model: String,
    pub seen: AnswerFacts,
    pub fault: Option<Fault>,
    pub cancelled: Option<CancelledBy>,
    /// Its failure opened the breaker.
    pub opened_breaker: bool,
}

/// Time that was ours and nobody else's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overhead {
    /// Until the first attempt was sent.
    pub request: Option<Duration>,
    /// Until the answer's head left.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub total: Duration,
}

/// One request from its first byte to the last of its answer.
#[derive(Debug)]
pub struct Story {
    pub clock: Clock,
    pub ended: Instant,
    pub trace: TraceContext,
    pub span: SpanId,
    pub generation: u64,
    pub method: Method,
    /// The endpoint's template.
    pub template: &'static str,
    pub path: String,
    pub version: Version,
    pub operation: Option<Operation>,
    pub params: Params,
    pub decided: Option<Decided>,
    /// In the order in which they were sent.
    pub attempts: Vec<Attempt>,
    /// Who answered; `None` where shiftgate did.
    pub backend: Option<Arc<Peer>>,
    /// Why that one, or why shiftgate.
    pub reason: Reason,
    pub status: Option<u16>,
    pub end: End,
    pub fault: Option<Fault>,
    pub overhead: Overhead,
    pub cost_usd: Option<f64>,
}

impl Story {
    /// How many spans its trace has here.
    pub const fn spans(&self) -> usize {
        self.attempts.len() + 1
    }

    pub fn total(&self) -> Duration {
        self.ended.saturating_duration_since(self.clock.began)
    }
}
