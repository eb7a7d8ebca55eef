//! What was noticed while an answer was made OpenAI's: a closed set, so that it can label a metric.

/// One thing noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// The counts are missing, or those of another run.
    UsageUnsure,
    /// A call came without the arguments, or the name, that the model gave it.
    ArgumentsLost,
    /// A thought ended in the text without having begun there.
    OrphanThink,
    /// A thought stood in the text: the server's reasoning parser is missing.
    ThinkText,
    /// A call stood in the text: the server's tool parser is missing.
    ToolCallText,
    /// Such a call was made one.
    ToolCallRepaired,
    /// A stop string ended the text here.
    StopCut,
    /// What the server called reasoning was the answer.
    ReasoningMoved,
    /// Calls after the first were dropped.
    FirstCallOnly,
    /// The reason to finish was not OpenAI's.
    FinishMapped,
    /// More choices, calls or items than are kept track of.
    OverBound,
}

impl Note {
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

/// All that was noticed in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes(u16);

impl Notes {
    pub(super) const fn add(&mut self, note: Note) {
        self.0 |= 1 << note as u16;
    }

    pub const fn has(self, note: Note) -> bool {
        self.0 & (1 << note as u16) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::ALL.into_iter().filter(move |note| self.has(*note))
    }
}
