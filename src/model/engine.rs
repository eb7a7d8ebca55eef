//! Server software that stands behind a backend, and the facts that distinguish it.
//!
//! Owns: every fact about an engine that is not a row of the translation's tables or a dialect of errors. Invariant:
//! code elsewhere asks [`Engine::facts`] for a fact and does not compare engines, so that a new engine is one constant
//! here.

use super::engine_facts::{
    ContextLength, EngineFacts, ErrorDialect, FormatBesideTools, Hints, ImageDetail, JsonObjectFormat,
    JsonSchemaFormat, ParallelCalls, Seeds, ThinkingSwitch,
};

/// Server software behind a backend. It decides how requests are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    /// OpenAI itself, or a proxy of it.
    OpenAi,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM's `trtllm-serve`.
    Trtllm,
    /// Text Generation Inference.
    Tgi,
    /// DashScope's compatible mode (Alibaba Cloud Model Studio).
    DashScope,
    /// Any other server that speaks a part of OpenAI's API.
    Compatible,
}

impl Engine {
    /// All engines, in the order in which messages list them.
    pub const ALL: [Self; 7] =
        [Self::OpenAi, Self::Vllm, Self::Sglang, Self::Trtllm, Self::Tgi, Self::DashScope, Self::Compatible];

    /// Returns the facts about this engine.
    pub const fn facts(self) -> &'static EngineFacts {
        match self {
            Self::OpenAi => &OPENAI,
            Self::Vllm => &VLLM,
            Self::Sglang => &SGLANG,
            Self::Trtllm => &TRTLLM,
            Self::Tgi => &TGI,
            Self::DashScope => &DASHSCOPE,
            Self::Compatible => &COMPATIBLE,
        }
    }

    /// Returns the name in configuration files, metrics and spans.
    pub const fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// True if people run this engine themselves.
    pub const fn self_hosted(self) -> bool {
        self.facts().self_hosted
    }
}

const NO_HINTS: Hints = Hints {
    model_name: "`models` of its section in rollout.toml",
    tools: None,
    xml_tools: None,
    json: None,
    thinking: None,
    always_thinking: None,
};
const SERVED_NAME: &str = "--served-model-name, or `models` of its section in rollout.toml";

const OPENAI: EngineFacts = EngineFacts {
    name: "openai",
    self_hosted: false,
    speaks_openai: true,
    own_model_name: None,
    has_responses: true,
    takes_request_id: false,
    context_length: ContextLength::Unasked,
    hints: NO_HINTS,
    errors: ErrorDialect::Status,
    one_choice: false,
    greedy_is_single: false,
    temperature_below_2: false,
    refuses_zero_top_p: false,
    refuses_full_top_p: false,
    refuses_negative_top_k: false,
    seeds: Seeds::Any,
    has_logprobs: true,
    top_logprobs_max: None,
    stop_as_list: false,
    keeps_stop_strings: false,
    max_output_tokens: None,
    rounds_tokens_to: None,
    thinking: ThinkingSwitch::Unknown,
    switch_in_effort: false,
    presets_thinking: false,
    takes_images: true,
    image_detail: ImageDetail::Passed,
    continues_assistant: false,
    text_or_calls: false,
    arguments_as_object: false,
    compiles_schemas: false,
    strict_when_forced: false,
    weak_tool_choice: false,
    parallel_calls: ParallelCalls::ByDefault,
    loses_arguments: false,
    format_beside_tools: FormatBesideTools::Always,
    json_object: JsonObjectFormat::OpenAi,
    json_schema: JsonSchemaFormat::OpenAi,
    refused_keywords: &[],
    refuses_sized_pattern: false,
    formats_responses: true,
};

/// Facts that engines of open models share, unless their own constant says otherwise.
const OPEN_MODELS: EngineFacts = EngineFacts {
    self_hosted: true,
    speaks_openai: false,
    context_length: ContextLength::Models,
    refuses_zero_top_p: true,
    presets_thinking: true,
    ..OPENAI
};

const VLLM: EngineFacts = EngineFacts {
    name: "vllm",
    takes_request_id: true,
    hints: Hints {
        model_name: SERVED_NAME,
        tools: Some("--enable-auto-tool-choice --tool-call-parser hermes"),
        xml_tools: Some("--enable-auto-tool-choice --tool-call-parser qwen3_coder"),
        thinking: Some("--reasoning-parser qwen3"),
        always_thinking: Some("--reasoning-parser qwen3"),
        ..NO_HINTS
    },
    greedy_is_single: true,
    thinking: ThinkingSwitch::Template,
    image_detail: ImageDetail::Ignored,
    refused_keywords: &["uniqueItems"],
    ..OPEN_MODELS
};

const SGLANG: EngineFacts = EngineFacts {
    name: "sglang",
    hints: Hints {
        model_name: SERVED_NAME,
        tools: Some("--tool-call-parser qwen"),
        xml_tools: Some("--tool-call-parser qwen3_coder"),
        json: Some("--grammar-backend xgrammar"),
        thinking: Some("--reasoning-parser qwen3"),
        always_thinking: Some("--reasoning-parser qwen3-thinking"),
    },
    thinking: ThinkingSwitch::Template,
    switch_in_effort: true,
    image_detail: ImageDetail::UpToHigh,
    continues_assistant: true,
    strict_when_forced: true,
    format_beside_tools: FormatBesideTools::UnlessForced,
    json_schema: JsonSchemaFormat::BooleanStrict,
    refused_keywords: &["multipleOf", "not", "uniqueItems", "if", "then", "else"],
    refuses_sized_pattern: true,
    ..OPEN_MODELS
};

const TRTLLM: EngineFacts = EngineFacts {
    name: "trtllm",
    hints: Hints {
        tools: Some("--tool_parser qwen3"),
        xml_tools: Some("--tool_parser qwen3_coder"),
        json: Some("guided_decoding_backend: xgrammar, in the file that it is started with"),
        thinking: Some("--reasoning_parser qwen3"),
        always_thinking: Some("--reasoning_parser qwen3"),
        ..NO_HINTS
    },
    refuses_zero_top_p: false,
    refuses_negative_top_k: true,
    thinking: ThinkingSwitch::StrictTemplate,
    json_schema: JsonSchemaFormat::Bare,
    ..OPEN_MODELS
};

const TGI: EngineFacts = EngineFacts {
    name: "tgi",
    own_model_name: Some("tgi"),
    has_responses: false,
    context_length: ContextLength::Info,
    hints: Hints { json: Some("start it without --disable-grammar-support"), ..NO_HINTS },
    errors: ErrorDialect::Tgi,
    one_choice: true,
    refuses_full_top_p: true,
    seeds: Seeds::NotNegative,
    top_logprobs_max: Some(5),
    stop_as_list: true,
    keeps_stop_strings: true,
    rounds_tokens_to: Some(1024),
    presets_thinking: false,
    takes_images: false,
    continues_assistant: true,
    text_or_calls: true,
    arguments_as_object: true,
    compiles_schemas: true,
    parallel_calls: ParallelCalls::Never,
    loses_arguments: true,
    format_beside_tools: FormatBesideTools::Never,
    json_object: JsonObjectFormat::Regex,
    json_schema: JsonSchemaFormat::Grammar,
    ..OPEN_MODELS
};

const DASHSCOPE: EngineFacts = EngineFacts {
    name: "dashscope",
    self_hosted: false,
    errors: ErrorDialect::DashScope,
    one_choice: true,
    temperature_below_2: true,
    seeds: Seeds::Below2To31,
    top_logprobs_max: Some(5),
    max_output_tokens: Some(65_536),
    thinking: ThinkingSwitch::TopLevel,
    image_detail: ImageDetail::Ignored,
    continues_assistant: true,
    weak_tool_choice: true,
    parallel_calls: ParallelCalls::OnRequest,
    json_object: JsonObjectFormat::NeedsWord,
    json_schema: JsonSchemaFormat::Instruction,
    formats_responses: false,
    ..OPEN_MODELS
};

const COMPATIBLE: EngineFacts = EngineFacts {
    name: "compatible",
    self_hosted: false,
    errors: ErrorDialect::DashScope,
    one_choice: true,
    has_logprobs: false,
    stop_as_list: true,
    takes_images: false,
    json_schema: JsonSchemaFormat::Unsure,
    ..OPEN_MODELS
};
