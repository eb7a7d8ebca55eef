//! Differences between engines that the shared code has to know. It asks for an ability and never for an engine by name.

use super::config::Template;

/// The field that turns the model's thinking on and off, if its template has the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingSwitch {
    /// The model never thinks.
    None,
    /// `chat_template_kwargs.enable_thinking`; without it, the reasoning effort.
    KwargOrEffort,
    /// In a chat `chat_template_kwargs.enable_thinking` alone; elsewhere as [`KwargOrEffort`](Self::KwargOrEffort).
    KwargInChat,
    /// `/no_think` in the text of the user. A model that does not think does after "Think."
    InPrompt,
    /// The top-level field `enable_thinking`.
    Field,
}

/// The field that prescribes the form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormatStyle {
    /// OpenAI's `response_format`.
    OpenAi,
    /// The whole of `json_schema` is the schema, so that OpenAI's wrapper around it constrains nothing.
    BareSchema,
    /// A grammar in `value`. The answer has the required fields only.
    Grammar,
}

/// Number of tools that one answer may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParallelCalls {
    /// One.
    Never,
    /// Several, whatever `parallel_tool_calls` says.
    Always,
    /// Several unless `parallel_tool_calls` is false.
    ByDefault,
    /// One unless `parallel_tool_calls` is true.
    OnRequest,
}

/// Effect of an empty stop string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EmptyStop {
    /// The string is ignored.
    Ignored,
    /// The string is found at once.
    AtOnce,
    /// The answer stops after its first token.
    AfterFirstToken,
}

/// Differences of one engine from the others. [`Quirks::NONE`] is the common case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quirks {
    /// Template of a server that is configured with none.
    pub(super) template: Template,
    /// True if the model sees images unless configured otherwise.
    pub(super) vision: bool,
    /// Switch of the model's thinking.
    pub(super) thinking: ThinkingSwitch,
    /// Style of a prescribed form.
    pub(super) format: FormatStyle,
    /// Number of calls in one answer.
    pub(super) parallel_calls: ParallelCalls,
    /// Effect of an empty stop string.
    pub(super) empty_stop: EmptyStop,
    /// True if a stop string is looked for in the thought too.
    pub(super) stops_in_thought: bool,
    /// True if the stop string stays in the text; the finish reason is then `stop_sequence`.
    pub(super) keeps_stop: bool,
    /// True if the thought comes as `<think>` in the content: there is no reasoning parser.
    pub(super) thinks_in_content: bool,
    /// True if the older `functions` and `function_call` are understood.
    pub(super) has_functions: bool,
    /// True if tools reach the prompt despite `tool_choice: "none"`, so that a call comes as text.
    pub(super) writes_unwanted_calls: bool,
    /// True if a forced call without `strict` is constrained to JSON of any kind only.
    pub(super) loose_forced_calls: bool,
    /// True if `tool_choice: "required"` calls the first two tools, whatever the user wants.
    pub(super) required_calls_two: bool,
    /// True if nothing of a call shows that the token limit cut.
    pub(super) hides_cut_calls: bool,
    /// True if a hidden first run decides whether a tool is called, and its tokens are the ones counted.
    pub(super) has_hidden_run: bool,
    /// True if `stream_options` without `include_usage` asks for usage.
    pub(super) usage_by_default: bool,
    /// Token limits above this are rounded up to its next multiple.
    pub(super) limit_step: Option<u64>,
    /// True if `n` is ignored.
    pub(super) one_choice: bool,
    /// True if what follows the first JSON value of a body is ignored.
    pub(super) ignores_trailing: bool,
    /// True if the API key is checked only where tokens are generated.
    pub(super) guards_generation_only: bool,
    /// True if `/v1/models/NAME` is served.
    pub(super) serves_each_model: bool,
    /// True if a 405 has an `allow` header.
    pub(super) has_allow: bool,
    /// Path of the metrics page in Prometheus' format.
    pub(super) metrics_path: Option<&'static str>,
}

impl Quirks {
    /// Behaviour of most engines.
    pub(super) const NONE: Self = Self {
        template: Template::Qwen3,
        vision: false,
        thinking: ThinkingSwitch::None,
        format: FormatStyle::OpenAi,
        parallel_calls: ParallelCalls::ByDefault,
        empty_stop: EmptyStop::Ignored,
        stops_in_thought: true,
        keeps_stop: false,
        thinks_in_content: false,
        has_functions: false,
        writes_unwanted_calls: false,
        loose_forced_calls: false,
        required_calls_two: false,
        hides_cut_calls: false,
        has_hidden_run: false,
        usage_by_default: false,
        limit_step: None,
        one_choice: false,
        ignores_trailing: false,
        guards_generation_only: false,
        serves_each_model: true,
        has_allow: true,
        metrics_path: None,
    };
}
