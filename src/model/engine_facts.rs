//! Facts by which engines differ: the shape of one entry of the table in `engine`.

/// Facts about an engine. A field that names a limit or a refusal describes the server, not what shiftgate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineFacts {
    /// Name in configuration files, metrics and spans.
    pub name: &'static str,
    /// People run it themselves: trace context may be sent along, and idle connections are closed early.
    pub self_hosted: bool,
    /// It speaks OpenAI's API as OpenAI does: requests need no tables, and answers pass byte for byte.
    pub speaks_openai: bool,
    /// Name under which it serves its one model; it takes any other name for that of an adapter.
    pub own_model_name: Option<&'static str>,
    /// It has `/v1/responses`.
    pub has_responses: bool,
    /// It logs the `X-Request-Id` of a request.
    pub takes_request_id: bool,
    /// Where it says how many tokens its context holds.
    pub context_length: ContextLength,
    /// Flags and options that make a feature work where a probe found that it does not.
    pub hints: Hints,
    /// Shape of its errors.
    pub errors: ErrorDialect,

    /// It answers with one choice, whatever `n` says.
    pub one_choice: bool,
    /// It refuses `n` above 1 together with `temperature: 0`.
    pub greedy_is_single: bool,
    /// It refuses a `temperature` of 2 and above.
    pub temperature_below_2: bool,
    /// It refuses `top_p: 0`.
    pub refuses_zero_top_p: bool,
    /// It refuses `top_p: 1`.
    pub refuses_full_top_p: bool,
    /// It crashes on a `top_k` below 0.
    pub refuses_negative_top_k: bool,
    /// Seeds that it takes.
    pub seeds: Seeds,
    /// It reports log probabilities.
    pub has_logprobs: bool,
    /// Largest `top_logprobs` that it takes, where a limit is known.
    pub top_logprobs_max: Option<i64>,
    /// It takes `stop` only as a list.
    pub stop_as_list: bool,
    /// It ends at a stop string by itself, and leaves the string in the text.
    pub keeps_stop_strings: bool,
    /// Largest number of tokens that it generates, where the engine sets one.
    pub max_output_tokens: Option<u64>,
    /// Above this number of tokens, `max_tokens` is rounded up to its next multiple.
    pub rounds_tokens_to: Option<u64>,

    /// How its model is told whether to think.
    pub thinking: ThinkingSwitch,
    /// Its `/v1/responses` reads that switch from `reasoning.effort`.
    pub switch_in_effort: bool,
    /// A thinking model loops under greedy decoding here, so its makers' sampling preset is sent instead.
    pub presets_thinking: bool,

    /// It takes images, given a model that does.
    pub takes_images: bool,
    /// What it does with the `detail` of an image.
    pub image_detail: ImageDetail,
    /// It continues a last message of the assistant, or refuses it, where OpenAI answers it.
    pub continues_assistant: bool,
    /// An assistant's message has either text or calls: it forgets calls that have text beside them.
    pub text_or_calls: bool,
    /// It takes the arguments of earlier calls as an object: text reaches the prompt quoted twice.
    pub arguments_as_object: bool,

    /// It compiles the schemas of tools and formats by a grammar that lacks parts of JSON Schema.
    pub compiles_schemas: bool,
    /// Arguments of a forced call follow the schema only with `strict`.
    pub strict_when_forced: bool,
    /// It calls one of several tools only if it wants to, and thinks only if no call is forced.
    pub weak_tool_choice: bool,
    /// Several calls in one answer.
    pub parallel_calls: ParallelCalls,
    /// It loses the arguments of streamed calls and counts the tokens of another run where tools are offered.
    pub loses_arguments: bool,

    /// Whether it takes a `response_format` beside tools.
    pub format_beside_tools: FormatBesideTools,
    /// How it is asked for any JSON object.
    pub json_object: JsonObjectFormat,
    /// How it is asked for JSON of a schema.
    pub json_schema: JsonSchemaFormat,
    /// Keywords that it refuses in the schema of a format; the same ones in a tool's parameters are taken.
    pub refused_keywords: &'static [&'static str],
    /// It refuses `pattern` beside `minLength` or `maxLength` in the schema of a format.
    pub refuses_sized_pattern: bool,
    /// Its `/v1/responses` follows `text.format`.
    pub formats_responses: bool,
}

/// Place where a server says how long its context is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextLength {
    /// Nowhere, or it is known anyway: the server is not asked.
    Unasked,
    /// `max_model_len` in the list at `/v1/models`.
    Models,
    /// `max_total_tokens` at `/info`, beside `/v1`.
    Info,
}

/// Flags and options of a server that `shiftgate probe` suggests; `None` where none is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// For a model name that is not in the server's list.
    pub model_name: &'static str,
    /// For tool calls.
    pub tools: Option<&'static str>,
    /// For tool calls of models that write them as XML (Qwen 3.5 and later).
    pub xml_tools: Option<&'static str>,
    /// For JSON objects and schemas.
    pub json: Option<&'static str>,
    /// For thoughts outside the text.
    pub thinking: Option<&'static str>,
    /// For thoughts of models that always think.
    pub always_thinking: Option<&'static str>,
}

/// Shape of a server's errors, and which of its words stand for which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorDialect {
    /// The status says what went wrong.
    Status,
    /// 422 for everything; the message says what went wrong.
    Tgi,
    /// A code says what went wrong, in streams without a status.
    DashScope,
}

/// Seeds that a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeds {
    /// Any integer.
    Any,
    /// 0 and above.
    NotNegative,
    /// 0 to 2³¹ − 1.
    Below2To31,
}

/// Field by which a model is told whether to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingSwitch {
    /// No such field.
    Unknown,
    /// `chat_template_kwargs`.
    Template,
    /// `chat_template_kwargs`; what the template does not read is refused.
    StrictTemplate,
    /// `enable_thinking` and `reasoning_effort` at the top level, in chats only.
    TopLevel,
}

/// Treatment of an image's `detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageDetail {
    /// Read, or refused by the server itself.
    Passed,
    /// Ignored by the server.
    Ignored,
    /// Read up to `high`; `original` is refused.
    UpToHigh,
}

/// Several calls in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParallelCalls {
    /// Unless `parallel_tool_calls` is false, as at OpenAI.
    ByDefault,
    /// Only if `parallel_tool_calls` is true.
    OnRequest,
    /// Never.
    Never,
}

/// A `response_format` beside tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatBesideTools {
    /// Taken.
    Always,
    /// Refused where a call is forced.
    UnlessForced,
    /// Refused.
    Never,
}

/// Spelling of `response_format: {"type": "json_object"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonObjectFormat {
    /// As at OpenAI.
    OpenAi,
    /// As at OpenAI; the messages must contain the word "JSON", and the model must not think.
    NeedsWord,
    /// A regular expression.
    Regex,
}

/// Spelling of `response_format: {"type": "json_schema"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonSchemaFormat {
    /// As at OpenAI.
    OpenAi,
    /// As at OpenAI, where `strict` is a boolean or null.
    BooleanStrict,
    /// The schema without its wrapper.
    Bare,
    /// A `value` with the name and the schema, compiled by the server's own grammar.
    Grammar,
    /// As at OpenAI for Qwen 3.8; older models are given the schema as an instruction.
    Instruction,
    /// Not every server follows a schema: not sent.
    Unsure,
}
