//! The list of simulated engines. An engine is one line here, its file or folder in `engines/`, and the lines that the
//! compiler asks for in `engines/mod.rs`.

/// Declares [`Wire`] from one list, so that an engine cannot be missing in `ALL`.
macro_rules! wires {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Server software whose wire format is spoken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Wire {
            $($(#[$doc])* $variant,)*
        }

        impl Wire {
            /// Every simulated engine once.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns the name that `engine` has in rollout.toml.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

wires! {
    /// OpenAI's own API.
    OpenAi = "openai",
    /// vLLM.
    Vllm = "vllm",
    /// SGLang.
    Sglang = "sglang",
    /// TensorRT-LLM.
    Trtllm = "trtllm",
    /// Text Generation Inference.
    Tgi = "tgi",
    /// DashScope's OpenAI-compatible mode.
    DashScope = "dashscope",
    /// The strictest common OpenAI-compatible server.
    Compatible = "compatible",
}
