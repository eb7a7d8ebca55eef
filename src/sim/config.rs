//! Configuration of a simulated server, and its behaviour, which can change while it runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::differences::Differences;
use super::wire::Wire;

/// The chat template before the model: which requests it refuses, and whether the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Qwen2.5 and the instruct models: the model does not think.
    Qwen25,
    /// The model thinks unless told not to. Messages may come in any order.
    Qwen3,
    /// Qwen3.5 and 3.6: the model thinks. Refuses late system messages, images in them, and a chat without a user turn.
    Qwen35,
    /// As [`Qwen35`](Self::Qwen35); knows only the efforts none, low, medium and xhigh.
    Qwen38,
    /// The model always thinks.
    Thinking,
}

/// A request of a sampled caller, as the server reports it to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedRequest {
    /// The header as it came.
    pub traceparent: String,
    /// Time at which the request's head arrived.
    pub began_at: SystemTime,
    /// Time at which the answer ended.
    pub ended_at: SystemTime,
    /// True if the answer was sent to its end.
    pub is_complete: bool,
}

/// Function that takes a server's spans.
#[derive(Clone)]
pub struct Collector(pub Arc<dyn Fn(TracedRequest) + Send + Sync>);

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

/// Configuration of a simulated server.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Engine whose wire format is spoken.
    pub wire: Wire,
    /// Served names. If empty, any name is served.
    pub models: Vec<String>,
    /// Key without which a request is answered 401.
    pub api_key: Option<String>,
    /// Context length, in tokens.
    pub max_model_len: u64,
    /// Longest prompt, in tokens, of an engine that has such a limit; `None` for the context less one token.
    pub max_input_tokens: Option<u64>,
    /// True to keep requests for [`Sim::received`](super::Sim::received).
    pub record: bool,
    /// Chat template of the served model.
    pub template: Template,
    /// True if the model sees images.
    pub vision: bool,
    /// Receiver of the requests whose trace is sampled.
    pub collector: Option<Collector>,
}

impl SimConfig {
    /// Adds a served name.
    #[must_use]
    pub fn model(mut self, name: &str) -> Self {
        self.models.push(name.to_owned());
        self
    }

    /// Demands an API key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self
    }

    /// Sets the chat template.
    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// Lets the model see images.
    #[must_use]
    pub fn sees(mut self) -> Self {
        self.vision = true;
        self
    }

    /// Returns the longest prompt, in tokens.
    pub(super) fn longest_prompt(&self) -> u64 {
        self.max_input_tokens.unwrap_or_else(|| self.max_model_len.saturating_sub(1))
    }

    /// Returns the name under which the model answers when the request names none.
    pub(super) fn served(&self) -> &str {
        self.models.first().map_or("Qwen/Qwen3-235B-A22B", String::as_str)
    }
}

/// Load that the metrics page shows beside the tokens that were really generated.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Requests in the running batch.
    pub running: u64,
    /// Requests in the queue.
    pub waiting: u64,
    /// Share of the KV cache in use, from 0 to 1.
    pub kv_usage: f64,
    /// Share of each prompt that is found in the prefix cache, from 0 to 1.
    pub prefix_hits: f64,
}

/// Behaviour of a simulated server.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Time to the first token.
    pub ttft: Duration,
    /// Largest deviation of a wait, as a share of it.
    pub jitter: f64,
    /// Pace of an answer; 0 for no waits.
    pub tokens_per_second: f64,
    /// Least and most tokens of an answer whose request sets no limit.
    pub tokens: (u32, u32),
    /// Share of requests answered 500, from 0 to 1.
    pub error_rate: f64,
    /// Status and `retry-after`, in seconds, of every answer. An engine that reports such an error within a stream does
    /// so here too.
    pub status: Option<(u16, Option<u32>)>,
    /// The fault that every answer has.
    pub fault: Fault,
    /// Differences planted in a share of the answers.
    pub differences: Differences,
    /// Load on the metrics page.
    pub load: Load,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ttft: Duration::ZERO,
            jitter: 0.0,
            tokens_per_second: 0.0,
            tokens: (8, 24),
            error_rate: 0.0,
            status: None,
            fault: Fault::None,
            differences: Differences::default(),
            load: Load::default(),
        }
    }
}

/// A way in which a server fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server works.
    None,
    /// The request is read, and no answer comes.
    HangBeforeHead,
    /// A stream hangs after this many events.
    HangAfter(usize),
    /// The connection is reset instead of an answer.
    ResetBeforeHead,
    /// The connection is reset after this many bytes of the answer, head included.
    CutAfterBytes(usize),
    /// Each write sends one byte.
    OneByteAtATime,
    /// Status 200, and the first event is an error.
    ErrorEventFirst,
    /// An error event follows after this many events.
    ErrorEventAfter(usize),
    /// Status 200 with an HTML page.
    Html,
    /// The answer is not HTTP.
    Garbage,
    /// The stream never ends.
    NeverEnding,
    /// The content-length is larger than the body.
    WrongLength,
    /// The connection is closed right after the answer, without `connection: close`.
    CloseAfterAnswer,
    /// No reasoning parser: a thought comes as `<think>` in the content, even if the request turned thinking off.
    ThinkInContent,
    /// The wrong reasoning parser: the answer comes as reasoning, without content.
    AnswerAsReasoning,
    /// No tool parser: a call comes as text.
    CallAsText,
    /// The answer stops half-way with `finish_reason: "abort"`.
    Abort,
    /// The finish reason is missing.
    NoFinish,
    /// The stream ends without `[DONE]`.
    NoDone,
    /// A comment stands before every event.
    Comments,
}
