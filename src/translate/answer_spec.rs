//! What the application asked for, as far as its answer has to show it.

use super::ids::Owner;
use crate::config::ReasoningPolicy;
use crate::model::Engine;

/// Which of OpenAI's formats the answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Responses,
    /// The older `/v1/completions`.
    Completions,
}

/// Made with the translated request, used on its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSpec {
    /// Who answers.
    pub engine: Engine,
    pub owner: Owner,
    pub kind: Kind,
    /// The model as the application named it: it comes back under this name.
    pub model: String,
    pub streamed: bool,
    /// How many answers were asked for (`n`): the stream is not over before all have ended.
    pub choices: u64,
    /// The application asked a stream for its usage (`stream_options.include_usage`).
    pub usage_chunk: bool,
    pub reasoning: ReasoningPolicy,
    /// The server was told not to think: what it calls reasoning is its answer.
    pub thinking_off: bool,
    /// The request offered tools, in either spelling.
    pub tools: bool,
    /// They were the older `functions`: the answer has a `function_call`.
    pub functions: bool,
    /// One tool or function was forced by name: OpenAI then says `stop`.
    pub forced: bool,
    /// `parallel_tool_calls: false`: only the first call is shown.
    pub one_call: bool,
    /// Stop strings to be enforced here: the server leaves them in, or would fire them inside a thought.
    pub stop: Vec<String>,
}

impl AnswerSpec {
    /// Those of a plain question: one answer, in one piece, of text, its thoughts kept back.
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
