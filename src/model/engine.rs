//! Which server software stands behind a backend, and which chat template its model uses.

/// The server software behind a backend; it decides how requests are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Engine {
    OpenAi,
    Vllm,
    Sglang,
    Trtllm,
    Tgi,
    DashScope,
    Compatible,
}

impl Engine {
    pub const ALL: [Self; 7] =
        [Self::OpenAi, Self::Vllm, Self::Sglang, Self::Trtllm, Self::Tgi, Self::DashScope, Self::Compatible];

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

    /// Whether people run this engine themselves: its trace context may go along, and its idle connections die early.
    pub const fn self_hosted(self) -> bool {
        match self {
            Self::Vllm | Self::Sglang | Self::Trtllm | Self::Tgi => true,
            Self::OpenAi | Self::DashScope | Self::Compatible => false,
        }
    }
}

/// The chat template of the model behind a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Qwen25,
    Qwen3,
    Qwen35,
    Qwen38,
    Instruct2507,
    Thinking,
}

impl Family {
    pub const ALL: [Self; 6] =
        [Self::Qwen25, Self::Qwen3, Self::Qwen35, Self::Qwen38, Self::Instruct2507, Self::Thinking];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qwen25 => "qwen2.5",
            Self::Qwen3 => "qwen3",
            Self::Qwen35 => "qwen3.5",
            Self::Qwen38 => "qwen3.8",
            Self::Instruct2507 => "instruct-2507",
            Self::Thinking => "thinking",
        }
    }
}
