//! Features that are probed, and the flags that make them work.

use crate::model::{Engine, Family, MissingFeatures};

/// Feature that the probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// List of models at `/v1/models`.
    Models,
    /// Message of the role `developer`.
    Developer,
    /// System message after the first message.
    LateSystem,
    /// Tool call.
    Tools,
    /// Tool call in a stream.
    ToolsStreamed,
    /// `response_format` of any JSON object.
    JsonObject,
    /// `response_format` of a JSON schema.
    JsonSchema,
    /// Thinking that can be turned on and off.
    Thinking,
    /// Token counts at the end of a stream.
    Usage,
    /// Error in OpenAI's envelope.
    ErrorShape,
    /// Error for a prompt that is longer than the context.
    Context,
    /// `/v1/responses`.
    Responses,
}

impl Feature {
    /// All features, in the order in which they are probed. The first shows whether the server answers.
    pub const ALL: [Self; 12] = [
        Self::Models,
        Self::Developer,
        Self::LateSystem,
        Self::Tools,
        Self::ToolsStreamed,
        Self::JsonObject,
        Self::JsonSchema,
        Self::Thinking,
        Self::Usage,
        Self::ErrorShape,
        Self::Context,
        Self::Responses,
    ];

    /// Returns the name in reports of the probe.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Developer => "developer role",
            Self::LateSystem => "late system message",
            Self::Tools => "tool call",
            Self::ToolsStreamed => "tool call, streamed",
            Self::JsonObject => "JSON object",
            Self::JsonSchema => "JSON schema",
            Self::Thinking => "thinking",
            Self::Usage => "usage of a stream",
            Self::ErrorShape => "error shape",
            Self::Context => "context length",
            Self::Responses => "/v1/responses",
        }
    }

    /// Returns the missing feature that requests are pinned by if this does not work.
    pub const fn lack(self) -> Option<MissingFeatures> {
        match self {
            Self::Tools => Some(MissingFeatures::TOOLS),
            Self::ToolsStreamed => Some(MissingFeatures::TOOLS_STREAMED),
            Self::JsonObject => Some(MissingFeatures::JSON_OBJECT),
            Self::JsonSchema => Some(MissingFeatures::JSON_SCHEMA),
            Self::Responses => Some(MissingFeatures::RESPONSES),
            Self::Models
            | Self::Developer
            | Self::LateSystem
            | Self::Thinking
            | Self::Usage
            | Self::ErrorShape
            | Self::Context => None,
        }
    }

    /// Returns the field of a request whose rewriting makes this work; empty if there is none.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Developer | Self::LateSystem => "messages",
            Self::Tools | Self::ToolsStreamed => "tools",
            Self::JsonObject | Self::JsonSchema => "response_format",
            Self::Usage => "stream_options",
            Self::Responses => "input",
            Self::Models | Self::Thinking | Self::ErrorShape | Self::Context => "",
        }
    }

    /// True if this engine is asked. OpenAI is not asked for thoughts, nor for its context, which would be expensive.
    pub(super) const fn is_asked(self, engine: Engine) -> bool {
        !(matches!(self, Self::Thinking | Self::Context) && engine.facts().speaks_openai)
    }

    /// True if the engine's hint can help. SGLang has a grammar backend unless it was started without one, and its
    /// refusal says so then.
    pub(super) fn is_hint_apt(self, engine: Engine, detail: &str) -> bool {
        let needs_grammar = matches!(self, Self::JsonObject | Self::JsonSchema);
        !(needs_grammar && engine == Engine::Sglang) || detail.contains("--grammar-backend")
    }

    /// Returns the change to the server or the file that makes the feature work.
    pub(super) fn hint(self, engine: Engine, family: Option<Family>) -> Option<&'static str> {
        let hints = &engine.facts().hints;
        match self {
            Self::Models => Some(hints.model_name),
            // These models write their calls as XML.
            Self::Tools | Self::ToolsStreamed if matches!(family, Some(Family::Qwen35 | Family::Qwen38)) => {
                hints.xml_tools
            }
            Self::Tools | Self::ToolsStreamed => hints.tools,
            Self::JsonObject | Self::JsonSchema => hints.json,
            Self::Thinking if family == Some(Family::Thinking) => hints.always_thinking,
            Self::Thinking => hints.thinking,
            Self::Context => Some("max_model_len of its section in rollout.toml"),
            Self::Developer | Self::LateSystem | Self::Usage | Self::ErrorShape | Self::Responses => None,
        }
    }
}
