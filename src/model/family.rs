//! Chat templates of Qwen's models.

/// Chat template of the model behind a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Qwen 2.5, which does not think.
    Qwen25,
    /// Qwen 3, which can be told not to think.
    Qwen3,
    /// Qwen 3.5: needs a message of the user.
    Qwen35,
    /// Qwen 3.8: needs a message of the user, knows degrees of effort.
    Qwen38,
    /// Models of July 2025 that do not think.
    Instruct2507,
    /// Models that always think.
    Thinking,
}

impl Family {
    /// All families, in the order in which messages list them.
    pub const ALL: [Self; 6] =
        [Self::Qwen25, Self::Qwen3, Self::Qwen35, Self::Qwen38, Self::Instruct2507, Self::Thinking];

    /// Returns the name in configuration files.
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
