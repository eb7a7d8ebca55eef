//! Notes on answers that had to be repaired: a closed set, so that they can label a metric.

/// Repair or defect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// The token counts are missing, or are those of another run.
    UsageUnsure,
    /// A call lost the arguments, or the name, that the model gave it.
    ArgumentsLost,
    /// A thought ended in the text without beginning there.
    OrphanThink,
    /// A thought stood in the text: the server's reasoning parser is missing.
    ThinkText,
    /// A call stood in the text: the server's tool parser is missing.
    ToolCallText,
    /// Such text was rewritten as a call.
    ToolCallRepaired,
    /// A stop string ended the text here.
    StopCut,
    /// The server reported the answer as reasoning.
    ReasoningMoved,
    /// Calls after the first were dropped.
    FirstCallOnly,
    /// The finish reason was not one of OpenAI's.
    FinishMapped,
    /// Choices, calls or items above a limit were dropped.
    OverBound,
}

impl Note {
    /// All notes, in the order of their bits in [`Notes`].
    pub const ALL: [Self; 11] = [
        Self::UsageUnsure,
        Self::ArgumentsLost,
        Self::OrphanThink,
        Self::ThinkText,
        Self::ToolCallText,
        Self::ToolCallRepaired,
        Self::StopCut,
        Self::ReasoningMoved,
        Self::FirstCallOnly,
        Self::FinishMapped,
        Self::OverBound,
    ];

    /// Returns the value of the label `note` on /metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsageUnsure => "usage_unsure",
            Self::ArgumentsLost => "arguments_lost",
            Self::OrphanThink => "orphan_think",
            Self::ThinkText => "think_text",
            Self::ToolCallText => "tool_call_text",
            Self::ToolCallRepaired => "tool_call_repaired",
            Self::StopCut => "stop_cut",
            Self::ReasoningMoved => "reasoning_moved",
            Self::FirstCallOnly => "first_call_only",
            Self::FinishMapped => "finish_mapped",
            Self::OverBound => "over_bound",
        }
    }
}

/// Notes on one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes(u16);

impl Notes {
    pub(super) const fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u16;
    }

    /// True if `note` was made.
    pub const fn has(self, note: Note) -> bool {
        self.0 & (1 << note as u16) != 0
    }

    /// Returns the notes that were made.
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::ALL.into_iter().filter(move |note| self.has(*note))
    }
}
