//! Parts of a request that the answer to it depends on.

use super::ids::Owner;
use crate::config::ReasoningPolicy;
use crate::model::Engine;

/// API whose format the answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
    /// `/v1/completions`.
    Completions,
}

/// Specification of an answer: made with the translated request, applied to what its backend answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSpec {
    /// Engine that answers.
    pub engine: Engine,
    /// Backend that answers, as ids name it.
    pub owner: Owner,
    /// API of the answer.
    pub kind: Kind,
    /// Model name that the application used, and reads in the answer.
    pub model: String,
    /// The application asked for a stream.
    pub streamed: bool,
    /// Number of choices (`n`): a stream is not over before all of them have ended.
    pub choices: u64,
    /// The application asked a stream for its usage (`stream_options.include_usage`).
    pub usage_chunk: bool,
    /// Fields in which thoughts are shown, if any.
    pub reasoning: ReasoningPolicy,
    /// The server was told not to think: what it calls reasoning is its answer.
    pub thinking_off: bool,
    /// The request offered tools, in either spelling.
    pub tools: bool,
    /// The tools were the older `functions`: the answer has a `function_call`.
    pub functions: bool,
    /// One tool or function was forced by name: OpenAI then says `stop`.
    pub forced: bool,
    /// `parallel_tool_calls: false`: only the first call is shown.
    pub one_call: bool,
    /// Stop strings enforced here, because the server leaves them in or would stop inside a thought.
    pub stop: Vec<String>,
}

impl AnswerSpec {
    /// Returns the specification for a plain request: one unstreamed choice of text, without its thoughts.
    pub const fn new(engine: Engine, owner: Owner, kind: Kind, model: String) -> Self {
        Self {
            engine,
            owner,
            kind,
            model,
            streamed: false,
            choices: 1,
            usage_chunk: false,
            reasoning: ReasoningPolicy::Strip,
            thinking_off: false,
            tools: false,
            functions: false,
            forced: false,
            one_call: false,
            stop: Vec::new(),
        }
    }
}
