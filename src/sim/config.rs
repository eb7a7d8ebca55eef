//! What a simulated server is, and how it behaves just now.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Which server's format is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    OpenAi,
    Vllm,
    Sglang,
    Trtllm,
    Tgi,
    DashScope,
    Compatible,
}

impl Wire {
    pub const ALL: [Self; 7] =
        [Self::OpenAi, Self::Vllm, Self::Sglang, Self::Trtllm, Self::Tgi, Self::DashScope, Self::Compatible];

    /// As `engine` is written in rollout.toml.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Trtllm => "trtllm",
            Self::Tgi => "tgi",
            Self::DashScope => "dashscope",
            Self::Compatible => "compatible",
        }
    }
}

/// The chat template before the model: what it raises on, and whether the model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Qwen2.5 and the instruct models: no thought.
    Qwen25,
    /// Thinks unless told not to; accepts any order of messages.
    Qwen3,
    /// Qwen3.5 and 3.6: thinks, and raises on late system messages, on no user turn, on images in system messages.
    Qwen35,
    /// As 3.5; knows only the efforts low, medium and xhigh.
    Qwen38,
    /// Always thinks.
    Thinking,
}

/// A request whose caller is traced, as the server would tell it to a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// As it came.
    pub traceparent: String,
    pub began: SystemTime,
    pub ended: SystemTime,
    /// It was answered to its end.
    pub complete: bool,
}

/// Where a server's spans go.
#[derive(Clone)]
pub struct Collector(pub Arc<dyn Fn(Traced) + Send + Sync>);

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

/// What a simulated server is.
#[derive(Debug, Clone)]
pub struct SimConfig {
    pub wire: Wire,
    /// Served names; none: any name is served.
    pub models: Vec<String>,
    /// Without it a request is answered 401.
    pub api_key: Option<String>,
    pub max_model_len: u64,
    /// Keep what is received, for [`super::Sim::received`].
    pub record: bool,
    pub template: Template,
    /// The model can see.
    pub vision: bool,
    /// Requests whose trace is sampled are told there.
    pub collector: Option<Collector>,
}

impl SimConfig {
    pub fn new(wire: Wire) -> Self {
        let template = match wire {
            Wire::Vllm | Wire::Sglang | Wire::Trtllm | Wire::DashScope => Template::Qwen3,
            Wire::OpenAi | Wire::Tgi | Wire::Compatible => Template::Qwen25,
        };
        Self {
            wire,
            models: Vec::new(),
            api_key: None,
            max_model_len: 32_768,
            record: true,
            template,
            vision: wire == Wire::OpenAi,
            collector: None,
        }
    }

    #[must_use]
    pub fn model(mut self, name: &str) -> Self {
        self.models.push(name.to_owned());
        self
    }

    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.api_key = Some(key.to_owned());
        self
    }

    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    #[must_use]
    pub fn sees(mut self) -> Self {
        self.vision = true;
        self
    }

    /// The name under which the model answers when the request names none.
    pub(super) fn served(&self) -> &str {
        self.models.first().map_or("Qwen/Qwen3-235B-A22B", String::as_str)
    }
}

/// What the metrics page says beside what was really answered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    pub running: u64,
    pub waiting: u64,
    /// From 0 to 1.
    pub kv_usage: f64,
}

/// How it behaves just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// To the first token.
    pub ttft: Duration,
    /// Of each wait at most this much more or less, as a share of it.
    pub jitter: f64,
    /// 0: as fast as it goes.
    pub tokens_per_second: f64,
    /// Tokens of an answer whose request sets no limit.
    pub tokens: (u32, u32),
    /// Share of requests answered 500.
    pub error_rate: f64,
    /// Every request is answered with this status, and this `retry-after`; where the server tells a streamed request
    /// so in a stream, it is.
    pub status: Option<(u16, Option<u32>)>,
    pub fault: Fault,
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
            load: Load::default(),
        }
    }
}

/// One way of being cruel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The request is read and nothing comes.
    HangBeforeHead,
    /// After so many events of a stream nothing more comes.
    HangAfter(usize),
    ResetBeforeHead,
    /// The connection is reset once so many bytes of the answer, head included, are out.
    CutAfterBytes(usize),
    OneByteAtATime,
    /// 200, and the first event is an error.
    ErrorEventFirst,
    /// An error event after so many events.
    ErrorEventAfter(usize),
    /// 200 with a page of HTML.
    Html,
    /// Not HTTP at all.
    Garbage,
    /// A stream that never ends.
    NeverEnding,
    /// A content-length larger than what comes.
    WrongLength,
    /// The connection is closed right after the answer, unannounced.
    CloseAfterAnswer,
    /// No reasoning parser: a thought comes as `<think>` in the content, whatever was asked.
    ThinkInContent,
    /// The wrong reasoning parser: the answer comes as reasoning, and no content.
    AnswerAsReasoning,
    /// No tool parser: a call comes as text.
    CallAsText,
    /// The answer is given up half-way, with `finish_reason: "abort"`.
    Abort,
    /// The finish reason is missing.
    NoFinish,
    /// The stream ends without `[DONE]`.
    NoDone,
    /// A comment stands before every event.
    Comments,
}
